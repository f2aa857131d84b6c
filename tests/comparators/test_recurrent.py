"""The recurrent encoder equals torch's GRU run on each utterance alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memobert_plugin.comparators.early_fusion import RecurrentEncoder
from memobert_plugin.comparators.inputs import Sequences, time_major_order


def test_rows_are_ordered_by_time_and_longest_first() -> None:
    order, alive = time_major_order(np.array([2, 3, 1]))
    assert order.tolist() == [2, 0, 5, 3, 1, 4]
    assert alive.tolist() == [3, 2, 1]


@pytest.mark.parametrize("lengths", [[4], [1, 1], [3, 7, 1, 7, 2]])
@pytest.mark.parametrize("layers", [1, 2])
def test_utterances_are_encoded_as_alone(lengths: list[int], layers: int) -> None:
    torch.manual_seed(0)
    encoder = RecurrentEncoder(6, layers, dropout=0.0).double()
    rows = torch.randn(sum(lengths), 6, dtype=torch.float64)
    expected = torch.stack([encoder.gru(one)[0].mean(dim=0) for one in rows.split(lengths)])
    torch.testing.assert_close(encoder(Sequences(rows, np.array(lengths))), expected)
