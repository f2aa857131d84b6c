"""Repeat factor sampling: how often, and the same again for the same seed and epoch."""

from __future__ import annotations

import numpy as np

from memobert_plugin.tasks.picture_dataset import draw_repeats, repeat_factors

MAJORITIES = np.repeat([0, 1, 2, -1], [84, 12, 4, 20])


def test_an_expression_below_the_share_is_repeated_by_the_root_of_the_ratio() -> None:
    # Shares among the 100 pictures with a majority: 0.84, 0.12 and 0.04.
    expected = np.repeat([1, np.sqrt(0.16 / 0.12), 2, 1], [84, 12, 4, 20])
    np.testing.assert_allclose(repeat_factors(MAJORITIES, 0.16), expected)
    np.testing.assert_array_equal(repeat_factors(MAJORITIES, 0), np.ones(120))


def test_pictures_without_any_majority_come_once() -> None:
    np.testing.assert_array_equal(repeat_factors(np.full(5, -1), 0.1), np.ones(5))


def test_repeats_have_the_factors_as_means_and_depend_on_seed_and_epoch_only() -> None:
    factors = np.array([1.0, 1.25, 2.0, 3.75])
    drawn = np.array([draw_repeats(factors, 1, epoch) for epoch in range(2000)])
    np.testing.assert_allclose(drawn.mean(axis=0), factors, atol=0.05)
    assert (np.abs(drawn - factors) < 1).all()
    np.testing.assert_array_equal(draw_repeats(factors, 1, 7), drawn[7])
    assert any((draw_repeats(factors, 2, epoch) != drawn[epoch]).any() for epoch in range(10))
