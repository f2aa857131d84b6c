"""Random parameters of the published network under the authors' names, and their names in the plugin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Config:
    """Sizes of a network; only ``heads`` cannot be read off the parameters' shapes."""

    vocabulary: int = 53
    layers: int = 2
    hidden: int = 16
    heads: int = 4
    ffn: int = 24
    max_positions: int = 20
    visual_dim: int = 11
    acoustic_dim: int = 9
    expression_classes: int = 5
    labels: int = 3


def random_parameters(config: Config, seed: int) -> Parameters:
    """Leaf parameters (float64, requiring gradients) of every size in ``config``, LayerNorms well away from 1 and 0."""
    generator = torch.Generator().manual_seed(seed)
    parameters: Parameters = {}

    def draw(*shape: int, scale: float, centre: float = 0.0) -> Tensor:
        values = centre + scale * torch.randn(*shape, generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    def add_table(name: str, *shape: int) -> None:
        parameters[f"{name}.weight"] = draw(*shape, scale=0.5)

    def add_linear(name: str, inputs: int, outputs: int) -> None:
        parameters[f"{name}.weight"] = draw(outputs, inputs, scale=1.0 / math.sqrt(inputs))
        parameters[f"{name}.bias"] = draw(outputs, scale=0.3)

    def add_norm(name: str, size: int) -> None:
        parameters[f"{name}.weight"] = draw(size, scale=0.2, centre=1.2)
        parameters[f"{name}.bias"] = draw(size, scale=0.3)

    hidden = config.hidden
    text = "uniter.embeddings"
    add_table(f"{text}.word_embeddings", config.vocabulary, hidden)
    add_table(f"{text}.position_embeddings", config.max_positions, hidden)
    add_table(f"{text}.token_type_embeddings", 2, hidden)
    add_norm(f"{text}.LayerNorm", hidden)
    for prefix, names, dim in (
        ("uniter.img_embeddings", "img", config.visual_dim),
        ("uniter.speech_embeddings", "speech", config.acoustic_dim),
    ):
        add_linear(f"{prefix}.{names}_linear", dim, hidden)
        add_norm(f"{prefix}.{names}_layer_norm", hidden)
        add_table(f"{prefix}.mask_embedding", 2, dim)
        add_table(f"{prefix}.position_embeddings", config.max_positions, hidden)
        add_norm(f"{prefix}.LayerNorm", hidden)
    add_table("uniter.speech_embeddings.token_type_embeddings", 1, hidden)

    for layer in range(config.layers):
        prefix = f"uniter.encoder.layer.{layer}"
        for projection in ("query", "key", "value"):
            add_linear(f"{prefix}.attention.self.{projection}", hidden, hidden)
        add_linear(f"{prefix}.attention.output.dense", hidden, hidden)
        add_norm(f"{prefix}.attention.output.LayerNorm", hidden)
        add_linear(f"{prefix}.intermediate.dense", hidden, config.ffn)
        add_linear(f"{prefix}.output.dense", config.ffn, hidden)
        add_norm(f"{prefix}.output.LayerNorm", hidden)
    add_linear("uniter.pooler.dense", hidden, hidden)

    add_linear("cls.predictions.transform.dense", hidden, hidden)
    add_norm("cls.predictions.transform.LayerNorm", hidden)
    parameters["cls.predictions.bias"] = draw(config.vocabulary, scale=0.3)
    parameters["cls.predictions.decoder.weight"] = parameters[f"{text}.word_embeddings.weight"]
    for head, names, dim in (
        ("feat_regress", "img", config.visual_dim),
        ("speech_feat_regress", "speech", config.acoustic_dim),
    ):
        add_linear(f"{head}.net.0", hidden, hidden)
        add_norm(f"{head}.net.2", hidden)
        parameters[f"{head}.bias"] = draw(dim, scale=0.3)
        parameters[f"{head}.weight"] = parameters[f"uniter.{names}_embeddings.{names}_linear.weight"]
    add_linear("region_classifier.net.0", hidden, hidden)
    add_norm("region_classifier.net.2", hidden)
    add_linear("region_classifier.net.3", hidden, config.expression_classes)
    add_linear("output.output.0", hidden, 2 * hidden)
    add_norm("output.output.2", 2 * hidden)
    add_linear("output.output.3", 2 * hidden, config.labels)
    return parameters


RENAMED_MODULES = {
    "uniter.embeddings.word_embeddings": "text_embedder.word",
    "uniter.embeddings.position_embeddings": "text_embedder.position",
    "uniter.embeddings.token_type_embeddings": "text_embedder.token_type",
    "uniter.embeddings.LayerNorm": "text_embedder.norm",
    "uniter.img_embeddings.img_linear": "visual_embedder.linear",
    "uniter.img_embeddings.img_layer_norm": "visual_embedder.feature_norm",
    "uniter.img_embeddings.position_embeddings": "visual_embedder.position",
    "uniter.img_embeddings.LayerNorm": "visual_embedder.norm",
    "uniter.speech_embeddings.speech_linear": "acoustic_embedder.linear",
    "uniter.speech_embeddings.speech_layer_norm": "acoustic_embedder.feature_norm",
    "uniter.speech_embeddings.position_embeddings": "acoustic_embedder.position",
    "uniter.speech_embeddings.token_type_embeddings": "acoustic_embedder.token_type",
    "uniter.speech_embeddings.LayerNorm": "acoustic_embedder.norm",
    "uniter.pooler.dense": "pooler",
    "cls.predictions": "heads.wwmlm",
    "cls.predictions.transform.dense": "heads.wwmlm.transform",
    "cls.predictions.transform.LayerNorm": "heads.wwmlm.norm",
    "feat_regress": "heads.mvfr",
    "feat_regress.net.0": "heads.mvfr.transform",
    "feat_regress.net.2": "heads.mvfr.norm",
    "speech_feat_regress": "heads.mafr",
    "speech_feat_regress.net.0": "heads.mafr.transform",
    "speech_feat_regress.net.2": "heads.mafr.norm",
    "region_classifier.net.0": "heads.mvfc.transform",
    "region_classifier.net.2": "heads.mvfc.norm",
    "region_classifier.net.3": "heads.mvfc.out",
    "output.output.0": "heads.classify.hidden",
    "output.output.2": "heads.classify.norm",
    "output.output.3": "heads.classify.out",
}
RENAMED_IN_A_LAYER = {
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "ffn_in",
    "output.dense": "ffn_out",
    "output.LayerNorm": "ffn_norm",
}
TIED = {"cls.predictions.decoder.weight", "feat_regress.weight", "speech_feat_regress.weight"}


def to_plugin_names(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters, or gradients of them, under the plugin's names; tied copies and the unused mask rows are left out."""
    renamed: dict[str, Tensor] = {}
    for name, value in parameters.items():
        module, _, kind = name.rpartition(".")
        if name in TIED or module.endswith(("attention.self.key", "attention.self.value")):
            continue
        if module.endswith("mask_embedding"):
            embedder = "visual_embedder" if ".img_embeddings." in name else "acoustic_embedder"
            renamed[f"{embedder}.mask"] = value[1:2]
        elif module.startswith("uniter.encoder.layer."):
            layer, part = module.removeprefix("uniter.encoder.layer.").split(".", 1)
            if part == "attention.self.query":
                stem = f"uniter.encoder.layer.{layer}.attention.self"
                projections = [parameters[f"{stem}.{projection}.{kind}"] for projection in ("query", "key", "value")]
                renamed[f"encoder.layers.{layer}.attention.qkv.{kind}"] = torch.cat(projections)
            else:
                renamed[f"encoder.layers.{layer}.{RENAMED_IN_A_LAYER[part]}.{kind}"] = value
        else:
            renamed[f"{RENAMED_MODULES[module]}.{kind}"] = value
    return renamed
