"""What is read off the transformer: the four masked-modelling heads, the pooler and the finetuning classifier
(MEmoBERT, sections 2 and 3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .transformer import LAYER_NORM_EPS


class _Transform(nn.Module):
    """``LN(GELU(Linear(D, D)))``, the first half of every masked-modelling head."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.transform = nn.Linear(embed_dim, embed_dim)
        self.norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)

    def transformed(self, hidden: Tensor) -> Tensor:
        return self.norm(functional.gelu(self.transform(hidden)))


class TiedHead(_Transform):
    """A head whose decoder is an input embedding: word vectors for WWMLM, the transposed frame projection for MVFR and
    MAFR.
    """

    def __init__(self, embed_dim: int, out_dim: int) -> None:
        super().__init__(embed_dim)
        self.bias = nn.Parameter(torch.zeros(out_dim))

    def forward(self, hidden: Tensor, decoder: Tensor) -> Tensor:
        """``(n, D)`` and a decoder ``(out, D)`` to ``(n, out)``."""
        return functional.linear(self.transformed(hidden), decoder, self.bias)


class ExpressionHead(_Transform):
    """MVFC: logits of the facial-expression distribution, K classes."""

    def __init__(self, embed_dim: int, classes: int) -> None:
        super().__init__(embed_dim)
        self.out = nn.Linear(embed_dim, classes)

    def forward(self, hidden: Tensor) -> Tensor:
        """``(n, D)`` to ``(n, K)``."""
        return self.out(self.transformed(hidden))


class EmotionHead(nn.Module):
    """Finetuning: ``Linear(D, 2D)``, GELU, LN, ``Linear(2D, C)`` on the pooled [CLS], no dropout inside."""

    def __init__(self, embed_dim: int, classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(embed_dim, 2 * embed_dim)
        self.norm = nn.LayerNorm(2 * embed_dim, eps=LAYER_NORM_EPS)
        self.out = nn.Linear(2 * embed_dim, classes)

    def forward(self, pooled: Tensor) -> Tensor:
        """``(B, D)`` to ``(B, C)``."""
        return self.out(self.norm(functional.gelu(self.hidden(pooled))))


def upcast(values: Tensor) -> Tensor:
    """float16 and bfloat16 to float32; others stay as they are (``--fp16`` is half weights, not autocast)."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
