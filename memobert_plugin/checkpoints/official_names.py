"""The authors' names for the network's parameters, and which of their axes tell its sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .parameter_origins import Origin, bert_word_head, module, table

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
"""Which tensor's which axis tells each size."""


@dataclass(frozen=True)
class Part:
    """Parameters that a checkpoint has as a whole or not at all.

    Attributes:
        name: what the plugin's names of them start with.
        prefix: what the authors' start with.
        origins: the parameters.
        needs: name of the part whose input it predicts; empty for none.
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
