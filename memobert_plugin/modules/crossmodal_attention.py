"""Crossmodal transformers: one modality repeatedly enriched by attention to another (Tsai et al. 2019, section 3).

Not to be taken for MEmoBERT's cross-modality transformer, which attends over all modalities at once: here queries come
from a target modality, keys and values from a source modality. With the target as its own source it is the
self-attention transformer that MulT puts on top.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..ragged import owners_and_positions
from .attention import AttentionPlan, attend
from .packing import PackedLayout, to_device


def layout_of(lengths: np.ndarray) -> PackedLayout:
    """The layout of a single modality whose utterances have these ``(B,)`` lengths."""
    nothing = np.zeros_like(lengths)
    return PackedLayout.from_lengths(lengths, nothing, nothing)


def crossmodal_plan(target: AttentionPlan, source: AttentionPlan) -> AttentionPlan:
    """Every row of an utterance's target modality asks every row of its source modality.

    Args:
        target: plan of the target's attention to itself.
        source: plan of the source's attention to itself.
    """
    return replace(source, query_lengths=target.key_lengths, queries=target.keys, query_varlen=target.key_varlen)


class CrossmodalAttention(nn.Module):
    """Multi-head attention of target rows to the source rows of their own utterances.

    Args:
        embed_dim: width D.
        heads: number of heads H, a divisor of D.
        dropout: probability of dropping an attention weight.
    """

    def __init__(self, embed_dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key_value = nn.Linear(embed_dim, 2 * embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)

    def forward(self, asking: Tensor, source: Tensor, plan: AttentionPlan) -> Tensor:
        """Asking rows ``(n, D)`` and source rows ``(N, D)`` to ``(n, D)``."""
        query = self.query(asking).unflatten(1, (self.heads, -1))
        key, value = self.key_value(source).unflatten(1, (2, self.heads, -1)).unbind(1)
        return self.out(attend(query, key, value, plan, self.dropout if self.training else 0.0).flatten(1))


class CrossmodalLayer(nn.Module):
    """Pre-LN attention and a feed-forward part of four times the width with ReLU, as in the authors' code: target and
    source share the LayerNorm before the attention.
    """

    def __init__(self, embed_dim: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.attention = CrossmodalAttention(embed_dim, heads, attention_dropout)
        self.ffn_norm = nn.LayerNorm(embed_dim)
        self.ffn_in = nn.Linear(embed_dim, 4 * embed_dim)
        self.ffn_out = nn.Linear(4 * embed_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, target: Tensor, source: Tensor, plan: AttentionPlan) -> Tensor:
        """``(n, D)`` target rows to ``(n, D)``, or to the plan's asking ones among them."""
        hidden = target if plan.query_rows is None else target.index_select(0, plan.query_rows)
        attended = self.attention(self.attention_norm(hidden), self.attention_norm(source), plan)
        hidden = hidden + self.dropout(attended)
        return hidden + self.dropout(self.ffn_out(functional.relu(self.ffn_in(self.ffn_norm(hidden)))))


class CrossmodalTransformer(nn.Module):
    """Layers that all read the same low-level source, and a LayerNorm at the end.

    Args:
        layers: number of layers.
        embed_dim: width D.
        heads: attention heads.
        dropout: on the outputs of attention and feed-forward.
        attention_dropout: on attention weights.
    """

    def __init__(self, layers: int, embed_dim: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CrossmodalLayer(embed_dim, heads, dropout, attention_dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, target: Tensor, source: Tensor | None, plan: AttentionPlan, last_plan: AttentionPlan) -> Tensor:
        """Run all layers; the last one only for the rows that ask in ``last_plan``.

        Args:
            target: ``(N, D)``.
            source: ``(M, D)``, or None for self-attention.
            plan: whose rows they are.
            last_plan: the same for the last layer.

        Returns:
            ``(n, D)`` for the n rows that ask in the last layer.
        """
        for index, layer in enumerate(self.layers):
            layer_plan = last_plan if index == len(self.layers) - 1 else plan
            target = layer(target, target if source is None else source, layer_plan)
        return self.norm(target)


class SinusoidalPositions(nn.Module):
    """Adds the fixed position vectors of Vaswani et al. 2017; nothing is learned and nothing is stored.

    Args:
        max_positions: longest sequence.
        embed_dim: width D, even.
    """

    def __init__(self, max_positions: int, embed_dim: int) -> None:
        super().__init__()
        rates = torch.exp(torch.arange(0, embed_dim, 2) * (-np.log(10000.0) / embed_dim))
        angles = torch.arange(max_positions)[:, None] * rates
        self.table: Tensor
        self.register_buffer("table", torch.cat([angles.sin(), angles.cos()], dim=1), persistent=False)

    def forward(self, rows: Tensor, lengths: np.ndarray) -> Tensor:
        """``(N, D)`` rows of utterances of these ``(B,)`` lengths to ``(N, D)``."""
        positions = to_device(owners_and_positions(lengths)[1], rows.device)
        return rows + self.table.index_select(0, positions)
