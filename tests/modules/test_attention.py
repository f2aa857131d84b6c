"""Packed attention: the loop a CPU runs, the padded rectangle an accelerator runs, and both against plain softmax."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from memobert_plugin.modules.attention import AttentionPlan, Rectangle, SelfAttention, attend
from memobert_plugin.modules.cross_modality_transformer import CrossModalityTransformer
from memobert_plugin.modules.packing import PackedLayout, to_device

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
    return both if rows is None else [plan.asking(layout, rows, CPU) for plan in both]


def every_second_row(layout: PackedLayout) -> np.ndarray:
    return np.arange(0, int(layout.lengths.sum()), 2)


def one_utterance_asks(layout: PackedLayout) -> np.ndarray:
    return layout.starts[-1:] + layout.lengths[-1:] - 1


def random_rows(layout: PackedLayout, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(int(layout.lengths.sum()), WIDTH, generator=generator, dtype=torch.float64)


def module() -> SelfAttention:
    torch.manual_seed(1)
    return SelfAttention(WIDTH, HEADS, dropout=0.0).double()


ROWS = [None, every_second_row, one_utterance_asks]


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


def test_an_asking_rows_answer_is_the_one_it_gets_when_all_ask() -> None:
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


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="encoder_embed_dim 10 is not a multiple of encoder_attention_heads 3"):
        SelfAttention(10, 3, 0.0)
