"""Imported weights (``memobert-import official``) made usable: a data-bin tells what the file itself does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.corpus import TOKENIZER_FOLDER, Corpus
from ..data.prompts import PAPER_TEMPLATE, PAPER_WORDS
from ..data.tokenizer_files import read_tokenizer_files
from ..errors import UserError
from .model_description import FINETUNED, PRETRAINED, PROMPTED, SIZES, ModelDescription
from .trained_model import TrainedModel

PAPER_LIMITS = {"pieces": 60, "visual_frames": 36, "acoustic_frames": 64}
"""How much of an utterance the published models read."""
CLASSIFIER = "heads.classify.out.weight"
_NEEDED = {
    PRETRAINED: ("heads.wwmlm.",),
    PROMPTED: ("heads.wwmlm.",),
    FINETUNED: ("pooler.", "heads.classify."),
}
_ADVICE = "give the weights of a whole MEmoBERT, as memobert-import official writes them"


def read_imported(path: Path, content: Mapping[str, Any], data_bin: Path, labels: Sequence[str] = ()) -> TrainedModel:
    """Describe imported weights by a data-bin of the same vocabulary, made with the extractors they were trained on.

    Args:
        path: the file, for messages.
        content: of the checkpoint.
        data_bin: tells dictionary, tokenizer and extractors.
        labels: emotions in the order of the classifier's outputs (default: the data-bin's, where there are as many);
            without a classifier they make a prompted model of the paper's template and words.

    Raises:
        UserError: the weights are not a whole model, or data-bin, labels and weights do not belong together.
    """
    weights: dict[str, Tensor] = dict(content["model"])
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
    unknown = [name for name in names if kind == PROMPTED and name not in PAPER_WORDS]
    if unknown:
        raise UserError(f"--labels: no word is known for {unknown[0]!r}; known are {', '.join(PAPER_WORDS)}")
    description = ModelDescription.from_dict(
        str(path),
        {
            "architecture": {size: content["cfg"]["model"][size] for size in SIZES},
            "vocabulary": len(corpus.symbols),
            "visual_dim": dims["visual"],
            "acoustic_dim": dims["acoustic"],
            "expression_classes": _class_names(corpus, classes),
            "kind": kind,
            "labels": names,
            "limits": PAPER_LIMITS,
            "modalities": "l" + "v" * bool(dims["visual"]) + "a" * bool(dims["acoustic"]),
            "template": PAPER_TEMPLATE if kind == PROMPTED else "",
            "verbalizer": " ".join(f"{name}={PAPER_WORDS[name]}" for name in names) if kind == PROMPTED else "",
            "visual_extractor": _extractor(corpus, "visual"),
            "acoustic_extractor": _extractor(corpus, "acoustic"),
            "training": {"model": content["cfg"]["model"].get("_name"), "origin": "imported weights"},
        },
    )
    model = TrainedModel(path, description, weights, read_tokenizer_files(corpus.path / TOKENIZER_FOLDER))
    return TrainedModel(path, description, _completed(model), model.tokenizer_files)


def _completed(model: TrainedModel) -> dict[str, Tensor]:
    """The weights, with zeros for parts that this kind of model never reads."""
    weights = dict(model.weights)
    for name, parameter in model.skeleton().state_dict().items():
        if name in weights:
            continue
        if not name.startswith(("heads.", "pooler.")) or name.startswith(_NEEDED[model.description.kind]):
            raise UserError(f"{model.source}: lacks {name}; {_ADVICE}")
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
