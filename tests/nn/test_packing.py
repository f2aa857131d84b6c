"""The bookkeeping of a packed batch, against one that is written out utterance by utterance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memobert_plugin.nn.packing import PackedLayout, to_device

Lengths = list[tuple[int, int, int]]

LENGTHS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6)


def layout_of(lengths: Lengths) -> PackedLayout:
    return PackedLayout.from_lengths(*np.array(lengths, dtype=np.int64).T)


def written_out(lengths: Lengths) -> list[tuple[int, int, int]]:
    """(utterance, modality, position) of every packed row."""
    return [
        (utterance, modality, position)
        for utterance, of_modality in enumerate(lengths)
        for modality, length in enumerate(of_modality)
        for position in range(length)
    ]


@given(LENGTHS)
def test_utterances_follow_each_other_as_text_visual_acoustic(lengths: Lengths) -> None:
    layout = layout_of(lengths)
    flat = [
        (utterance, modality, position)
        for modality in range(3)
        for utterance, of_modality in enumerate(lengths)
        for position in range(of_modality[modality])
    ]
    assert [flat[row] for row in layout.order] == written_out(lengths)


@given(LENGTHS)
def test_rows_of_a_modality_are_found_in_the_packed_sequence(lengths: Lengths) -> None:
    layout, packed = layout_of(lengths), written_out(lengths)
    for modality in range(3):
        expected = [row for row, (_, of_row, _) in enumerate(packed) if of_row == modality]
        assert layout.packed_rows(modality).tolist() == expected


@given(LENGTHS)
def test_an_utterance_begins_where_the_ones_before_it_end(lengths: Lengths) -> None:
    layout = layout_of(lengths)
    assert layout.lengths.tolist() == [sum(of_utterance) for of_utterance in lengths]
    assert layout.starts.tolist() == [sum(map(sum, lengths[:index])) for index in range(len(lengths))]


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16])
def test_host_indices_become_int64_tensors(dtype: type) -> None:
    tensor = to_device(np.arange(6, dtype=dtype)[::2], torch.device("cpu"))
    assert tensor.dtype == torch.int64 and tensor.tolist() == [0, 2, 4]
