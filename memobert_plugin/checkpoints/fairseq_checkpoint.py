"""Read a checkpoint of ``fairseq-train`` without fairseq: plain data only, no code in it is run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import UserError
from ..core.fairseq_quirks import allow_fairseq_arguments
from ..core.files import regular
from ..data.corpus import TOKENIZER_FOLDER, Corpus
from ..data.frame_making import otherwise_centered, says_centered
from ..data.frames import ExtractorInfo
from ..data.limits import limit_in_frames
from ..data.prompts import PAPER_TEMPLATE, Template, Verbalizer
from ..data.tokenizer import from_plain, read_tokenizer_files
from ..nn.network import weights_of_checkpoint, with_changes
from .model_description import FINETUNED, PRETRAINED, PROMPTED, SIZES, ModelDescription, architecture_of
from .trained_model import TrainedModel

PAPER_LIMITS = {"pieces": 60, "visual_frames": 36, "acoustic_frames": 64}
"""Pieces and frames of an utterance that the published models read."""
CLASSIFIER = "heads.classify.out.weight"
_NEEDED = {
    PRETRAINED: ("heads.wwmlm.",),
    PROMPTED: ("heads.wwmlm.",),
    FINETUNED: ("pooler.", "heads.classify."),
}
_ADVICE_WHOLE = "give the weights of a whole MEmoBERT, as memobert-import official writes them"


def read_imported(
    path: Path, content: Mapping[str, Any], data_bin: Path, labels: Sequence[str] = (), verbalizer: str = ""
) -> TrainedModel:
    """Describe imported weights by a data-bin of the same vocabulary, made with the extractors they were trained on.

    Args:
        path: the file, for messages.
        content: the checkpoint's.
        data_bin: has dictionary, tokenizer and extractors.
        labels: emotions in the order of the classifier's outputs (default: the data-bin's, where there are as many);
            without a classifier they make a prompted model of the paper's template.
        verbalizer: the words of each label of a prompted model (default: the paper's).

    Raises:
        UserError: the weights are not a whole model, or data-bin, labels and weights do not belong together.
    """
    weights = weights_of_checkpoint(content["model"])
    corpus = Corpus(data_bin)
    dims = {name: _columns(weights, f"{name}_embedder.linear.weight") for name in ("visual", "acoustic")}
    for name, dim in dims.items():
        own = getattr(corpus.meta, f"{name}_dim") or 0
        if dim and own and own != dim:
            raise UserError(f"{data_bin}: {name} frames have {own} dimensions, {path} reads {dim}; name another")
    classes = _rows(weights, "heads.mvfc.out.weight")
    outputs = _rows(weights, CLASSIFIER)
    names = list(labels) or (list(corpus.meta.labels) if outputs else [])
    kind = FINETUNED if outputs else PROMPTED if names else PRETRAINED
    if outputs and len(names) != outputs:
        raise UserError(f"{path}: tells {outputs} emotions apart, {len(names)} are named; state them with --labels")
    if verbalizer and kind != PROMPTED:
        raise UserError("--verbalizer: only a prompted model has emotion words; name its emotions with --labels")
    words = ""
    if kind == PROMPTED:
        tokenizer = corpus.load_tokenizer()
        chosen = Verbalizer.parse(verbalizer, names) if verbalizer else Verbalizer.of_labels(names, tokenizer)
        chosen.encode(tokenizer)
        words = chosen.text()
    description = ModelDescription.from_dict(
        str(path),
        {
            "architecture": architecture_of(content["cfg"]["model"]),
            "vocabulary": len(corpus.symbols),
            "visual_dim": dims["visual"],
            "acoustic_dim": dims["acoustic"],
            "expression_classes": _class_names(corpus, classes),
            "kind": kind,
            "labels": names,
            "limits": PAPER_LIMITS,
            "modalities": "l" + "v" * bool(dims["visual"]) + "a" * bool(dims["acoustic"]),
            "template": PAPER_TEMPLATE if kind == PROMPTED else "",
            "verbalizer": words,
            "visual_extractor": _extractor(corpus, "visual"),
            "acoustic_extractor": _extractor(corpus, "acoustic"),
            "training": {"model": content["cfg"]["model"].get("_name"), "origin": "imported weights"},
        },
    )
    model = TrainedModel(path, description, weights, read_tokenizer_files(corpus.path / TOKENIZER_FOLDER))
    return TrainedModel(path, description, _completed(model), model.tokenizer_files)


def _completed(model: TrainedModel) -> dict[str, Tensor]:
    """Return the weights, with zeros for parts that this kind of model never reads."""
    weights = dict(model.weights)
    for name, parameter in model.skeleton().state_dict().items():
        if name in weights:
            continue
        if not name.startswith(("heads.", "pooler.")) or name.startswith(_NEEDED[model.description.kind]):
            raise UserError(f"{model.source}: lacks {name}; {_ADVICE_WHOLE}")
        weights[name] = torch.zeros(parameter.shape)
    return weights


def _class_names(corpus: Corpus, classes: int) -> list[str]:
    known = corpus.meta.expression_classes
    return list(known) if len(known) == classes else [f"expression {number}" for number in range(1, classes + 1)]


def _extractor(corpus: Corpus, modality: str) -> dict[str, Any] | None:
    info = getattr(corpus.meta, f"{modality}_extractor")
    return info.to_dict() if info is not None else None


def _rows(weights: Mapping[str, Tensor], name: str) -> int:
    return weights[name].shape[0] if name in weights else 0


def _columns(weights: Mapping[str, Tensor], name: str) -> int:
    return weights[name].shape[1] if name in weights else 0


KIND_OF_TASK = {
    "memobert_pretraining": PRETRAINED,
    "memobert_prompt": PROMPTED,
    "memobert_finetune": FINETUNED,
}
_ADVICE = "give a checkpoint_best.pt of fairseq-train, or a bundle of memobert-export"


def read_fairseq_checkpoint(
    path: Path, data_bin: Path | None = None, labels: Sequence[str] = (), verbalizer: str = ""
) -> TrainedModel:
    """Read model, labels, prompt, tokenizer and extractor settings of a checkpoint.

    Args:
        path: the file.
        data_bin: the data-bin it was trained on, for checkpoints that do not carry tokenizer and extractor settings
            themselves, and for imported weights one of the same vocabulary and extractors.
        labels, verbalizer: of imported weights, see :func:`read_imported`.

    Raises:
        UserError: the file is missing, damaged, would run code, is not a MEmoBERT of this plugin, or lacks values that
            the data-bin has.
    """
    content = read_plain_checkpoint(path)
    for name in ("cfg", "model", "task_state"):
        if not isinstance(content.get(name), Mapping):
            raise UserError(f"{path}: not a fairseq checkpoint (no {name} in it); {_ADVICE}")
    task, architecture = content["cfg"].get("task"), content["cfg"].get("model")
    state = content["task_state"]
    if not state or task is None:
        if data_bin is None:
            raise UserError(
                f"{path}: holds imported weights without a task; name a data-bin of their vocabulary and extractors "
                "(--data-bin, data_bin=), or train from it with --finetune-from-model"
            )
        return read_imported(path, content, data_bin, labels, verbalizer)
    for flag, given in (("--labels", labels), ("--verbalizer", verbalizer)):
        if given:
            raise UserError(f"{flag}: {path} has its own; leave the flag out")
    name = _value(path, task, "_name")
    if name not in KIND_OF_TASK:
        raise UserError(f"{path}: was trained with --task {name}; {_ADVICE}")
    if any(size not in architecture for size in SIZES):
        raise UserError(f"{path}: is a {architecture.get('_name')}, not a MEmoBERT; {_ADVICE}")
    origins = _origins(path, state, data_bin)
    description = _description(path, content, origins)
    model = TrainedModel(path, description, with_changes(weights_of_checkpoint(content["model"])), origins["tokenizer"])
    if description.kind == PROMPTED and (prompt := state.get("prompt")):
        _refuse_other_prompt(model, prompt)
    return model


def _description(path: Path, content: Mapping[str, Any], origins: Mapping[str, Any]) -> ModelDescription:
    """Describe a model of one of this package's tasks."""
    state, task, architecture = content["task_state"], content["cfg"]["task"], content["cfg"]["model"]
    kind = KIND_OF_TASK[task["_name"]]
    prompt = state.get("prompt", {}) if kind == PROMPTED else {}
    return ModelDescription.from_dict(
        str(path),
        {
            "architecture": architecture_of(architecture),
            "vocabulary": len(_value(path, state, "symbols")),
            "visual_dim": _value(path, state, "visual_dim"),
            "acoustic_dim": _value(path, state, "acoustic_dim"),
            "expression_classes": _value(path, state, "expression_classes"),
            "kind": kind,
            "labels": [] if kind == PRETRAINED else _value(path, state, "labels"),
            "limits": {
                "pieces": _value(path, task, "max_pieces"),
                **{
                    f"{stream}_frames": _limit(path, task, stream, origins[stream]) for stream in ("visual", "acoustic")
                },
            },
            "modalities": "lva" if kind == PRETRAINED else _value(path, task, "modalities"),
            "template": prompt.get("template", ""),
            "verbalizer": prompt.get("verbalizer", ""),
            "visual_extractor": origins["visual"],
            "acoustic_extractor": origins["acoustic"],
            "training": training_facts(content),
            "mask_words": str(task.get("mask_words", "vocabulary")) if kind == PROMPTED else "vocabulary",
            **_further_prompts(kind, task, state),
            **({"target": state["target"]} if kind == FINETUNED and state.get("target") else {}),
        },
    )


def _further_prompts(kind: str, task: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a prompted model reads beside its template; earlier checkpoints know none of it."""
    if kind != PROMPTED:
        return {}
    texts = [text.strip() for text in str(task.get("more_templates") or "").split("||") if text.strip()]
    found: dict[str, Any] = {"more_templates": texts, "soft_prompt_length": task.get("soft_prompt_length")}
    if str(task.get("template_weights")) == "validation":
        found["template_weights"] = state.get("template_weights")
    found["contextual_calibration"] = bool(task.get("contextual_calibration"))
    return {name: value for name, value in found.items() if value}


def _limit(path: Path, task: Mapping[str, Any], stream: str, made_by: Mapping[str, Any] | None) -> Any:
    """Return the number of frames that a task reads; checkpoints of earlier versions know no limit in seconds."""
    frames, seconds = _value(path, task, f"max_{stream}_frames"), task.get(f"max_{stream}_seconds")
    if seconds is None or made_by is None:
        return frames
    return limit_in_frames(stream, frames, seconds, ExtractorInfo.from_dict(str(path), dict(made_by)))


def describe_checkpoint(path: Path) -> dict[str, Any]:
    """Return the kind of a file of weights and the main facts in it, as plain values.

    Raises:
        UserError: the file is missing or damaged, or would run code.
    """
    content = read_plain_checkpoint(path)
    configuration, weights = content.get("cfg"), content.get("model")
    if not isinstance(configuration, Mapping) or not isinstance(weights, Mapping):
        configuration, weights = {}, content
    tensors = [value for value in weights.values() if isinstance(value, Tensor)]
    size = {"tensors": len(tensors), "parameters": sum(tensor.numel() for tensor in tensors)}
    if not configuration:
        return {"kind": "a state dictionary", **size}
    state = content.get("task_state") or {}
    if not state or not configuration.get("task"):
        model = (configuration.get("model") or {}).get("_name")
        return {"kind": "weights that a training starts from", "model": model, **size}
    facts = {name: state.get(name) for name in ("labels", "visual_dim", "acoustic_dim")}
    prompt = state.get("prompt") or {}
    facts |= {"template": prompt.get("template"), "verbalizer": prompt.get("verbalizer")}
    if says_centered((state.get("origins") or {}).get("acoustic")):
        facts["speaker_mean"] = "subtracted"
    return {"kind": "a checkpoint of fairseq-train", **training_facts(content), **facts, **size}


def training_facts(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts about the training as plain values by name, without paths of the machine it ran on."""
    configuration, state = content["cfg"], content["task_state"]
    task, optimization = configuration["task"], configuration.get("optimization") or {}
    extra = content.get("extra_state") or {}
    history = content.get("optimizer_history") or [{}]
    checkpoint = configuration.get("checkpoint") or {}
    facts: dict[str, Any] = {
        "task": task["_name"],
        "model": configuration["model"].get("_name"),
        "data": Path(str(task.get("data", "")).split(":")[0]).name,
        "updates": history[-1].get("num_updates"),
        "epochs": (extra.get("train_iterator") or {}).get("epoch"),
        "seed": (configuration.get("common") or {}).get("seed"),
        "learning_rate": (optimization.get("lr") or [None])[0],
        "selected_by": checkpoint.get("best_checkpoint_metric"),
        "best_value": extra.get("best"),
    }
    for name in ("train_fraction", "modality_mixture", "exclude_speakers", "zero_frames"):
        if name in task:
            facts[name] = task[name]
    for name in ("more_templates", "contextual_calibration"):
        if task.get(name):
            facts[name] = task[name]
    if state.get("fold"):
        facts["fold"] = dict(state["fold"])
    return {name: value for name, value in facts.items() if value not in (None, "")}


def read_plain_checkpoint(path: Path, advice: str = _ADVICE) -> dict[str, Any]:
    """Return the content of a checkpoint, which must be plain data and tensors: no code in it is run.

    Args:
        path: of the checkpoint.
        advice: what the last words of an error advise.

    Raises:
        UserError: the file cannot be opened, is damaged or holds anything else.
    """
    allow_fairseq_arguments()
    if path.is_dir():
        raise UserError(f"{path}: a folder, and no checkpoint; give the checkpoint_best.pt of a training")
    try:
        content = torch.load(regular(path), map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); {advice}") from None
    except pickle.UnpicklingError:
        raise UserError(f"{path}: is damaged or holds more than plain data, and was not opened; {advice}") from None
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path}: is damaged ({reason}); {advice}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a fairseq checkpoint; {advice}")
    return content


def _origins(path: Path, state: Mapping[str, Any], data_bin: Path | None) -> dict[str, Any]:
    """Return the tokenizer's files and the extractors of both modalities."""
    own = state.get("origins")
    if own and data_bin is None:
        tokenizer = from_plain(str(path), _value(path, own, "tokenizer"))
        return {"visual": own.get("visual"), "acoustic": own.get("acoustic"), "tokenizer": tokenizer}
    if data_bin is None:
        raise UserError(
            f"{path}: was written before checkpoints carried their tokenizer; name the data-bin it was trained on "
            "(--data-bin, data_bin=)"
        )
    corpus = Corpus(data_bin)
    if list(corpus.symbols) != list(_value(path, state, "symbols")):
        raise UserError(f"{data_bin}: its dictionary is not that of {path}; name the data-bin it was trained on")
    for modality in ("visual", "acoustic"):
        dim, known = getattr(corpus.meta, f"{modality}_dim") or 0, state.get(f"{modality}_dim")
        if dim != known:
            raise UserError(
                f"{data_bin}: {modality} frames have {dim} dimensions, {path} reads {known}; name the data-bin it was "
                "trained on"
            )
    if reason := otherwise_centered(corpus.meta.acoustic_extractor, (own or {}).get("acoustic") or {}):
        raise UserError(f"{data_bin}: does not fit {path}: {reason}")
    plain = {modality: info.to_dict() if info else None for modality, info in corpus.meta.extractors.items()}
    return {**plain, "tokenizer": read_tokenizer_files(corpus.path / TOKENIZER_FOLDER)}


def _refuse_other_prompt(model: TrainedModel, prompt: Mapping[str, Any]) -> None:
    """Refuse a tokenizer that gives other prompt rows than those of the training."""
    tokenizer, description = model.tokenizer(), model.description
    pieces = Template.parse(description.template).encode(tokenizer)
    words = Verbalizer.parse(description.verbalizer, description.labels).encode(tokenizer)
    if pieces.ids != list(prompt.get("pieces", [])) or words != [list(rows) for rows in prompt.get("label_words", [])]:
        raise UserError(
            f"{model.source}: its prompt was made with another tokenizer; name the data-bin it was trained on"
        )


def _value(path: Path, mapping: Mapping[str, Any], name: str) -> Any:
    if not isinstance(mapping, Mapping) or name not in mapping:
        raise UserError(f"{path}: its task has no {name}; {_ADVICE}")
    return mapping[name]
