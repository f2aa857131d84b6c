"""Attention inside each utterance of a packed batch.

On a CPU each utterance is attended on its own, without any padding. On an accelerator one large call is faster than
many small ones. In half precision and without dropout torch's varlen kernel reads the packed rows as they are.
Otherwise queries, keys and values (and nothing else) are padded to a rectangle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.ragged import owners_and_positions
from .linear import Linear, linear
from .packing import PackedLayout, to_device

LARGEST_HEAD = 256
"""The most columns per head that the varlen kernel takes, in steps of eight."""


@cache
def varlen_kernel() -> Callable[..., Tensor] | None:
    """Return torch's attention over packed rows, or None before torch 2.10.

    Its module loads much of torch's compiler, so it is imported where it is used.
    """
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return cast(Callable[..., Tensor], varlen_attn)


@dataclass(frozen=True)
class VariableLengths:
    """Beginnings and ends of utterances among packed rows, as the varlen kernel wants them.

    Attributes:
        cumulative: ``(B + 1,)`` int32 cumulative sequence lengths (``cu_seqlens``): first row of each utterance, and
            the number of all rows.
        longest: rows of the longest utterance.
    """

    cumulative: Tensor
    longest: int

    @classmethod
    def of(cls, lengths: np.ndarray, device: torch.device) -> VariableLengths | None:
        """Return those of utterances of these ``(B,)`` lengths, or None when one has no row."""
        if not lengths.all():
            return None
        cumulative = np.concatenate([[0], np.cumsum(lengths)])
        return cls(to_device(cumulative, device).to(torch.int32), int(lengths.max()))


@dataclass(frozen=True)
class Rectangle:
    """Places of packed rows in a padded ``(B, L)`` rectangle.

    Attributes:
        shape: ``(B, L)``.
        slots: ``(N,)`` slot of each packed row in the flattened rectangle, or None when it is full.
    """

    shape: tuple[int, int]
    slots: Tensor | None

    @classmethod
    def of(cls, lengths: np.ndarray, device: torch.device) -> Rectangle:
        """Return the smallest rectangle for utterances of these ``(B,)`` lengths."""
        batch, longest = len(lengths), int(lengths.max())
        if int(lengths.min()) == longest:
            return cls((batch, longest), None)
        utterance, position = owners_and_positions(lengths)
        return cls((batch, longest), to_device(utterance * longest + position, device))

    def pad(self, packed: Tensor) -> Tensor:
        """Return ``(B, H, L, d)`` for ``(N, H, d)``, zeros where an utterance is shorter."""
        batch, longest = self.shape
        if self.slots is not None:
            packed = packed.new_zeros(batch * longest, *packed.shape[1:]).index_copy(0, self.slots, packed)
        return packed.view(batch, longest, *packed.shape[1:]).transpose(1, 2)

    def pack(self, padded: Tensor) -> Tensor:
        """Return ``(N, H, d)`` for ``(B, H, L, d)``."""
        flat = padded.transpose(1, 2).flatten(0, 1)
        return flat if self.slots is None else flat.index_select(0, self.slots)


@dataclass(frozen=True)
class AttentionPlan:
    """Query and key lengths and masks of one batch, shared by all layers.

    Attributes:
        key_lengths: ``(B,)`` keys of each utterance, which are all its rows.
        query_lengths: ``(B,)`` queries of each utterance.
        query_rows: ``(n,)`` the packed rows that are queries, or None for all of them.
        keys: rectangle of the keys; None on a CPU, like all that follow.
        queries: rectangle of the queries.
        key_mask: ``(B, 1, 1, L)`` True at real keys, or None without padding.
        key_varlen: the keys' lengths for the varlen kernel; None where there is no such kernel.
        query_varlen: the queries' lengths for it; None also where an utterance has no query.
    """

    key_lengths: list[int]
    query_lengths: list[int]
    query_rows: Tensor | None = None
    keys: Rectangle | None = None
    queries: Rectangle | None = None
    key_mask: Tensor | None = None
    key_varlen: VariableLengths | None = None
    query_varlen: VariableLengths | None = None

    @classmethod
    def for_all(cls, layout: PackedLayout, device: torch.device) -> AttentionPlan:
        """Return the plan with every row as a query."""
        lengths = layout.lengths.tolist()
        if device.type == "cpu":
            return cls(lengths, lengths)
        rectangle = Rectangle.of(layout.lengths, device)
        mask = None
        if rectangle.slots is not None:
            real = torch.arange(rectangle.shape[1], device=device) < to_device(layout.lengths, device)[:, None]
            mask = real[:, None, None, :]
        varlen = VariableLengths.of(layout.lengths, device) if _has_varlen(device) else None
        return cls(lengths, lengths, None, rectangle, rectangle, mask, varlen, varlen)

    def for_queries(self, layout: PackedLayout, rows: np.ndarray, device: torch.device) -> AttentionPlan:
        """Return the plan with the same keys and only the packed ``rows`` (ascending) as queries.

        The last layer uses it: a head reads only some rows.
        """
        utterance = np.searchsorted(layout.starts, rows, side="right") - 1
        lengths = np.bincount(utterance, minlength=len(layout.lengths))
        return replace(
            self,
            query_lengths=lengths.tolist(),
            query_rows=to_device(rows, device),
            queries=Rectangle.of(lengths, device) if self.keys is not None else None,
            query_varlen=VariableLengths.of(lengths, device) if self.key_varlen is not None else None,
        )


def _has_varlen(device: torch.device) -> bool:
    """Return True where the varlen kernel runs: on NVIDIA's GPUs from Ampere on."""
    if device.type != "cuda" or torch.version.cuda is None:
        return False
    return torch.cuda.get_device_capability(device)[0] >= 8 and varlen_kernel() is not None


def attend(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, dropout: float) -> Tensor:
    """Attend packed queries to the packed keys and values of their own utterances.

    Args:
        query: ``(n, H, d)``.
        key: ``(N, H, d)``.
        value: ``(N, H, d)``.
        plan: the lengths of queries and keys.
        dropout: probability of dropping an attention weight.

    Returns:
        ``(n, H, d)``.
    """
    of_queries, of_keys = plan.query_varlen, plan.key_varlen
    if of_queries is not None and of_keys is not None and _fits_varlen(query, dropout):
        kernel = varlen_kernel()
        assert kernel is not None  # without it a plan has no such lengths
        return kernel(query, key, value, of_queries.cumulative, of_keys.cumulative, of_queries.longest, of_keys.longest)
    if plan.keys is not None and plan.queries is not None:
        context = functional.scaled_dot_product_attention(
            plan.queries.pad(query),
            plan.keys.pad(key),
            plan.keys.pad(value),
            attn_mask=plan.key_mask,
            dropout_p=dropout,
        )
        return plan.queries.pack(context)
    queries = query.transpose(0, 1).split(plan.query_lengths, dim=1)
    keys = key.transpose(0, 1).split(plan.key_lengths, dim=1)
    values = value.transpose(0, 1).split(plan.key_lengths, dim=1)
    contexts = [
        functional.scaled_dot_product_attention(q[None], k[None], v[None], dropout_p=dropout)[0]
        for q, k, v in zip(queries, keys, values, strict=True)
        if q.shape[1]
    ]
    return torch.cat(contexts, dim=1).transpose(0, 1)


def _fits_varlen(query: Tensor, dropout: float) -> bool:
    """Return True for what the varlen kernel takes: half precision, no dropout, heads of limited size."""
    half = query.dtype in (torch.float16, torch.bfloat16)
    return half and not dropout and query.shape[2] % 8 == 0 and query.shape[2] <= LARGEST_HEAD


CHANGE = "_change."
"""Part of the names of low-rank changes: ``qkv_change.down`` belongs to ``qkv.weight``."""


class LowRankChange(nn.Module):
    """A change of a weight matrix by the product of two narrow ones, zero at the start (LoRA: Hu et al., ICLR 2022).

    Args:
        inputs: columns of the matrix.
        outputs: rows of the matrix.
        rank: of the change.
    """

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight, ``(outputs, inputs)``."""
        return weight + self.up @ self.down


class SelfAttention(nn.Module):
    """Multi-head attention of every query to all rows of its own utterance.

    Args:
        embed_dim: width D.
        heads: number of heads H, a divisor of D.
        dropout: probability of dropping an attention weight.
        change_rank: of a low-rank change of the two weight matrices; 0 for none.
    """

    def __init__(self, embed_dim: int, heads: int, dropout: float, change_rank: int = 0) -> None:
        super().__init__()
        if embed_dim % heads:
            raise ValueError(f"encoder_embed_dim {embed_dim} is not a multiple of encoder_attention_heads {heads}")
        self.embed_dim, self.heads, self.dropout = embed_dim, heads, dropout
        self.qkv = Linear(embed_dim, 3 * embed_dim)
        self.out = Linear(embed_dim, embed_dim)
        self.qkv_change = LowRankChange(embed_dim, 3 * embed_dim, change_rank) if change_rank else None
        self.out_change = LowRankChange(embed_dim, embed_dim, change_rank) if change_rank else None

    def forward(self, hidden: Tensor, plan: AttentionPlan) -> Tensor:
        """Return ``(N, D)`` for ``(N, D)``, or ``(n, D)`` for the plan's n queries."""
        weight = self.qkv.weight if self.qkv_change is None else self.qkv_change(self.qkv.weight)
        if plan.query_rows is None:
            together = linear(hidden, weight, self.qkv.bias)
            query, key, value = together.unflatten(1, (3, self.heads, -1)).unbind(1)
        else:
            sizes = [self.embed_dim, 2 * self.embed_dim]
            (query_weight, rest_weight), (query_bias, rest_bias) = (
                weight.split(sizes),
                self.qkv.bias.split(sizes),
            )
            queries = hidden.index_select(0, plan.query_rows)
            query = linear(queries, query_weight, query_bias).unflatten(1, (self.heads, -1))
            key, value = linear(hidden, rest_weight, rest_bias).unflatten(1, (2, self.heads, -1)).unbind(1)
        context = attend(query, key, value, plan, self.dropout if self.training else 0.0)
        out = self.out.weight if self.out_change is None else self.out_change(self.out.weight)
        return linear(context.flatten(1), out, self.out.bias)
