"""BERT's post-LN transformer over a packed sequence (MEmoBERT, section 2; Devlin et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ..core.names import LAYER_NORM_EPS
from .attention import AttentionPlan, SelfAttention
from .linear import Linear


def set_layer_norm_eps(module: nn.Module, eps: float) -> None:
    """Give every LayerNorm in a module this epsilon."""
    for part in module.modules():
        if isinstance(part, nn.LayerNorm):
            part.eps = eps


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each followed by dropout, residual and LayerNorm (post-LN); exact erf GELU."""

    def __init__(
        self,
        embed_dim: int,
        ffn_dim: int,
        heads: int,
        dropout: float,
        attention_dropout: float,
        compiled: bool = False,
        change_rank: int = 0,
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(embed_dim, heads, attention_dropout, change_rank)
        self.attention_norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.ffn_in = Linear(embed_dim, ffn_dim)
        self.ffn_out = Linear(ffn_dim, embed_dim)
        self.ffn_norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

        self.compiled = compiled
        """True where everything after the attention runs as one compiled function."""

    def forward(self, hidden: Tensor, plan: AttentionPlan) -> Tensor:
        """Return ``(N, D)`` for ``(N, D)``, or ``(n, D)`` for the plan's queries."""
        residual = hidden if plan.query_rows is None else hidden.index_select(0, plan.query_rows)
        rest = _compiled_rest() if self.compiled else TransformerLayer.rest
        return rest(self, residual, self.attention(hidden, plan))

    def rest(self, residual: Tensor, attended: Tensor) -> Tensor:
        """Apply everything after the attention; each row is computed by itself."""
        hidden = self.attention_norm(residual + self.dropout(attended))
        return self.ffn_norm(hidden + self.dropout(self.ffn_out(functional.gelu(self.ffn_in(hidden)))))


@cache
def _compiled_rest() -> Callable[[TransformerLayer, Tensor, Tensor], Tensor]:
    """Compile one function for all layers of all models; the number of rows changes with every batch."""
    return torch.compile(TransformerLayer.rest, dynamic=True)


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
        compiled: compile everything after the attention in each layer; parameters keep their names.
        change_rank: of low-rank changes of the attention's weights; 0 for none.
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
        compiled: bool = False,
        change_rank: int = 0,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TransformerLayer(embed_dim, ffn_dim, heads, dropout, attention_dropout, compiled, change_rank)
            for _ in range(layers)
        )
        self.checkpoint_activations = checkpoint_activations

    def forward(self, hidden: Tensor, plan: AttentionPlan, last_plan: AttentionPlan) -> Tensor:
        """Return ``(n, D)`` at the queries of ``last_plan`` for packed rows ``(N, D)``."""
        for index, layer in enumerate(self.layers):
            layer_plan = last_plan if index == len(self.layers) - 1 else plan
            if self.checkpoint_activations and self.training and torch.is_grad_enabled():
                hidden = checkpoint(layer, hidden, layer_plan, use_reentrant=False)
            else:
                hidden = layer(hidden, layer_plan)
        return hidden
