"""Curves from logs: every epoch once, torn lines passed over."""

from __future__ import annotations

from pathlib import Path

from memobert_plugin.evaluation.curves import Point, read_points
from tests.evaluation.sweeps import emotion_log


def test_a_log_gives_losses_and_scores_of_both_subsets(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text(emotion_log(2))
    points = read_points(log)
    assert Point("train", "loss", 2, 20, 0.7) in points
    assert Point("valid", "uar", 1, 10, 29.0) in points
    assert {point.metric for point in points} == {"loss", "uar"}


def test_of_an_epoch_repeated_after_a_restart_the_last_counts(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text(emotion_log(2) + emotion_log(2, start=3.0))
    losses = [point for point in read_points(log) if (point.subset, point.metric) == ("train", "loss")]
    assert [(point.epoch, point.value) for point in losses] == [(1, 3.0), (2, 1.5)]


def test_torn_lines_and_numbers_that_are_none_are_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    lines = [
        '2026 | INFO | train | {"epoch": 1, "train_loss": "0.5", "train_num_updates": "3", "train_uar": "nan"}',
        '2026 | INFO | train | {"epoch": 2, "train_lo',
        '2026 | INFO | train | {"epoch": 3, broken}',
        '2026 | INFO | train | {"train_loss": "0.5"}',
        "2026 | INFO | train | {}",
    ]
    log.write_bytes("\n".join(lines).encode() + b"\xff\n")
    assert read_points(log) == (Point("train", "loss", 1, 3, 0.5),)


def test_a_run_without_a_log_has_no_curves(tmp_path: Path) -> None:
    assert read_points(tmp_path / "log.txt") == ()
