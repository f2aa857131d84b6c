"""Heads: small networks that read one vector per position from the transformer (MEmoBERT, sections 2 and 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.names import LAYER_NORM_EPS
from .linear import Linear, linear

WORD_HEAD = "wwmlm"
"""Name of the masked-language-modelling head, which prompting reads too."""
EMOTION_HEAD = "classify"
"""Name of the finetuning classifier."""


@dataclass(frozen=True)
class HeadPlan:
    """Instructions for building a head and for calling it.

    Attributes:
        build: makes the module from the transformer's width D.
        modality: ``"text"``, ``"visual"`` or ``"acoustic"``: the rows that the head may read.
        tied: call the module with the modality's input weights ``(out, D)`` as its second argument: the word vectors,
            or the transposed projection of frames.
        pooled: give the module ``tanh(pooler(hidden))``, as BERT does for [CLS].
    """

    build: Callable[[int], nn.Module]
    modality: str
    tied: bool = False
    pooled: bool = False


class Transform(nn.Module):
    """``LN(GELU(Linear(D, D)))``, the first half of every masked-modelling head."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.transform = Linear(embed_dim, embed_dim)
        self.norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)

    def transformed(self, hidden: Tensor) -> Tensor:
        """Return ``(n, D)`` for ``(n, D)``."""
        return self.norm(functional.gelu(self.transform(hidden)))


class TiedHead(Transform):
    """A head whose decoder is an input embedding, with a bias of its own."""

    def __init__(self, embed_dim: int, out_dim: int) -> None:
        super().__init__(embed_dim)
        self.bias = nn.Parameter(torch.zeros(out_dim))

    def forward(self, hidden: Tensor, decoder: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """Return ``(n, out)`` for ``(n, D)`` and a decoder ``(out, D)``, whose rows are these of all (None: all)."""
        bias = self.bias if rows is None else self.bias[list(rows)]
        return linear(self.transformed(hidden), decoder, bias)


class ClassHead(Transform):
    """Logits of K classes for each position."""

    def __init__(self, embed_dim: int, classes: int) -> None:
        super().__init__(embed_dim)
        self.out = Linear(embed_dim, classes)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return ``(n, K)`` for ``(n, D)``."""
        return self.out(self.transformed(hidden))


class EmotionHead(nn.Module):
    """Finetuning: ``Linear(D, 2D)``, GELU, LN, ``Linear(2D, C)`` on the pooled [CLS], no dropout inside."""

    def __init__(self, embed_dim: int, classes: int) -> None:
        super().__init__()
        self.hidden = Linear(embed_dim, 2 * embed_dim)
        self.norm = nn.LayerNorm(2 * embed_dim, eps=LAYER_NORM_EPS)
        self.out = Linear(2 * embed_dim, classes)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return ``(B, C)`` for ``(B, D)``."""
        return self.out(self.norm(functional.gelu(self.hidden(pooled))))


def word_head(vocabulary: int) -> HeadPlan:
    """Return the plan of BERT's masked-language-modelling head, tied to the word vectors."""
    return HeadPlan(lambda width: TiedHead(width, vocabulary), "text", tied=True)


def emotion_head(classes: int) -> HeadPlan:
    """Return the plan of the finetuning classifier."""
    return HeadPlan(lambda width: EmotionHead(width, classes), "text", pooled=True)


def upcast(values: Tensor) -> Tensor:
    """Return float16 and bfloat16 values as float32, others unchanged: ``--fp16`` means half weights, not autocast."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
