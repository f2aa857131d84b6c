"""Which of another system's tensors make each of the plugin's parameters: the part that is BERT's everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .state_dictionary import StateDictionary

Sizes = Mapping[str, int]
"""Numbers for the names that stand in shapes: ``hidden``, ``ffn``, ``positions`` and an importer's own."""


@dataclass(frozen=True)
class Origin:
    """One of the plugin's parameters: the tensors that are stacked to make it, each of this shape."""

    name: str
    tensors: tuple[str, ...]
    shape: tuple[str | int, ...]

    def parameter(self, source: StateDictionary, sizes: Sizes) -> Tensor:
        """The parameter as float32. Raises :class:`UserError` if a tensor has another shape or no finite numbers."""
        shape = tuple(size if isinstance(size, int) else sizes[size] for size in self.shape)
        return torch.cat([source.take(name, shape) for name in self.tensors])


def table(name: str, origin: str, *shape: str | int) -> Iterator[Origin]:
    """An embedding table."""
    yield Origin(f"{name}.weight", (f"{origin}.weight",), shape)


def module(name: str, origins: tuple[str, ...], *weight_shape: str | int) -> Iterator[Origin]:
    """Weight and bias of a linear layer or LayerNorm, stacked from one or several of the other system's."""
    yield Origin(f"{name}.weight", tuple(f"{origin}.weight" for origin in origins), weight_shape)
    yield Origin(f"{name}.bias", tuple(f"{origin}.bias" for origin in origins), weight_shape[:1])


def bert_body(layers: int, prefix: str) -> Iterator[Origin]:
    """Text embedder without its words, and the transformer; BERT's names follow ``prefix``."""
    text = f"{prefix}embeddings"
    yield from table("text_embedder.position", f"{text}.position_embeddings", "positions", "hidden")
    yield from table("text_embedder.token_type", f"{text}.token_type_embeddings", 2, "hidden")
    yield from module("text_embedder.norm", (f"{text}.LayerNorm",), "hidden")
    for number in range(layers):
        layer, bert = f"encoder.layers.{number}", f"{prefix}encoder.layer.{number}"
        projections = tuple(f"{bert}.attention.self.{part}" for part in ("query", "key", "value"))
        yield from module(f"{layer}.attention.qkv", projections, "hidden", "hidden")
        yield from module(f"{layer}.attention.out", (f"{bert}.attention.output.dense",), "hidden", "hidden")
        yield from module(f"{layer}.attention_norm", (f"{bert}.attention.output.LayerNorm",), "hidden")
        yield from module(f"{layer}.ffn_in", (f"{bert}.intermediate.dense",), "ffn", "hidden")
        yield from module(f"{layer}.ffn_out", (f"{bert}.output.dense",), "hidden", "ffn")
        yield from module(f"{layer}.ffn_norm", (f"{bert}.output.LayerNorm",), "hidden")


def bert_pooler(prefix: str) -> Iterator[Origin]:
    """The pooler; BERT's names follow ``prefix``."""
    yield from module("pooler", (f"{prefix}pooler.dense",), "hidden", "hidden")


def bert_word_head() -> Iterator[Origin]:
    """The WWMLM head but for its bias, which has the vocabulary's order: BERT's masked language modelling head."""
    yield from module("heads.wwmlm.transform", ("cls.predictions.transform.dense",), "hidden", "hidden")
    yield from module("heads.wwmlm.norm", ("cls.predictions.transform.LayerNorm",), "hidden")
