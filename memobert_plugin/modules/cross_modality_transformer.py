"""BERT's post-LN transformer over a packed sequence (MEmoBERT, section 2; Devlin et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from .packing import AttentionPlan, from_rectangle, to_rectangle

LAYER_NORM_EPS = 1e-12
"""BERT's; torch's and fairseq's default is 1e-5."""


class SelfAttention(nn.Module):
    """Multi-head attention of every asking row to all rows of its own utterance.

    Args:
        embed_dim: width D.
        heads: number of heads, a divisor of D.
        dropout: probability of dropping an attention weight.
    """

    def __init__(self, embed_dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        if embed_dim % heads:
            raise ValueError(f"encoder_embed_dim {embed_dim} is not a multiple of encoder_attention_heads {heads}")
        self.embed_dim, self.heads, self.dropout = embed_dim, heads, dropout
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)

    def forward(self, hidden: Tensor, plan: AttentionPlan) -> Tensor:
        """``(N, D)`` to ``(N, D)``, or to ``(n, D)`` for the plan's n asking rows."""
        batch, most_queries, most_keys = plan.shape
        if plan.query_rows is None:
            qkv = to_rectangle(self.qkv(hidden), plan.key_slots, batch, most_keys)
            query, key, value = qkv.view(batch, most_keys, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        else:
            weight_query, weight_rest = self.qkv.weight.split([self.embed_dim, 2 * self.embed_dim])
            bias_query, bias_rest = self.qkv.bias.split([self.embed_dim, 2 * self.embed_dim])
            asking = functional.linear(hidden.index_select(0, plan.query_rows), weight_query, bias_query)
            asking = to_rectangle(asking, plan.query_slots, batch, most_queries)
            query = asking.view(batch, most_queries, self.heads, -1).transpose(1, 2)
            rest = to_rectangle(functional.linear(hidden, weight_rest, bias_rest), plan.key_slots, batch, most_keys)
            key, value = rest.view(batch, most_keys, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        context = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=plan.key_mask, dropout_p=self.dropout if self.training else 0.0
        )
        return self.out(from_rectangle(context.transpose(1, 2).flatten(2), plan.query_slots))


class TransformerLayer(nn.Module):
    """One post-LN layer: attention and feed-forward, each followed by dropout, residual and LayerNorm; exact erf
    GELU.
    """

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
