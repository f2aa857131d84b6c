"""The DenseFace example: its tables are counts of the encoder's decisions."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from examples.denseface import calibrate
from examples.denseface.evaluate import SAMPLE_STEP, as_crops, evaluate
from memobert_plugin.core.errors import UserError
from memobert_plugin.features.denseface.encoder import DenseFace
from memobert_plugin.features.denseface.weights import SHIPPED
from tests.ferplus_files import drawn_pictures

TIE = [3, 0, 3, 0, 2, 0, 0, 0, 2, 0]


@pytest.fixture(scope="module")
def encoder() -> DenseFace:
    return DenseFace.from_shipped()


def test_pictures_become_faces_of_the_encoders_size() -> None:
    images = drawn_pictures(2, 0).images
    crops = as_crops(images)
    assert (crops.shape, crops.dtype) == ((2, 64, 64), np.uint8)
    assert abs(crops.mean() - images.mean()) < 1


def test_tables_count_pictures_with_a_majority_and_those_seen_in_training(encoder: DenseFace) -> None:
    drawn = drawn_pictures(4, 30, seed=2)
    drawn.images[4:7] = drawn.images[:3]
    drawn.votes[10] = TIE
    lines = evaluate(encoder, drawn, "valid").splitlines()
    assert lines[0] == "valid: 30 pictures, 1 left out without a unique majority."
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    counted = drawn.where((drawn.split == 1) & (drawn.majorities() >= 0))
    correct = encoder.encode(as_crops(counted.images))[1].argmax(axis=1) == counted.majorities()
    assert rows[2][:2] == ["all 29", f"{100 * correct.mean():.2f}"]
    assert rows[3][:2] == ["the 26 that are not in training too", f"{100 * correct[3:].mean():.2f}"]
    sampled = correct[::SAMPLE_STEP]
    assert rows[4][:2] == [f"fixed sample: every {SAMPLE_STEP}th, {len(sampled)}", f"{100 * sampled.mean():.2f}"]
    supports = {row[0]: int(row[1]) for row in rows[7:]}
    assert list(supports) == list(encoder.classes)
    assert list(supports.values()) == np.bincount(counted.majorities(), minlength=8).tolist()


def test_a_part_that_was_not_packed_is_missed_by_name(encoder: DenseFace) -> None:
    with pytest.raises(UserError, match="--split test: there is no picture with a majority"):
        evaluate(encoder, drawn_pictures(3, 2), "test")


def test_the_temperature_of_drawn_labels_is_found() -> None:
    """Labels follow softmax(2 z); the network shows softmax(z)."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(4000, 8))
    shown, true = (np.exp(scale * logits) for scale in (1.0, 2.0))
    shown, true = (each / each.sum(axis=1, keepdims=True) for each in (shown, true))
    labels = (random.uniform(size=(4000, 1)) > true.cumsum(axis=1)).sum(axis=1)
    temperature = calibrate.fitted_temperature(shown, labels)
    assert temperature == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(calibrate.at_temperature(shown, 0.5), true, atol=1e-9)
    assert calibrate.calibration_error(true, labels) < 0.05 < 0.2 < calibrate.calibration_error(shown, labels)


def test_the_calibration_error_is_the_gap_of_each_bin_by_its_share() -> None:
    shown = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    # Bins of 1/15: both 0.9 in one (one of two right), 0.6 alone (right), 0.7 alone (wrong).
    assert calibrate.calibration_error(shown, np.array([0, 1, 0, 0])) == pytest.approx((0.8 + 0.4 + 0.7) / 4)


def test_calibration_prints_a_table_and_writes_the_temperature(
    encoder: DenseFace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn_pictures(9, 12, seed=2).write(tmp_path / "ferplus")
    weights = shutil.copy(SHIPPED, tmp_path / "w.safetensors")
    assert calibrate.main([str(tmp_path / "ferplus"), "--weights", str(weights), "--write"]) == 0
    printed = capsys.readouterr().out
    assert "fitted to 9 training pictures; measured on 4 of validation" in printed
    written = DenseFace.from_file(tmp_path / "w.safetensors").temperature
    assert f"\n| {written:g} | " in printed
    with pytest.raises(UserError, match="no picture with a majority"):
        calibrate.calibrate(encoder, drawn_pictures(3, 0))
