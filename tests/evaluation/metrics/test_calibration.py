"""Temperature, expected calibration error, isotonic regression and the threshold, against values made by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from memobert_plugin.evaluation.metrics.calibration import (
    Calibration,
    at_temperature,
    calibrate,
    calibrate_several,
    expected_calibration_error,
    fit_temperature,
    isotonic,
    sure_from,
)

TWO = np.array([[0.9, 0.1]] * 4)


def test_three_of_four_right_at_nine_tenths_want_the_temperature_of_three_quarters() -> None:
    """0.9 becomes 0.75 where log 9 / T = log 3."""
    assert fit_temperature(TWO, np.array([0, 0, 0, 1])) == pytest.approx(math.log(9) / math.log(3), abs=1e-5)


def test_a_model_that_is_right_more_often_than_sure_gets_a_temperature_below_one() -> None:
    shares = np.array([[0.6, 0.4]] * 10)
    expected = math.log(1.5) / math.log(9)
    assert fit_temperature(shares, np.array([0] * 9 + [1])) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("targets", "expected"), [([0, 0, 0, 0], 0.05), ([1, 1, 1, 1], 20.0)])
def test_the_temperature_stays_in_its_range(targets: list[int], expected: float) -> None:
    assert fit_temperature(TWO, np.array(targets)) == pytest.approx(expected, rel=0.1)


def test_the_fit_is_the_least_of_a_grid() -> None:
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.full(4, 0.3), 300)
    targets = np.array([random.choice(4, p=row) for row in at_temperature(shares, 2.5)])

    def loss(temperature: float) -> float:
        return -float(np.log(at_temperature(shares, temperature)[np.arange(300), targets]).mean())

    fitted = fit_temperature(shares, targets)
    assert fitted == pytest.approx(2.5, abs=0.5)
    assert loss(fitted) <= min(loss(temperature) for temperature in np.geomspace(0.1, 10, 400)) + 1e-9


def test_several_labels_share_the_temperature_of_their_logits() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (2000, 3))
    has = (random.random((2000, 3)) < 1 / (1 + np.exp(-logits))).astype(int)
    sure = 1 / (1 + np.exp(-2.5 * logits))
    found = calibrate_several({"lva": (sure[:1000], has[:1000]), "l": (sure[1000:], has[1000:])})
    assert found.temperature == pytest.approx(2.5, abs=0.15) and found.utterances == 2000
    assert found.temperatures == pytest.approx({"lva": 2.5, "l": 2.5}, abs=0.25)
    assert found.error_after < 0.02 < 0.08 < found.error_before


def test_a_probability_of_zero_is_no_infinite_loss() -> None:
    shares = np.array([[1.0, 0.0]] * 3)
    assert fit_temperature(shares, np.array([0, 0, 1])) == 20.0
    assert np.isfinite(at_temperature(shares, 20.0)).all()


def test_temperature_one_changes_nothing_and_high_ones_level() -> None:
    assert at_temperature(TWO, 1.0) == pytest.approx(TWO)
    assert at_temperature(TWO, 2.0)[0] == pytest.approx([0.75, 0.25])


def test_the_expected_calibration_error_of_two_bins_by_hand() -> None:
    """Bins (0, 1/2] and (1/2, 1]: |1 - 0.9| over two predictions below, |1 - 1.6| over two above."""
    confidence = np.array([0.4, 0.5, 0.8, 0.8])
    right = np.array([True, False, True, False])
    assert expected_calibration_error(confidence, right, bins=2) == pytest.approx((0.1 + 0.6) / 4)


def test_bins_are_closed_above() -> None:
    """0.2 = 3/15 is in the third bin, 1.0 in the last, 0.0 in the first."""
    right = np.array([True, True, False])
    assert expected_calibration_error(np.array([0.2, 1.0, 0.0]), right) == pytest.approx(0.8 / 3)
    together = expected_calibration_error(np.array([0.15, 0.2]), np.array([True, False]))
    assert together == pytest.approx(abs(1 - 0.35) / 2)


def test_isotonic_regression_equals_scikit_learns() -> None:
    random = np.random.default_rng(1)
    for size in (1, 2, 7, 60):
        values, weights = random.uniform(size=size), random.integers(1, 5, size)
        expected = IsotonicRegression().fit_transform(np.arange(size), values, sample_weight=weights)
        assert isotonic(values, weights) == pytest.approx(expected)


def test_the_threshold_is_where_six_of_ten_are_right() -> None:
    confidence = np.repeat([0.3, 0.5, 0.7, 0.9], 20)
    right = np.concatenate([np.arange(20) < count for count in (4, 10, 13, 19)])
    assert sure_from(confidence, right) == 0.7


def test_the_threshold_where_all_are_right_often_enough_is_at_most_the_share_wanted() -> None:
    assert sure_from(np.full(20, 0.8), np.ones(20, bool)) == 0.6
    assert sure_from(np.full(20, 0.4), np.ones(20, bool)) == 0.4


@pytest.mark.parametrize("right", [np.zeros(20, bool), np.arange(20) >= 15])
def test_no_answer_is_sure_where_too_few_are_right(right: np.ndarray) -> None:
    """Five right predictions at the highest confidences are too few to rely on."""
    assert sure_from(np.linspace(0.5, 0.9, 20), right) == 1.0


def test_a_calibration_lowers_the_error_of_a_model_that_is_too_sure() -> None:
    shares = np.array([[0.95, 0.05], [0.05, 0.95]] * 50)
    targets = np.where(np.arange(100) % 10 < 7, [0, 1] * 50, [1, 0] * 50)
    found = calibrate({"": (shares, targets)})
    assert (found.error_before, found.utterances) == (pytest.approx(0.25), 100)
    assert found.error_after == pytest.approx(0.0, abs=1e-4) and found.temperature > 2
    assert found.threshold == 0.6


GOOD = Calibration(1.5, 0.2, 0.03, 100, 0.55)


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"temperature": 1}, True),
        ({"temperature": 0.0}, False),
        ({"temperature": math.nan}, False),
        ({"temperature": "1"}, False),
        ({"threshold": 1.1}, False),
        ({"utterances": 2.5}, False),
        ({"utterances": True}, False),
        ({"more": 1}, False),
    ],
)
def test_values_of_a_file_are_checked(change: dict[str, object], fits: bool) -> None:
    assert Calibration.fits({**GOOD.to_dict(), **change}) == fits
    assert not Calibration.fits([GOOD.to_dict()]) and replace(GOOD) == GOOD


def test_each_modality_case_may_have_its_own_temperature() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4000, 3)) * 2
    targets = np.array([rng.choice(3, p=row) for row in at_temperature(np.exp(logits), 1.0)])
    parts = {"lva": (at_temperature(np.exp(logits), 2.0), targets), "l": (at_temperature(np.exp(logits), 0.5), targets)}
    found = calibrate(parts)
    assert found.of_case("lva") == pytest.approx(0.5, rel=0.1)
    assert found.of_case("l") == pytest.approx(2.0, rel=0.1)
    assert found.of_case("v") == found.temperature
    assert found.error_after < 0.02 < found.error_before and found.utterances == 8000
    assert Calibration.fits(found.to_dict()) and Calibration(**found.to_dict()) == found
    assert not Calibration.fits({**found.to_dict(), "temperatures": {"lx": 1.0}})
    assert "temperatures" not in calibrate({"": parts["l"]}).to_dict()
