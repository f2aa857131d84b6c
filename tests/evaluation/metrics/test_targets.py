"""Scores of numbers and of several labels: equal to scipy and scikit-learn, and added up from parts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import average_precision_score, f1_score

from memobert_plugin.evaluation.metrics.dimensions import ccc, pearson, rmse, sums
from memobert_plugin.evaluation.metrics.several import counts, macro_f1, mean_average_precision, micro_f1

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, size=st.integers(3, 40), shift=st.sampled_from([0.0, 3.0, 1000.0]))
def test_scores_of_numbers_are_those_of_all_parts_together(seed: int, size: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(shift, 1, (size, 2))
    y = 0.6 * x + rng.normal(0.4 * shift, 0.7, (size, 2))
    cut = int(rng.integers(1, size))
    whole = sums(x[:cut], y[:cut]) + sums(x[cut:], y[cut:])
    for place in range(2):
        one, other = x[:, place], y[:, place]
        covariance = np.mean((one - one.mean()) * (other - other.mean()))
        expected = 2 * covariance / (one.var() + other.var() + (one.mean() - other.mean()) ** 2)
        assert ccc(whole)[place] == pytest.approx(expected, abs=1e-6)
        assert pearson(whole)[place] == pytest.approx(pearsonr(one, other).statistic, abs=1e-6)
        assert rmse(whole)[place] == pytest.approx(np.sqrt(np.mean((one - other) ** 2)), abs=1e-6)


def test_constant_answers_have_no_concordance_and_no_correlation() -> None:
    x, y = np.array([[1.1], [2.3], [3.7]]), np.full((3, 1), 2.2)
    assert ccc(sums(x, y)) == [0.0] and np.isnan(pearson(sums(x, y))).all()
    assert np.isnan(ccc(sums(y, y))).all() and rmse(sums(y, y)) == pytest.approx([0.0], abs=1e-7)


@settings(max_examples=80, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 30), rate=st.sampled_from([0.02, 0.4, 0.98]), digits=st.sampled_from([1, 12]))
def test_scores_of_labels_are_scikit_learns(seed: int, size: int, rate: float, digits: int) -> None:
    """Rounded scores are equal for many utterances."""
    rng = np.random.default_rng(seed)
    truth, shares = rng.random((size, 4)) < rate, rng.random((size, 4)).round(digits)
    half = size // 2
    found = counts(truth[:half], shares[:half] >= 0.5) + counts(truth[half:], shares[half:] >= 0.5)
    for score, average in ((macro_f1, "macro"), (micro_f1, "micro")):
        expected = f1_score(truth, shares >= 0.5, average=average, zero_division=0)
        assert score(found) == pytest.approx(expected, abs=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, about labels that nobody has
        expected = average_precision_score(truth, shares, average="macro")
    assert mean_average_precision(truth, shares) == pytest.approx(expected, abs=1e-9)
