"""Fit the temperature at which a DenseFace's probabilities are shown, and measure the calibration error.

The temperature minimises the negative log-likelihood of the majority's expression on training pictures, drawn at
random, mirrored and shifted by a pixel. The expected calibration error before and after is that of every third
validation picture, which plays no part in the fit. Pictures without a unique majority are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memobert_plugin.core.console import run_command
from memobert_plugin.core.errors import UserError
from memobert_plugin.core.files import replaced_when_complete
from memobert_plugin.features.denseface.encoder import DenseFace
from memobert_plugin.features.denseface.pictures import ExpressionPictures
from memobert_plugin.features.denseface.weights import SHIPPED

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

FITTED = 1200
"""Training pictures."""
MEASURED_STEP = 3
"""Every third validation picture."""
TEMPERATURES = np.arange(10, 301) / 100
BINS = 15


def moved(images: np.ndarray) -> np.ndarray:
    """Mirror pictures ``(N, H, W)`` and shift them to the right by a pixel; the left column stays."""
    mirrored = images[:, :, ::-1]
    return np.concatenate([mirrored[:, :, :1], mirrored[:, :, :-1]], axis=2)


def at_temperature(distributions: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits behind distributions ``(N, K)`` by a temperature."""
    powers = (distributions / distributions.max(axis=1, keepdims=True)) ** (1.0 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def fitted_temperature(distributions: np.ndarray, majorities: np.ndarray) -> float:
    """Return the one of :data:`TEMPERATURES` that makes the majorities ``(N,)`` most likely."""

    def loss(temperature: float) -> float:
        likely = at_temperature(distributions, temperature)[np.arange(len(majorities)), majorities]
        return float(-np.log(np.maximum(likely, 1e-12)).mean())

    return float(min(TEMPERATURES, key=loss))


def calibration_error(distributions: np.ndarray, majorities: np.ndarray, bins: int = BINS) -> float:
    """Return the expected calibration error (Guo et al., 2017): the mean of |accuracy - confidence| over equal bins."""
    confidence, right = distributions.max(axis=1), distributions.argmax(axis=1) == majorities
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(right[places == place].sum() - confidence[places == place].sum()) for place in range(bins)]
    return float(sum(gaps) / len(majorities))


def calibrate(encoder: DenseFace, pictures: ExpressionPictures, seed: int = 1) -> tuple[float, str]:
    """Return the temperature, and a table of the calibration error without and with it.

    Raises:
        UserError: the training or the validation part has no picture with a majority.
    """
    from examples.denseface.evaluate import as_crops

    parts = [part.where(part.majorities() >= 0) for part in map(pictures.of_split, ("train", "valid"))]
    if not all(len(part.votes) for part in parts):
        raise UserError("the training or the validation part has no picture with a majority; pack both parts")
    train, valid = parts
    drawn = np.random.default_rng(seed).permutation(len(train.votes))[:FITTED]
    shown = encoder.encode(as_crops(moved(train.images[drawn])))[1].astype(np.float64)
    temperature = fitted_temperature(shown, train.majorities()[drawn])
    measured = slice(None, None, MEASURED_STEP)
    raw = encoder.encode(as_crops(valid.images[measured]))[1].astype(np.float64)
    majorities = valid.majorities()[measured]
    lines = [
        f"temperature {temperature:g}, fitted to {len(drawn)} training pictures; measured on {len(raw)} of validation",
        "",
        "| temperature | mean confidence | accuracy | expected calibration error |",
        "|---|---|---|---|",
    ]
    accuracy = (raw.argmax(axis=1) == majorities).mean()
    for each in dict.fromkeys((1.0, temperature, encoder.temperature)):
        likely = at_temperature(raw, each)
        error = calibration_error(likely, majorities)
        lines.append(f"| {each:g} | {likely.max(axis=1).mean():.3f} | {accuracy:.3f} | {error:.3f} |")
    return temperature, "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Fit the temperature of a DenseFace's probabilities.")
    parser.add_argument("pictures", type=Path, help="folder that python -m memobert_plugin.corpora ferplus wrote")
    parser.add_argument("--weights", type=Path, default=SHIPPED, help="a weight file (default: the shipped one)")
    parser.add_argument("--seed", type=int, default=1, help="of the drawn training pictures (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write the temperature beside the weights (NAME.json)")
    options = parser.parse_args(arguments)
    encoder = DenseFace.from_file(options.weights)
    temperature, table = calibrate(encoder, ExpressionPictures.read(options.pictures), options.seed)
    print(table)
    if options.write:
        path = options.weights.with_suffix(".json")
        with replaced_when_complete(path) as temporary:
            temporary.write_text(json.dumps({"temperature": temperature}) + "\n", encoding="utf-8")
        print(f"written: {path}")
    return 0


if __name__ == "__main__":
    run_command(main)
