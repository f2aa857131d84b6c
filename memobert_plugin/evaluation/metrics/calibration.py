"""Fit a temperature or weights of templates to predictions; measure how well confidence tells what is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...core.names import MODALITY_CASES

Floats = npt.NDArray[np.floating]
Targets = npt.NDArray[np.integer]

SURE: Final = 0.6
"""An answer is unsure where the right answer would be less likely than this."""
BINS: Final = 15
"""Of equal width, for the expected calibration error."""
TEMPERATURES: Final = (0.05, 20.0)
"""The range in which a temperature is sought: predictions that are all right would want it to be zero."""
FEWEST: Final = 50
"""Predictions that a calibration needs at least."""
_FEWEST_SURE: Final = 10
_SMALLEST: Final = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Calibration:
    """A temperature, and what it changes on the predictions that it was fitted to.

    Attributes:
        temperature: divides the logarithms of the probabilities; above 1 it makes a model less sure of itself.
        error_before: expected calibration error as the model was trained.
        error_after: expected calibration error at the temperature.
        utterances: number of predictions.
        threshold: confidence from which the right answer is at least 60 % likely; 1 if none is.
        temperatures: by modality case, where each was calibrated by itself; empty for one temperature.
    """

    temperature: float
    error_before: float
    error_after: float
    utterances: int
    threshold: float
    temperatures: Mapping[str, float] = field(default_factory=dict)

    def of_case(self, case: str) -> float:
        """Return the temperature for answers from these modalities."""
        return self.temperatures.get(case, self.temperature)

    def describe(self) -> str:
        """Return the temperature, or those of the modality cases, in words."""
        if not self.temperatures:
            return f"temperature {self.temperature:.4g}"
        listed = ", ".join(f"{case} {found:.4g}" for case, found in self.temperatures.items())
        return f"temperatures {listed}, {self.temperature:.4g} for other modality cases"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file; earlier versions read it where there is one temperature."""
        return {name: value for name, value in asdict(self).items() if value != {}}

    @staticmethod
    def fits(value: object) -> bool:
        """Tell whether a file's values describe a calibration."""
        if not isinstance(value, Mapping) or set(value) - {"temperatures"} != set(_RANGES):
            return False
        cases = value.get("temperatures", {})
        least, most = TEMPERATURES
        if not isinstance(cases, Mapping) or not all(
            case in MODALITY_CASES and isinstance(found, float) and least <= found <= most
            for case, found in cases.items()
        ):
            return False
        return all(
            isinstance(value[name], (int, float))
            and not isinstance(value[name], bool)
            and least <= value[name] <= most
            and (name != "utterances" or isinstance(value[name], int))
            for name, (least, most) in _RANGES.items()
        )


_RANGES: Final = {
    "temperature": TEMPERATURES,
    "error_before": (0.0, 1.0),
    "error_after": (0.0, 1.0),
    "utterances": (1, 1 << 40),
    "threshold": (0.0, 1.0),
}


def calibrate(parts: Mapping[str, tuple[Floats, Targets]]) -> Calibration:
    """Fit a calibration to predictions for speakers that the model was not trained on.

    Args:
        parts: probabilities (N, C) and labels (N,) in range(C), by the modality case that was read; under an empty name
            where all cases share a temperature. N is at least 1.
    """
    probabilities = np.concatenate([shares for shares, _ in parts.values()])
    targets = np.concatenate([labels for _, labels in parts.values()])
    temperature = fit_temperature(probabilities, targets)
    cases = {case: fit_temperature(*part) for case, part in parts.items() if case}
    scaled = np.concatenate([at_temperature(part[0], cases.get(case, temperature)) for case, part in parts.items()])
    errors = []
    for shares in (probabilities, scaled):
        right = shares.argmax(axis=1) == targets
        errors.append(round(expected_calibration_error(shares.max(axis=1), right), 6))
    threshold = sure_from(scaled.max(axis=1), scaled.argmax(axis=1) == targets)
    return Calibration(temperature, errors[0], errors[1], len(targets), threshold, cases)


def calibrate_several(parts: Mapping[str, tuple[Floats, Targets]]) -> Calibration:
    """Fit a calibration as :func:`calibrate` does to decisions on labels of which an utterance has any number.

    Each label of an utterance is a decision between yes and no. A temperature that divides the logarithms of both
    probabilities divides the logit of the label.

    Args:
        parts: probabilities (N, C) and, as 0 and 1, the labels that utterances have (N, C), by the modality case.
    """
    decisions = {
        case: (np.stack([1 - shares.ravel(), shares.ravel()], axis=1), has.ravel())
        for case, (shares, has) in parts.items()
    }
    return replace(calibrate(decisions), utterances=sum(len(shares) for shares, _ in parts.values()))


def weights_of_templates(scores: Floats, targets: Targets) -> npt.NDArray[np.float64]:
    """Return the weights (T,) of templates, at least 0 and 1 together, that give the least cross-entropy.

    An answer is the softmax of the weighted mean of the templates' scores; its cross-entropy is convex in the weights.

    Args:
        scores: (N, T, C) log-probabilities of every template.
        targets: (N,) in range(C).
    """
    # Imported here: answers need no scipy.
    from scipy.optimize import minimize
    from scipy.special import logsumexp, softmax

    scores = scores.astype(np.float64)
    chosen = np.take_along_axis(scores, targets[:, None, None], axis=2)[:, :, 0]

    def loss(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        mixed = np.einsum("t,ntc->nc", weights, scores)
        expected = np.einsum("nc,ntc->nt", softmax(mixed, axis=1), scores)
        return float((logsumexp(mixed, axis=1) - chosen @ weights).mean()), (expected - chosen).mean(axis=0)

    count = scores.shape[1]
    sum_is_one = {"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like}
    start = np.full(count, 1 / count)
    found = minimize(loss, start, jac=True, method="SLSQP", bounds=[(0, 1)] * count, constraints=[sum_is_one])
    weights = np.clip(found.x, 0, None) / np.clip(found.x, 0, None).sum()
    return weights if loss(weights)[0] <= loss(start)[0] else start


def at_temperature(probabilities: Floats, temperature: float) -> npt.NDArray[np.float64]:
    """Divide the logarithms of probabilities (N, C) by the temperature and normalise: (N, C)."""
    logarithms = _logarithms(probabilities) / temperature
    powers = np.exp(logarithms - logarithms.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def fit_temperature(probabilities: Floats, targets: Targets) -> float:
    """Return the temperature at which the targets (N,) are most likely under probabilities (N, C).

    The mean negative log-likelihood is convex in b = 1 / temperature. Its slope, the mean over the predictions of the
    expected logarithm at b less the target's logarithm, rises with b; bisection finds its zero. Guo et al., 2017, "On
    calibration of modern neural networks", section 4.2.
    """
    logarithms = _logarithms(probabilities)
    reached = logarithms[np.arange(len(targets)), targets].mean()
    low, high = np.log(1.0 / TEMPERATURES[1]), np.log(1.0 / TEMPERATURES[0])
    for _ in range(60):
        middle = (low + high) / 2
        shares = at_temperature(probabilities, 1.0 / float(np.exp(middle)))
        if (shares * logarithms).sum(axis=1).mean() < reached:
            low = middle
        else:
            high = middle
    return float(np.clip(round(1.0 / float(np.exp((low + high) / 2)), 6), *TEMPERATURES))


def expected_calibration_error(confidence: Floats, right: npt.NDArray[np.bool_], bins: int = BINS) -> float:
    """Return the mean over predictions of |share of right ones in its bin - mean confidence of its bin|.

    Bin i of B holds the confidences in (i / B, (i + 1) / B], the first one 0 too. Naeini et al., 2015.

    Args:
        confidence: (N,) probabilities of the predicted labels.
        right: (N,) true where the prediction is the label.
        bins: B.
    """
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=right, minlength=bins) - np.bincount(place, weights=confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def sure_from(confidence: Floats, right: npt.NDArray[np.bool_], wanted: float = SURE) -> float:
    """Return the confidence from which at least a share ``wanted`` of the predictions is right.

    The share as a function of confidence is the non-decreasing one nearest to the predictions (isotonic regression).
    Below the lowest confidence that was seen nothing is known: if all are right often enough, ``wanted`` is returned,
    or that lowest confidence if it is smaller. Fewer than ten predictions above the threshold do not count: 1 is
    returned, at which every answer is unsure.

    Args:
        confidence: (N,) probabilities of the predicted labels.
        right: (N,) true where the prediction is the label.
        wanted: share of right answers.
    """
    order = np.argsort(confidence, kind="stable")
    values, first, counts = np.unique(confidence[order], return_index=True, return_counts=True)
    shares = isotonic(np.add.reduceat(right[order].astype(np.float64), first) / counts, counts)
    enough = np.flatnonzero(shares >= wanted)
    if not len(enough) or counts[enough[0] :].sum() < _FEWEST_SURE:
        return 1.0
    threshold = float(values[enough[0]])
    return min(threshold, wanted) if enough[0] == 0 else threshold


def isotonic(values: Floats, weights: npt.NDArray[np.number]) -> npt.NDArray[np.float64]:
    """Return the non-decreasing numbers (N,) nearest to ``values`` in weighted squares (pool adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, total, length = value, float(weight), 1
        while blocks and blocks[-1][0] >= mean:
            before, weight_before, length_before = blocks.pop()
            mean = (before * weight_before + mean * total) / (weight_before + total)
            total, length = total + weight_before, length + length_before
        blocks.append((mean, total, length))
    return np.repeat([mean for mean, _, _ in blocks], [length for _, _, length in blocks])


def _logarithms(probabilities: Floats) -> npt.NDArray[np.float64]:
    """Return the logarithms of probabilities; float32 softmax can underflow to 0, whose logarithm is not finite."""
    return np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), _SMALLEST))
