"""Intervals that hold what they promise, and tests that agree with others' and with enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from memobert_plugin.evaluation.metrics.scores import Scores
from memobert_plugin.evaluation.metrics.significance import (
    Folds,
    accuracy,
    bootstrap_interval,
    difference_interval,
    holm,
    mean_score,
    permutation_test,
    unweighted_recall,
)


def one_speaker_folds(rng: np.random.Generator, speakers: int, recall: np.ndarray, seeds: int = 2) -> list[np.ndarray]:
    """Counts of folds with one speaker each, whose true recalls scatter around ``recall``."""
    folds = []
    for shift in rng.normal(0, 0.08, speakers):
        fold = np.zeros((seeds, 1, len(recall), len(recall) + 1), dtype=np.int64)
        for label, right in enumerate(recall):
            wrong = (label + 1) % len(recall)
            hits = rng.binomial(30, np.clip(right + shift, 0, 1), seeds)
            fold[:, 0, label, label], fold[:, 0, label, wrong] = hits, 30 - hits
        folds.append(fold)
    return folds


def test_batched_metrics_equal_those_of_single_confusion_counts() -> None:
    counts = np.random.default_rng(0).integers(0, 5, (3, 4, 4, 5))
    counts[0, 0, 2] = 0
    for place in np.ndindex(3, 4):
        scores = Scores.from_confusion(counts[place])
        assert accuracy(counts)[place] == pytest.approx(scores.wa)
        assert unweighted_recall(counts)[place] == pytest.approx(scores.uar)


@pytest.mark.parametrize("speakers", [6, 10])
def test_a_95_percent_interval_holds_the_truth_in_about_95_percent_of_simulated_experiments(speakers: int) -> None:
    rng, recall, repetitions = np.random.default_rng(1), np.array([0.5, 0.6, 0.7]), 600
    held = 0
    for repetition in range(repetitions):
        folds = one_speaker_folds(rng, speakers, recall)
        low, high = bootstrap_interval(folds, unweighted_recall, draws=1000, seed=repetition)
        held += low <= recall.mean() <= high
    assert 0.92 <= held / repetitions <= 0.98


def test_an_interval_of_a_difference_holds_the_truth_as_often() -> None:
    rng, repetitions = np.random.default_rng(2), 300
    held = 0
    for repetition in range(repetitions):
        first = one_speaker_folds(rng, 10, np.array([0.7, 0.8]))
        second = one_speaker_folds(rng, 10, np.array([0.6, 0.7]))
        low, high = difference_interval(first, second, unweighted_recall, draws=1000, seed=repetition)
        held += low <= 0.1 <= high
    assert 0.91 <= held / repetitions <= 0.985


def test_a_fold_of_several_speakers_resamples_them_inside() -> None:
    rng = np.random.default_rng(3)
    folds = one_speaker_folds(rng, 8, np.array([0.5, 0.7]))
    together = [np.concatenate(folds, axis=1)]
    assert mean_score(together, accuracy) == pytest.approx(mean_score(folds, accuracy))
    assert bootstrap_interval(together, accuracy) == pytest.approx(bootstrap_interval(folds, accuracy))


def test_one_speaker_has_no_interval() -> None:
    folds = one_speaker_folds(np.random.default_rng(4), 1, np.array([0.5, 0.7]))
    assert np.isnan(bootstrap_interval(folds, accuracy)).all()


def swapped_by_hand(first: Folds, second: Folds) -> float:
    """The p-value by trying all signs of the speakers' differences."""
    pairs = zip(first, second, strict=True)
    differences = [unweighted_recall(one[:, 0]).mean() - unweighted_recall(other[:, 0]).mean() for one, other in pairs]
    observed = abs(sum(differences))
    signs = itertools.product((1, -1), repeat=len(differences))
    sums = [abs(sum(s * d for s, d in zip(sign, differences, strict=True))) for sign in signs]
    return float(np.mean([value >= observed - 1e-9 for value in sums]))


def test_the_exact_test_equals_enumeration_and_scipys() -> None:
    rng = np.random.default_rng(5)
    first = one_speaker_folds(rng, 9, np.array([0.66, 0.72]))
    second = one_speaker_folds(rng, 9, np.array([0.6, 0.7]))
    result = permutation_test(first, second, unweighted_recall)
    assert result.p == pytest.approx(swapped_by_hand(first, second))
    assert result.smallest_p == 2 / 2**9
    values = [[unweighted_recall(fold[:, 0]).mean() for fold in side] for side in (first, second)]
    theirs = stats.permutation_test(
        values, lambda x, y: np.mean(x) - np.mean(y), permutation_type="samples", n_resamples=2**9
    )
    assert result.p == pytest.approx(theirs.pvalue)
    assert result.difference == pytest.approx(theirs.statistic)


def test_speakers_of_one_fold_are_swapped_one_by_one() -> None:
    rng = np.random.default_rng(6)
    first = one_speaker_folds(rng, 7, np.array([0.66, 0.72]))
    second = one_speaker_folds(rng, 7, np.array([0.6, 0.7]))
    apart = permutation_test(first, second, accuracy)
    together = permutation_test([np.concatenate(first, axis=1)], [np.concatenate(second, axis=1)], accuracy)
    assert together.p == apart.p


def test_many_speakers_are_tested_by_random_swaps_the_same_way_each_time() -> None:
    rng = np.random.default_rng(7)
    first = one_speaker_folds(rng, 20, np.array([0.66, 0.72]))
    second = one_speaker_folds(rng, 20, np.array([0.64, 0.7]))
    result = permutation_test(first, second, unweighted_recall)
    assert result == permutation_test(first, second, unweighted_recall)
    values = [[unweighted_recall(fold[:, 0]).mean() for fold in side] for side in (first, second)]
    assert result.p == pytest.approx(stats.ttest_rel(*values).pvalue, abs=0.05)


def test_equal_sides_differ_by_nothing() -> None:
    folds = one_speaker_folds(np.random.default_rng(8), 6, np.array([0.5, 0.7]))
    result = permutation_test(folds, folds, accuracy)
    assert (result.difference, result.p) == (0, 1)


def test_the_test_errs_as_often_as_it_says() -> None:
    rng = np.random.default_rng(9)
    recall = np.array([0.6, 0.7])
    pairs = [(one_speaker_folds(rng, 8, recall), one_speaker_folds(rng, 8, recall)) for _ in range(400)]
    wrong = np.mean([permutation_test(*pair, unweighted_recall).p <= 0.05 for pair in pairs])
    assert wrong <= 0.08


def test_unpaired_sides_are_refused() -> None:
    rng = np.random.default_rng(10)
    folds = one_speaker_folds(rng, 6, np.array([0.5, 0.7]))
    with pytest.raises(ValueError, match="same folds, seeds and speakers"):
        permutation_test(folds, folds[:-1], accuracy)
    with pytest.raises(ValueError, match="same utterances"):
        difference_interval(folds, [fold * 2 for fold in folds], accuracy)


def test_holm_corrects_step_by_step() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
