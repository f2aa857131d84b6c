"""Compute WA, UAR, weighted and macro F1 from summed confusion counts: batches, ranks and files add up exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


def confusion(
    targets: npt.NDArray[np.integer], predictions: npt.NDArray[np.integer], classes: int, outside: bool = False
) -> Counts:
    """Count utterances by label and prediction.

    Args:
        targets: (n,) labels in range(``classes``).
        predictions: (n,) predicted labels.
        classes: the number of labels, C.
        outside: count predictions outside the labels (any other integer) in a further column, the last;
            without it they are refused.

    Returns:
        (C, C), or (C, C + 1) with ``outside``: rows are labels, columns predictions.

    Raises:
        ValueError: different shapes, a target outside the labels, or a prediction outside and not allowed to be.
    """
    targets, predictions = np.asarray(targets, dtype=np.int64), np.asarray(predictions, dtype=np.int64)
    if targets.shape != predictions.shape:
        raise ValueError(f"{targets.shape} targets but {predictions.shape} predictions")
    if np.any((targets < 0) | (targets >= classes)):
        raise ValueError(f"a target is not in range({classes})")
    is_outside = (predictions < 0) | (predictions >= classes)
    if not outside and is_outside.any():
        raise ValueError(f"a prediction is not in range({classes})")
    columns = classes + outside
    cells = targets * columns + np.where(is_outside, classes, predictions)
    return np.bincount(cells, minlength=classes * columns).reshape(classes, columns)


@dataclass(frozen=True, eq=False)
class Scores:
    """The four metrics of some confusion counts; ``a + b`` are the scores of all utterances of both.

    A metric of no utterance is nan. A prediction outside the labels is a miss of its label: it lowers that label's
    recall and F1, but is no class of its own in any average.

    Attributes:
        counts: (C, C) or (C, C + 1), from :func:`confusion`.
        wa: weighted accuracy, the share of correct predictions.
        uar: unweighted average recall, over the labels that occur.
        wf1: F1 of the labels, weighted by how often each occurs.
        macro_f1: mean F1 of the labels that occur or are predicted.
    """

    counts: Counts
    wa: float
    uar: float
    wf1: float
    macro_f1: float

    @classmethod
    def from_confusion(cls, counts: Counts) -> Scores:
        """Compute scores from (C, C) counts, or from (C, C + 1) whose last column counts predictions outside the
        labels.

        Raises:
            ValueError: counts of another shape.
        """
        counts = counts.astype(np.int64)
        if counts.ndim != 2 or counts.shape[1] - counts.shape[0] not in (0, 1):
            raise ValueError(f"confusion counts are (C, C) or (C, C + 1), not {counts.shape}")
        correct = np.diagonal(counts)
        support = counts.sum(axis=1)
        predicted = counts[:, : len(counts)].sum(axis=0)
        occurs = support > 0
        seen = occurs | (predicted > 0)
        f1 = 2 * correct / np.maximum(support + predicted, 1)
        return cls(
            counts=counts,
            wa=_ratio(correct.sum(), support.sum()),
            uar=_ratio((correct[occurs] / support[occurs]).sum(), occurs.sum()),
            wf1=_ratio((f1 * support).sum(), support.sum()),
            macro_f1=_ratio(f1[seen].sum(), seen.sum()),
        )

    def __add__(self, other: Scores) -> Scores:
        if not isinstance(other, Scores):
            return NotImplemented
        if self.counts.shape != other.counts.shape:
            raise ValueError(f"confusion counts {self.counts.shape} and {other.counts.shape} cannot be added")
        return Scores.from_confusion(self.counts + other.counts)

    def as_dict(self) -> dict[str, float]:
        """Return the metrics by the names under which they are logged."""
        return {"wa": self.wa, "uar": self.uar, "wf1": self.wf1, "macro_f1": self.macro_f1}


def _ratio(total: np.number, count: np.number) -> float:
    return float(total) / float(count) if count else float("nan")
