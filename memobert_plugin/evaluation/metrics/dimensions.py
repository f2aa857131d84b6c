"""Score numbers such as valence by CCC, Pearson's r and RMSE, from sums: batches, ranks, files and speakers add up.

The sums of D dimensions are ``(..., D, 6)`` float64: the number of utterances, and the sums of truth x, answer y, x²,
y² and xy. CCC is the concordance correlation coefficient of Lin, "A concordance correlation coefficient to evaluate
reproducibility", Biometrics 1989, with variances over n as there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Sums = npt.NDArray[np.number]


def sums(truth: npt.NDArray[np.floating], answers: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the sums of truth and answers ``(n, D)``: ``(D, 6)``."""
    x, y = truth.astype(np.float64), answers.astype(np.float64)
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1).sum(axis=0)


def ccc(of: Sums) -> npt.NDArray[np.float64]:
    """Return the concordance of ``(..., 6)`` sums, ``(...)``; nan where truth and answers are one number."""
    mean_x, mean_y, variance_x, variance_y, covariance = _central(of)
    with np.errstate(invalid="ignore", divide="ignore"):
        return 2 * covariance / (variance_x + variance_y + (mean_x - mean_y) ** 2)


def pearson(of: Sums) -> npt.NDArray[np.float64]:
    """Return Pearson's correlation of ``(..., 6)`` sums, ``(...)``; nan where truth or answers do not vary."""
    _, _, variance_x, variance_y, covariance = _central(of)
    with np.errstate(invalid="ignore", divide="ignore"):
        return covariance / np.sqrt(variance_x * variance_y)


def rmse(of: Sums) -> npt.NDArray[np.float64]:
    """Return the root of the mean squared error of ``(..., 6)`` sums, ``(...)``."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(np.maximum(of[..., 3] + of[..., 4] - 2 * of[..., 5], 0) / of[..., 0])


def _central(of: Sums) -> tuple[npt.NDArray[Any], ...]:
    """Return means, variances and covariance; a variance that rounding leaves of equal numbers is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y, square_x, square_y, product = (of[..., place] / of[..., 0] for place in range(1, 6))
    variances = [square_x - mean_x**2, square_y - mean_y**2]
    varies = [one > 1e-12 * square for one, square in zip(variances, (square_x, square_y), strict=True)]
    variance_x, variance_y = (np.where(does, one, 0.0) for does, one in zip(varies, variances, strict=True))
    covariance = np.where(varies[0] & varies[1], product - mean_x * mean_y, 0.0)
    return mean_x, mean_y, variance_x, variance_y, covariance


METRICS = {"ccc": ccc, "pearson": pearson, "rmse": rmse}
"""The scores by the names under which they are logged; their means over the dimensions have the same names."""
