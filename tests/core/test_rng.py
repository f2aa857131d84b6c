"""Counter-based randomness: the published generator, its distribution, and what a draw depends on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from memobert_plugin.core.rng import Stream, integers, uniform

UIDS = np.random.default_rng(0).integers(0, 2**64, 20_000, dtype=np.uint64)


def splitmix64_output(state: int, step: int) -> int:
    """The ``step``-th output (from 0) of SplitMix64 seeded with ``state``, as published, in plain integers."""
    bits = 2**64 - 1
    value = (state + (step + 1) * 0x9E3779B97F4A7C15) & bits
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & bits
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & bits
    return value ^ (value >> 31)


def test_splitmix64_here_is_the_published_one() -> None:
    assert [splitmix64_output(1234567, step) for step in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@pytest.mark.parametrize("words", [(0, 0, 1, 0, 0), (1, 2, 3, 2**64 - 1, 2**40), (-1, -7, 2, 5, 511)])
def test_a_draw_is_a_chain_of_splitmix64_outputs(words: tuple[int, int, int, int, int]) -> None:
    state = 0
    for word in words:
        state = splitmix64_output(state, word % 2**64)
    seed, update, stream, uid, counter = words
    assert float(uniform(seed, update, stream, np.uint64(uid), counter)) == (state >> 11) / 2**53


def test_draws_broadcast_and_equal_those_made_one_by_one() -> None:
    counters = np.arange(4)
    together = uniform(3, 5, Stream.VISUAL_MASK, UIDS[:3, None], counters)
    assert together.shape == (3, 4)
    for row, column in itertools.product(range(3), range(4)):
        alone = uniform(3, 5, Stream.VISUAL_MASK, UIDS[row], counters[column])
        assert alone.shape == ()
        assert float(alone) == together[row, column]
    assert uniform(3, 5, Stream.VISUAL_MASK, UIDS[:0], 0).shape == (0,)


def test_every_one_of_the_five_numbers_changes_the_draw() -> None:
    base = {"seed": 1, "update": 1, "stream": 1, "uid": 1, "counter": 1}
    draws = {float(uniform(**base))} | {float(uniform(**{**base, name: 2})) for name in base}
    assert len(draws) == 6


@pytest.mark.parametrize("varied", ["seed", "update", "uid", "counter"])
def test_consecutive_numbers_give_uniform_and_independent_draws(varied: str) -> None:
    base: dict[str, int] = {"seed": 1, "update": 7, "stream": Stream.TEXT_MASK, "uid": 99, "counter": 0}
    draws = np.array([float(uniform(**{**base, varied: number})) for number in range(2_000)])
    assert stats.kstest(draws, "uniform").pvalue > 1e-4
    for lag in (1, 2, 3):
        assert abs(np.corrcoef(draws[lag:], draws[:-lag])[0, 1]) < 5 / np.sqrt(len(draws))


def test_streams_and_counters_of_the_same_utterances_are_uncorrelated() -> None:
    draws = [
        uniform(1, 1, stream, UIDS, counter) for stream, counter in itertools.product(Stream, (0, 1, 1 << 32, 2 << 32))
    ]
    correlations = np.corrcoef(draws)[np.triu_indices(len(draws), k=1)]
    assert np.abs(correlations).max() < 5.5 / np.sqrt(len(UIDS))


@pytest.mark.parametrize("high", [2, 7, 1000])
def test_integers_are_equally_likely_in_their_range(high: int) -> None:
    draws = integers(1, 2, Stream.TEXT_MASK, UIDS, 0, high)
    assert draws.dtype == np.int64
    counts = np.bincount(draws, minlength=high)
    assert len(counts) == high
    assert stats.chisquare(counts).pvalue > 1e-4


def test_the_limit_of_integers_may_differ_by_utterance() -> None:
    high = np.arange(len(UIDS)) % 5 + 1
    draws = integers(1, 2, Stream.TEXT_MASK, UIDS, 0, high)
    assert (draws < high).all()
    assert stats.chisquare(np.bincount(draws[high == 5])).pvalue > 1e-4


def test_the_numbers_of_the_streams_are_those_of_earlier_versions() -> None:
    assert {stream.name: int(stream) for stream in Stream} == {
        "OBJECTIVE": 1,
        "TEXT_MASK": 2,
        "VISUAL_MASK": 3,
        "ACOUSTIC_MASK": 4,
        "MODALITY_MIXTURE": 5,
        "TRAIN_FRACTION": 6,
        "VALID_SHARE": 7,
        "PICTURE_AUGMENTATION": 8,
        "PICTURE_REPEATS": 9,
        "FRAME_DROPOUT": 10,
        "STREAM_MIXING": 11,
        "UNLABELLED": 12,
    }
