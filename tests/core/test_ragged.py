"""Rows of utterances laid out one after another."""

from __future__ import annotations

import numpy as np

from memobert_plugin.core.ragged import first_rows, owners_and_positions


def test_rows_know_their_segment_and_their_place_and_empty_segments_have_none() -> None:
    lengths = np.array([0, 2, 0, 3, 1, 0])
    owners, positions = owners_and_positions(lengths)
    assert owners.tolist() == [1, 1, 3, 3, 3, 4]
    assert positions.tolist() == [0, 1, 0, 1, 2, 0]
    assert first_rows(lengths).tolist() == [0, 0, 2, 2, 5, 6]


def test_no_segments_have_no_rows() -> None:
    for lengths in (np.zeros(0, dtype=np.int64), np.zeros(3, dtype=np.int64)):
        owners, positions = owners_and_positions(lengths)
        assert len(owners) == len(positions) == 0
        assert len(first_rows(lengths)) == len(lengths)
