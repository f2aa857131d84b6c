"""Import the published checkpoints of MEmoBERT, pre-trained or finetuned, under the plugin's names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import UserError
from ..core.files import regular
from ..nn.network import FINGERPRINT, dictionary_fingerprint
from .bert import BertConfig, EmbeddedVocabulary
from .state_dictionary import (
    Origin,
    StateDictionary,
    bert_body,
    bert_pooler,
    bert_word_head,
    module,
    read_pickled_tensors,
    table,
)

WORDS = "uniter.embeddings.word_embeddings.weight"
VISUAL = "uniter.img_embeddings"
ACOUSTIC = "uniter.speech_embeddings"
TIED = {
    "cls.predictions.decoder.weight": WORDS,
    "feat_regress.weight": f"{VISUAL}.img_linear.weight",
    "speech_feat_regress.weight": f"{ACOUSTIC}.speech_linear.weight",
}
SIZES = {
    "vocabulary": (WORDS, 0),
    "hidden": (WORDS, 1),
    "ffn": ("uniter.encoder.layer.0.intermediate.dense.weight", 0),
    "positions": ("uniter.embeddings.position_embeddings.weight", 0),
    "visual_positions": (f"{VISUAL}.position_embeddings.weight", 0),
    "acoustic_positions": (f"{ACOUSTIC}.position_embeddings.weight", 0),
    "visual_dim": (f"{VISUAL}.img_linear.weight", 1),
    "acoustic_dim": (f"{ACOUSTIC}.speech_linear.weight", 1),
    "expression_classes": ("region_classifier.net.3.weight", 0),
    "labels": ("output.output.3.weight", 0),
}
"""The tensor and axis that give each size."""


@dataclass(frozen=True)
class Part:
    """A group of parameters that a checkpoint has completely or not at all.

    Attributes:
        name: the beginning of the plugin's names.
        prefix: the beginning of the authors' names.
        origins: the parameters.
        needs: the part whose input it predicts, or empty.
    """

    name: str
    prefix: str
    origins: tuple[Origin, ...]
    needs: str = ""


def _frame_embedder(name: str, prefix: str, names: str) -> Iterator[Origin]:
    modality = name.removesuffix("_embedder")
    yield from module(f"{name}.linear", (f"{prefix}.{names}_linear",), "hidden", f"{modality}_dim")
    yield from module(f"{name}.feature_norm", (f"{prefix}.{names}_layer_norm",), "hidden")
    yield Origin(f"{name}.mask", (f"{prefix}.mask_embedding.weight",), (2, f"{modality}_dim"))
    yield from table(f"{name}.position", f"{prefix}.position_embeddings", f"{modality}_positions", "hidden")
    yield from module(f"{name}.norm", (f"{prefix}.LayerNorm",), "hidden")


def _regression(name: str, prefix: str, dim: str) -> Iterator[Origin]:
    yield from module(f"{name}.transform", (f"{prefix}.net.0",), "hidden", "hidden")
    yield from module(f"{name}.norm", (f"{prefix}.net.2",), "hidden")
    yield Origin(f"{name}.bias", (f"{prefix}.bias",), (dim,))


PARTS = (
    Part("visual_embedder", f"{VISUAL}.", tuple(_frame_embedder("visual_embedder", VISUAL, "img"))),
    Part(
        "acoustic_embedder",
        f"{ACOUSTIC}.",
        (
            *_frame_embedder("acoustic_embedder", ACOUSTIC, "speech"),
            *table("acoustic_embedder.token_type", f"{ACOUSTIC}.token_type_embeddings", 1, "hidden"),
        ),
    ),
    Part(
        "heads.wwmlm",
        "cls.predictions.",
        (*bert_word_head(), Origin("heads.wwmlm.bias", ("cls.predictions.bias",), ("vocabulary",))),
    ),
    Part(
        "heads.mvfr", "feat_regress.", tuple(_regression("heads.mvfr", "feat_regress", "visual_dim")), "visual_embedder"
    ),
    Part(
        "heads.mvfc",
        "region_classifier.",
        (
            *module("heads.mvfc.transform", ("region_classifier.net.0",), "hidden", "hidden"),
            *module("heads.mvfc.norm", ("region_classifier.net.2",), "hidden"),
            *module("heads.mvfc.out", ("region_classifier.net.3",), "expression_classes", "hidden"),
        ),
        "visual_embedder",
    ),
    Part(
        "heads.mafr",
        "speech_feat_regress.",
        tuple(_regression("heads.mafr", "speech_feat_regress", "acoustic_dim")),
        "acoustic_embedder",
    ),
    Part(
        "heads.classify",
        "output.output.",
        (
            *module("heads.classify.hidden", ("output.output.0",), "twice_hidden", "hidden"),
            *module("heads.classify.norm", ("output.output.2",), "twice_hidden"),
            *module("heads.classify.out", ("output.output.3",), "labels", "twice_hidden"),
        ),
    ),
)


AUTHORS_LABELS = ("anger", "happy", "neutral", "sad")
"""The four labels in the order of the published corpora's codes."""

KNOWN_AND_UNUSED = ("vfom_output", "sfom_output", "emo_classifier", "itm_output", "eitm_output")
"""Heads of experiments that are not in the paper. Every published checkpoint has some of them."""


@dataclass(frozen=True)
class ImportedOfficial:
    """The parameters that a published checkpoint fills, and lists of the rest.

    Attributes:
        source: the checkpoint.
        config: the transformer's sizes.
        weights: float32 parameters under the plugin's names, word pieces in the order of the plugin's dictionary.
        new: patterns of the parameters that the checkpoint does not fill.
        dropped: patterns of its known parameters without a place in the model.
        unused: names of its unknown tensors.
        padding_rows: embedding rows beyond the vocabulary, left out.
        visual_dim: size of a face frame's feature, 0 without faces.
        acoustic_dim: size of a speech frame's feature, 0 without speech.
        expression_classes: K, 0 without the head that predicts them.
        labels: emotions of a finetuned head, None without one.
        unmasked: mask vectors' names with the largest value added to frames that are *not* masked, where it is not 0;
            the published network overwrites it with 0, so it is left out.
    """

    source: Path
    config: BertConfig
    weights: dict[str, Tensor]
    new: list[str]
    dropped: list[str]
    unused: list[str]
    padding_rows: int
    visual_dim: int
    acoustic_dim: int
    expression_classes: int
    labels: int | None
    unmasked: dict[str, float]


def import_official(
    checkpoint: Path, config: Path, vocabulary: Path, content: Mapping[str, Tensor] | None = None
) -> ImportedOfficial:
    """Read a state dictionary of the published code, its JSON configuration and its vocabulary.

    Args:
        checkpoint: the state dictionary.
        config: the JSON, for the number of attention heads, which the weights do not tell.
        vocabulary: ``vocab.txt``, ``tokenizer.json`` or a folder with one of them.
        content: the checkpoint's tensors, if they have been read already.

    Raises:
        UserError: a file is missing, damaged or of another network, or they do not belong together.
    """
    embedded = EmbeddedVocabulary.read(vocabulary)
    tensors = _without_wrappers(checkpoint, read_pickled_tensors(checkpoint) if content is None else content)
    layers = _layers(tensors)
    given = {part.name for part in PARTS if tensors.starting_with(part.prefix)}
    given |= {part.needs for part in PARTS if part.needs and part.name in given}
    parts = [part for part in PARTS if part.name in given]
    origins = [*bert_body(layers, "uniter."), *bert_pooler("uniter."), *(o for part in parts for o in part.origins)]
    tensors.require([WORDS, *(name for origin in origins for name in origin.tensors)])

    sizes = {size: tensors.size(name, axis) for size, (name, axis) in SIZES.items() if name in tensors}
    sizes["twice_hidden"] = 2 * sizes["hidden"]
    _refuse_different_position_tables(checkpoint, sizes)
    bert_config = BertConfig(
        layers, sizes["hidden"], sizes["ffn"], _attention_heads(config, layers, sizes), sizes["positions"]
    )
    padding_rows = embedded.padding_rows(sizes["vocabulary"], checkpoint)

    weights = {origin.name: origin.parameter(tensors, sizes) for origin in origins}
    weights["text_embedder.word.weight"] = tensors.take(WORDS, (None, None))
    for name in ("text_embedder.word.weight", "heads.wwmlm.bias"):
        if name in weights:
            weights[name] = weights[name][embedded.rows]
    weights[FINGERPRINT] = torch.tensor([dictionary_fingerprint(embedded.symbols)])
    unmasked = _keep_learned_mask_vectors(weights)
    for copy, original in TIED.items():
        tensors.take_tied(copy, original)

    known = tuple(f"{name}." for name in KNOWN_AND_UNUSED)
    dropped = tensors.starting_with(*known)
    return ImportedOfficial(
        source=checkpoint,
        config=bert_config,
        weights=weights,
        new=[f"{part.name}.*" for part in PARTS if part.name not in given],
        dropped=[f"{name}.*" for name in KNOWN_AND_UNUSED if any(d.startswith(f"{name}.") for d in dropped)],
        unused=tensors.unused(except_for=dropped),
        padding_rows=padding_rows,
        visual_dim=sizes.get("visual_dim", 0),
        acoustic_dim=sizes.get("acoustic_dim", 0),
        expression_classes=sizes.get("expression_classes", 0),
        labels=sizes.get("labels"),
        unmasked=unmasked,
    )


def _without_wrappers(path: Path, content: Mapping[str, Tensor]) -> StateDictionary:
    """Remove the common prefix of all names; wrappers for several GPUs add ``module.``."""
    prefixes = [name.removesuffix(WORDS) for name in content if f".{name}".endswith(f".{WORDS}")]
    if len(prefixes) != 1:
        found = f"it holds {len(prefixes)} networks" if prefixes else f"no tensor is called {WORDS}"
        raise UserError(f"{path}: not a published MEmoBERT checkpoint: {found}; give the state dictionary of one model")
    return StateDictionary(
        path, content, "give an unaltered checkpoint of the published code", lambda name: name.removeprefix(prefixes[0])
    )


def _layers(tensors: StateDictionary) -> int:
    """Count the transformer layers. A gap among them is found later, as missing tensors."""
    names = tensors.starting_with("uniter.encoder.layer.")
    numbers = [re.match(r"uniter\.encoder\.layer\.(\d{1,3})\.", name) for name in names]
    return max((int(number[1]) + 1 for number in numbers if number), default=1)


def _refuse_different_position_tables(path: Path, sizes: dict[str, int]) -> None:
    rows = {
        modality: sizes[size]
        for modality, size in (
            ("text", "positions"),
            ("visual", "visual_positions"),
            ("acoustic", "acoustic_positions"),
        )
        if size in sizes
    }
    if len(set(rows.values())) > 1:
        found = ", ".join(f"{modality} {count}" for modality, count in rows.items())
        raise UserError(
            f"{path}: its position tables have different lengths ({found} rows), but the model has one --max-positions "
            "for all; give a checkpoint with equally long tables"
        )


def _attention_heads(path: Path, layers: int, sizes: dict[str, int]) -> int:
    """Read the number of attention heads, and refuse a configuration that contradicts the weights."""
    try:
        settings = json.loads(regular(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); give the model's configuration") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: holds no JSON object; give the model's configuration")
    told = {
        "num_hidden_layers": layers,
        "hidden_size": sizes["hidden"],
        "intermediate_size": sizes["ffn"],
        "hidden_act": "gelu",
    }
    for name, value in told.items():
        if settings.get(name, value) != value:
            raise UserError(
                f"{path}: {name} is {settings[name]!r}, but the checkpoint's network has {value!r}; "
                "give the configuration that belongs to it"
            )
    heads = settings.get("num_attention_heads")
    if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1 or sizes["hidden"] % heads:
        raise UserError(
            f"{path}: num_attention_heads is {heads!r}, expected a whole number that divides the hidden size "
            f"{sizes['hidden']}; give the configuration that belongs to the checkpoint"
        )
    return heads


def _keep_learned_mask_vectors(weights: dict[str, Tensor]) -> dict[str, float]:
    """Keep row 1, the learned vector, of each mask table, and return the largest value of each row 0 unlike zero."""
    unmasked: dict[str, float] = {}
    for name in ("visual_embedder.mask", "acoustic_embedder.mask"):
        if name in weights:
            if largest := float(weights[name][0].abs().max()):
                unmasked[name] = largest
            weights[name] = weights[name][1:].clone()
    return unmasked
