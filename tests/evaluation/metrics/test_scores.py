"""Metrics from confusion counts equal scikit-learn's on the predictions themselves."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from memobert_plugin.evaluation.metrics.scores import Scores, confusion

Labels = np.ndarray


def everything(random: np.random.Generator) -> tuple[Labels, Labels]:
    return random.integers(0, 4, 200), random.integers(0, 4, 200)


def missing_in_truth(random: np.random.Generator) -> tuple[Labels, Labels]:
    return random.choice([0, 3], 60), random.integers(0, 4, 60)


def missing_in_prediction(random: np.random.Generator) -> tuple[Labels, Labels]:
    return random.integers(0, 4, 60), random.choice([1, 2], 60)


def missing_in_both(random: np.random.Generator) -> tuple[Labels, Labels]:
    return random.choice([0, 1], 60), random.choice([1, 3], 60)


def mostly_right(random: np.random.Generator) -> tuple[Labels, Labels]:
    targets = random.choice(4, 300, p=[0.7, 0.2, 0.08, 0.02])
    return targets, np.where(random.random(300) < 0.8, targets, random.integers(0, 4, 300))


def one_utterance(random: np.random.Generator) -> tuple[Labels, Labels]:
    return random.integers(0, 4, 1), random.integers(0, 4, 1)


CASES = [everything, missing_in_truth, missing_in_prediction, missing_in_both, mostly_right, one_utterance]


def scikit_learn(targets: Labels, predictions: Labels, labels: list[int]) -> dict[str, float]:
    """``labels``: those over which F1 is averaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # balanced_accuracy_score tells that it leaves out labels without support.
        uar = balanced_accuracy_score(targets, predictions)
    return {
        "wa": accuracy_score(targets, predictions),
        "uar": uar,
        "wf1": f1_score(targets, predictions, average="weighted", zero_division=0),
        "macro_f1": f1_score(targets, predictions, labels=labels, average="macro", zero_division=0),
    }


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("outside", [False, True])
def test_scores_equal_scikit_learns(
    case: Callable[[np.random.Generator], tuple[Labels, Labels]], seed: int, outside: bool
) -> None:
    targets, predictions = case(np.random.default_rng(seed))
    counts = confusion(targets, predictions, classes=4, outside=outside)
    assert (counts[:, :4] == confusion_matrix(targets, predictions, labels=range(4))).all()
    expected = scikit_learn(targets, predictions, sorted({*targets.tolist(), *predictions.tolist()}))
    assert Scores.from_confusion(counts).as_dict() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_predictions_outside_the_labels_are_misses_and_no_class_of_their_own(seed: int) -> None:
    random = np.random.default_rng(seed)
    targets = random.choice([0, 1, 3], 80)
    predictions = np.where(random.random(80) < 0.6, targets, random.choice([-1, 0, 2, 4, 30_000], 80))
    counts = confusion(targets, predictions, classes=4, outside=True)
    assert counts.shape == (4, 5)
    assert counts[:, 4].sum() == np.sum(~np.isin(predictions, range(4)))
    as_extra_label = np.where(np.isin(predictions, range(4)), predictions, 4)
    labels = sorted(({*targets.tolist()} | {*as_extra_label.tolist()}) - {4})
    expected = scikit_learn(targets, as_extra_label, labels)
    assert Scores.from_confusion(counts).as_dict() == pytest.approx(expected, abs=1e-12)


def test_nothing_but_predictions_outside_the_labels_scores_zero() -> None:
    counts = confusion(np.array([0, 1, 1]), np.array([-1, 7, 2]), classes=2, outside=True)
    assert Scores.from_confusion(counts).as_dict() == {"wa": 0, "uar": 0, "wf1": 0, "macro_f1": 0}


def test_adding_scores_gives_those_of_all_utterances_together() -> None:
    targets, predictions = mostly_right(np.random.default_rng(0))
    parts = [
        Scores.from_confusion(confusion(targets[part], predictions[part], 4)) for part in np.split(np.arange(300), 3)
    ]
    whole = Scores.from_confusion(confusion(targets, predictions, 4))
    merged = parts[0] + parts[1] + parts[2]
    assert merged.as_dict() == whole.as_dict()
    assert (merged.counts == whole.counts).all()


@pytest.mark.parametrize("shape", [(4, 4), (4, 5), (0, 0)])
@pytest.mark.filterwarnings("error")
def test_no_utterances_give_nan_without_warnings(shape: tuple[int, int]) -> None:
    scores = Scores.from_confusion(np.zeros(shape, dtype=np.int64))
    assert all(math.isnan(score) for score in scores.as_dict().values())


@pytest.mark.filterwarnings("error")
def test_no_utterances_count_as_none() -> None:
    counts = confusion(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), classes=3)
    assert (counts == np.zeros((3, 3))).all()


def test_wrong_labels_and_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a target is not in range\(2\)"):
        confusion(np.array([2]), np.array([0]), classes=2)
    with pytest.raises(ValueError, match=r"a prediction is not in range\(2\)"):
        confusion(np.array([0]), np.array([-1]), classes=2)
    with pytest.raises(ValueError, match="targets but"):
        confusion(np.array([0]), np.array([0, 1]), classes=2)
    with pytest.raises(ValueError, match="confusion counts are"):
        Scores.from_confusion(np.zeros((4, 3), dtype=np.int64))
    with pytest.raises(ValueError, match="cannot be added"):
        Scores.from_confusion(np.zeros((2, 2), dtype=np.int64)) + Scores.from_confusion(
            np.zeros((2, 3), dtype=np.int64)
        )
