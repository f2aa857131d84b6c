"""Score several labels at once as scikit-learn does: macro and micro F1 from summed counts, mean average precision.

The counts of C labels are ``(..., C, 3)``: utterances that have a label and got it, that got it without having it, and
that have it without getting it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.number]


def counts(truth: npt.NDArray[np.bool_], given: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Count labels that utterances have and got, both ``(n, C)``: ``(C, 3)``."""
    return np.stack([(truth & given).sum(0), (~truth & given).sum(0), (truth & ~given).sum(0)], axis=-1)


def macro_f1(of: Counts) -> npt.NDArray[np.float64]:
    """Return the mean F1 of the labels; that of a label which nobody has or gets is 0."""
    return _f1(of).mean(axis=-1)


def micro_f1(of: Counts) -> npt.NDArray[np.float64]:
    """Return the F1 of all labels together."""
    return _f1(of.sum(axis=-2))


def mean_average_precision(truth: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]) -> float:
    """Return the mean over labels of average precision: sum over thresholds of (recall gained) x precision.

    That of a label which no utterance has is 0, as in scikit-learn.

    Args:
        truth: (n, C) labels that utterances have.
        scores: (n, C) probabilities.
    """
    return float(np.mean([_average_precision(truth[:, c], scores[:, c]) for c in range(truth.shape[1])]))


def _average_precision(truth: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]) -> float:
    if not truth.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    # Utterances of equal scores are got together.
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    right = np.cumsum(truth[order])[last]
    gained = np.diff(right, prepend=0) / truth.sum()
    return float((gained * right / (last + 1)).sum())


def _f1(of: Counts) -> npt.NDArray[np.float64]:
    right, wrong, missed = of[..., 0], of[..., 1], of[..., 2]
    total = 2 * right + wrong + missed
    return np.asarray(2 * right / np.where(total > 0, total, 1), dtype=np.float64)
