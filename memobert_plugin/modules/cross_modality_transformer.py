"""BERT's post-LN transformer over a packed sequence (MEmoBERT, section 2; Devlin et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from .attention import AttentionPlan, SelfAttention

LAYER_NORM_EPS = 1e-12
"""BERT's; torch's and fairseq's default is 1e-5."""


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each followed by dropout, residual and LayerNorm (post-LN); exact erf GELU."""

    def __init__(self, embed_dim: int, ffn_dim: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(embed_dim, heads, attention_dropout)
        self.attention_norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.ffn_in = nn.Linear(embed_dim, ffn_dim)
        self.ffn_out = nn.Linear(ffn_dim, embed_dim)
        self.ffn_norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, plan: AttentionPlan) -> Tensor:
        """``(N, D)`` to ``(N, D)``, or to the plan's asking rows ``(n, D)``."""
        residual = hidden if plan.query_rows is None else hidden.index_select(0, plan.query_rows)
        hidden = self.attention_norm(residual + self.dropout(self.attention(hidden, plan)))
        return self.ffn_norm(hidden + self.dropout(self.ffn_out(functional.gelu(self.ffn_in(hidden)))))


class CrossModalityTransformer(nn.Module):
    """The encoder: all layers on all rows, the last one only where a head reads.

    Args:
        layers: number of layers.
        embed_dim: width D.
        ffn_dim: width of the feed-forward part.
        heads: attention heads.
        dropout: on the outputs of attention and feed-forward.
        attention_dropout: on attention weights.
        checkpoint_activations: recompute each layer in the backward pass instead of storing it.
    """

    def __init__(
        self,
        layers: int,
        embed_dim: int,
        ffn_dim: int,
        heads: int,
        dropout: float,
        attention_dropout: float,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TransformerLayer(embed_dim, ffn_dim, heads, dropout, attention_dropout) for _ in range(layers)
        )
        self.checkpoint_activations = checkpoint_activations

    def forward(self, hidden: Tensor, plan: AttentionPlan, last_plan: AttentionPlan) -> Tensor:
        """Packed rows ``(N, D)`` to the rows that ask in ``last_plan``, ``(n, D)``."""
        for index, layer in enumerate(self.layers):
            layer_plan = last_plan if index == len(self.layers) - 1 else plan
            if self.checkpoint_activations and self.training and torch.is_grad_enabled():
                hidden = checkpoint(layer, hidden, layer_plan, use_reentrant=False)
            else:
                hidden = layer(hidden, layer_plan)
        return hidden
