"""Crossmodal transformers equal a plain computation with torch's own attention, one utterance at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from memobert_plugin.comparators.mult import (
    CrossmodalLayer,
    CrossmodalTransformer,
    SinusoidalPositions,
    crossmodal_plan,
    layout_of,
)
from memobert_plugin.nn.attention import AttentionPlan

CPU = torch.device("cpu")
WIDTH, HEADS = 8, 2


def transformer() -> CrossmodalTransformer:
    torch.manual_seed(0)
    built = CrossmodalTransformer(2, WIDTH, HEADS, dropout=0.0, attention_dropout=0.0).double()
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.5)
    return built


def plain_layer(layer: CrossmodalLayer, target: Tensor, source: Tensor) -> Tensor:
    """The same layer on one utterance through ``nn.MultiheadAttention``."""
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).double()
    own = layer.attention
    attention.in_proj_weight.data = torch.cat([own.query.weight, own.key_value.weight])
    attention.in_proj_bias.data = torch.cat([own.query.bias, own.key_value.bias])
    attention.out_proj.weight.data, attention.out_proj.bias.data = own.out.weight, own.out.bias
    query, key = layer.attention_norm(target)[None], layer.attention_norm(source)[None]
    hidden = target + attention(query, key, key)[0][0]
    return hidden + layer.ffn_out(torch.relu(layer.ffn_in(layer.ffn_norm(hidden))))


def plain(built: CrossmodalTransformer, target: Tensor, source: Tensor | None) -> Tensor:
    for layer in built.layers:
        assert isinstance(layer, CrossmodalLayer)
        target = plain_layer(layer, target, target if source is None else source)
    return built.norm(target)


def test_each_utterance_attends_to_its_own_source() -> None:
    target_lengths, source_lengths = np.array([3, 1, 4]), np.array([2, 5, 1])
    target, source = (torch.randn(lengths.sum(), WIDTH).double() for lengths in (target_lengths, source_lengths))
    plans = [AttentionPlan.for_all(layout_of(lengths), CPU) for lengths in (target_lengths, source_lengths)]
    plan = crossmodal_plan(*plans)
    built = transformer()
    expected = [
        plain(built, one, other)
        for one, other in zip(target.split(target_lengths.tolist()), source.split(source_lengths.tolist()), strict=True)
    ]
    torch.testing.assert_close(built(target, source, plan, plan), torch.cat(expected))


def test_self_attention_is_computed_where_it_is_asked_for() -> None:
    lengths = np.array([3, 1, 4])
    hidden, layout, built = torch.randn(8, WIDTH).double(), layout_of(lengths), transformer()
    plan = AttentionPlan.for_all(layout, CPU)
    expected = torch.cat([plain(built, one, None) for one in hidden.split(lengths.tolist())])
    torch.testing.assert_close(built(hidden, None, plan, plan), expected)
    last = np.array([2, 3, 7])
    torch.testing.assert_close(built(hidden, None, plan, plan.for_queries(layout, last, CPU)), expected[last])


def test_positions_restart_in_every_utterance_and_are_not_stored() -> None:
    positions = SinusoidalPositions(5, WIDTH)
    added = positions(torch.zeros(6, WIDTH), np.array([2, 4]))
    torch.testing.assert_close(added[:2], added[2:4])
    torch.testing.assert_close(added[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    torch.testing.assert_close(added[1, :4], torch.sin(10000.0 ** -torch.arange(0, 1, 0.25)))
    assert not positions.state_dict()
