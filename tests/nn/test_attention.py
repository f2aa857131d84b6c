"""Packed attention against plain softmax: a CPU's loop, padded attention and the varlen kernel."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from memobert_plugin.comparators.mult import crossmodal_plan
from memobert_plugin.nn import attention as attention_module
from memobert_plugin.nn.attention import AttentionPlan, Rectangle, SelfAttention, VariableLengths, attend, varlen_kernel
from memobert_plugin.nn.packing import PackedLayout, to_device
from memobert_plugin.nn.transformer import CrossModalityTransformer

CPU = torch.device("cpu")
WIDTH, HEADS = 12, 3
LENGTHS = {
    "uneven": [(4, 3, 2), (1, 0, 0), (6, 0, 5), (2, 7, 0)],
    "equally long": [(3, 2, 1), (2, 2, 2), (6, 0, 0)],
    "one utterance": [(5, 4, 3)],
    "of one row each": [(1, 0, 0), (1, 0, 0)],
}


def layout_of(name: str) -> PackedLayout:
    return PackedLayout.from_lengths(*np.array(LENGTHS[name], dtype=np.int64).T)


def rectangle_plan(layout: PackedLayout) -> AttentionPlan:
    """What :meth:`AttentionPlan.for_all` makes for an accelerator, on the CPU."""
    rectangle = Rectangle.of(layout.lengths, CPU)
    mask = None
    if rectangle.slots is not None:
        mask = (torch.arange(rectangle.shape[1]) < to_device(layout.lengths, CPU)[:, None])[:, None, None, :]
    return AttentionPlan(layout.lengths.tolist(), layout.lengths.tolist(), None, rectangle, rectangle, mask)


def plans(layout: PackedLayout, rows: np.ndarray | None) -> list[AttentionPlan]:
    both = [AttentionPlan.for_all(layout, CPU), rectangle_plan(layout)]
    return both if rows is None else [plan.for_queries(layout, rows, CPU) for plan in both]


def every_second_row(layout: PackedLayout) -> np.ndarray:
    return np.arange(0, int(layout.lengths.sum()), 2)


def queries_of_one_utterance(layout: PackedLayout) -> np.ndarray:
    return layout.starts[-1:] + layout.lengths[-1:] - 1


def random_rows(layout: PackedLayout, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(int(layout.lengths.sum()), WIDTH, generator=generator, dtype=torch.float64)


def module() -> SelfAttention:
    torch.manual_seed(1)
    return SelfAttention(WIDTH, HEADS, dropout=0.0).double()


ROWS = [None, every_second_row, queries_of_one_utterance]


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("choose", ROWS)
def test_loop_and_rectangle_give_the_same_output_and_gradients(name: str, choose: object) -> None:
    layout = layout_of(name)
    rows = choose(layout) if callable(choose) else None
    results = []
    for plan in plans(layout, rows):
        attention, hidden = module(), random_rows(layout).requires_grad_()
        output = attention(hidden, plan)
        (output * torch.arange(output.numel(), dtype=torch.float64).view_as(output)).sum().backward()
        results.append([output, hidden.grad, *(parameter.grad for parameter in attention.parameters())])
    for loop, rectangle in zip(*results, strict=True):
        torch.testing.assert_close(loop, rectangle, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("kind", [0, 1])
def test_attention_is_softmax_within_each_utterance(name: str, kind: int) -> None:
    layout = layout_of(name)
    query, key, value = (random_rows(layout, seed).view(-1, HEADS, WIDTH // HEADS) for seed in range(3))
    expected = []
    for start, length in zip(layout.starts, layout.lengths, strict=True):
        own = slice(int(start), int(start + length))
        scores = torch.einsum("qhd,khd->hqk", query[own], key[own]) / (WIDTH // HEADS) ** 0.5
        expected.append(torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), value[own]))
    found = attend(query, key, value, plans(layout, None)[kind], dropout=0.0)
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [0, 1])
def test_other_utterances_do_not_change_an_utterance(kind: int) -> None:
    layout, attention = layout_of("uneven"), module()
    hidden = random_rows(layout)
    changed = hidden.clone()
    changed[: layout.starts[2]] += 10.0
    changed[layout.starts[3] :] -= 10.0
    own = slice(int(layout.starts[2]), int(layout.starts[3]))
    before, after = (attention(rows, plans(layout, None)[kind])[own] for rows in (hidden, changed))
    torch.testing.assert_close(before, after, rtol=0.0, atol=0.0)


def test_a_query_has_the_same_output_with_and_without_the_others() -> None:
    layout, attention = layout_of("uneven"), module()
    hidden, rows = random_rows(layout), every_second_row(layout)
    everything, some = (attention(hidden, plans(layout, chosen)[0]) for chosen in (None, rows))
    torch.testing.assert_close(some, everything[torch.from_numpy(rows)], rtol=1e-12, atol=1e-12)


def test_a_full_rectangle_needs_no_mask_and_no_copy() -> None:
    layout = layout_of("equally long")
    plan = rectangle_plan(layout)
    assert plan.key_mask is None and plan.keys is not None and plan.keys.slots is None
    packed = random_rows(layout).view(-1, HEADS, WIDTH // HEADS)
    assert plan.keys.pad(packed).data_ptr() == packed.data_ptr()
    assert torch.equal(plan.keys.pack(plan.keys.pad(packed)), packed)


def test_recomputing_activations_changes_no_gradient() -> None:
    """With dropout too: the recomputation draws the same."""
    layout = layout_of("uneven")
    plan, last = (plans(layout, rows)[0] for rows in (None, every_second_row(layout)))
    results = []
    for checkpoint in (False, True):
        torch.manual_seed(2)
        encoder = CrossModalityTransformer(3, WIDTH, 20, HEADS, 0.2, 0.2, checkpoint).double()
        torch.manual_seed(3)
        encoder(random_rows(layout), plan, last).square().sum().backward()
        results.append([parameter.grad for parameter in encoder.parameters()])
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)


class RecordedKernel:
    """In place of torch's kernel for different lengths, which runs on a GPU only: the same arguments, the plain sum."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *arguments: Any) -> Tensor:
        if (kernel := varlen_kernel()) is not None:
            inspect.signature(kernel).bind(*arguments)
        query, key, value, query_bounds, key_bounds, most_queries, most_keys = arguments
        self.calls += 1
        assert query_bounds.dtype == key_bounds.dtype == torch.int32
        assert (most_queries, most_keys) == (int(query_bounds.diff().max()), int(key_bounds.diff().max()))
        contexts = []
        for number in range(len(query_bounds) - 1):
            queries = slice(int(query_bounds[number]), int(query_bounds[number + 1]))
            keys = slice(int(key_bounds[number]), int(key_bounds[number + 1]))
            scores = torch.einsum("qhd,khd->hqk", query[queries], key[keys]) / query.shape[2] ** 0.5
            contexts.append(torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), value[keys]))
        return torch.cat(contexts)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> RecordedKernel:
    recorded = RecordedKernel()
    monkeypatch.setattr(attention_module, "varlen_kernel", lambda: recorded)
    monkeypatch.setattr(attention_module, "_has_varlen", lambda device: True)
    return recorded


def varlen_plan(layout: PackedLayout) -> AttentionPlan:
    """What :meth:`AttentionPlan.for_all` makes for a GPU whose kernel takes different lengths, on the CPU."""
    varlen = VariableLengths.of(layout.lengths, CPU)
    return replace(rectangle_plan(layout), key_varlen=varlen, query_varlen=varlen)


def half_rows(layout: PackedLayout, seed: int, head_width: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(int(layout.lengths.sum()), HEADS, head_width, generator=generator).to(torch.bfloat16)


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("every", [1, 2])
def test_the_varlen_kernel_gets_each_utterance(kernel: RecordedKernel, name: str, every: int) -> None:
    layout = layout_of(name)
    rows = np.sort(np.unique(np.concatenate([layout.starts, np.arange(0, int(layout.lengths.sum()), every)])))
    plan, loop = (plan.for_queries(layout, rows, CPU) for plan in (varlen_plan(layout), plans(layout, None)[0]))
    query, key, value = (half_rows(layout, seed) for seed in range(3))
    found, expected = (attend(query[torch.from_numpy(rows)], key, value, one, dropout=0.0) for one in (plan, loop))
    assert kernel.calls == 1
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


def test_the_varlen_kernel_serves_crossmodal_attention(kernel: RecordedKernel) -> None:
    target, source = layout_of("uneven"), PackedLayout.from_lengths(*np.array([[2, 1, 0], [3, 0, 0]] * 2).T)
    plan = crossmodal_plan(varlen_plan(target), varlen_plan(source))
    query, key, value = half_rows(target, 0), half_rows(source, 1), half_rows(source, 2)
    found = attend(query, key, value, plan, dropout=0.0)
    assert kernel.calls == 1
    both = (AttentionPlan.for_all(layout, CPU) for layout in (target, source))
    torch.testing.assert_close(found, attend(query, key, value, crossmodal_plan(*both), 0.0), rtol=0.02, atol=0.02)


def test_unsupported_inputs_fall_back_to_padded_attention(kernel: RecordedKernel) -> None:
    layout = layout_of("uneven")
    half, single = half_rows(layout, 0), half_rows(layout, 0).float()
    narrow = half_rows(layout, 0, head_width=4)
    plan = varlen_plan(layout)
    for rows, dropout in ((half, 0.1), (single, 0.0), (narrow, 0.0)):
        attend(rows, rows, rows, plan, dropout)
    last = plan.for_queries(layout, queries_of_one_utterance(layout), CPU)
    attend(half[last.query_rows], half, half, last, 0.0)
    assert kernel.calls == 0


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="encoder_embed_dim 10 is not a multiple of encoder_attention_heads 3"):
        SelfAttention(10, 3, 0.0)
