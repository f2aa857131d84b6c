"""Arithmetic of stretches of time."""

from __future__ import annotations

import numpy as np

from memobert_plugin.features.speakers.voice import joined_intervals, voiced_share, within_intervals


def test_arithmetic_of_intervals() -> None:
    assert joined_intervals([(0.0, 1.0), (0.5, 0.7), (1.1, 2.0), (3.0, 4.0)], 0.2) == [(0.0, 2.0), (3.0, 4.0)]
    assert within_intervals(np.array([0.0, 0.5, 1.0]), [(0.5, 1.0)]).tolist() == [False, True, False]
    shares = voiced_share(np.array([0.0, 0.5, 1.0, 2.0]), 1.0, [(0.25, 0.75), (1.0, 2.0)])
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.75, 0.5])
