"""Curves from logs: every validation once, torn lines passed over; their mean over folds of different sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from memobert_plugin.evaluation.report.curves import Curves, Point, beyond_limits, mean_line, read_points, read_titles
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


def test_validations_within_an_epoch_all_count_and_the_best_so_far_is_no_objective(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    values = '"valid_mafr_loss": "0.{n}", "valid_best_loss": "0.1", "valid_num_updates": "{n}"'
    log.write_text("".join(f'| valid | {{"epoch": 1, {values.format(n=updates)}}}\n' for updates in (20, 40)))
    curves = Curves("run", "full", read_points(log))
    assert curves.line("valid", "mafr_loss") == [(20, 0.2), (40, 0.4)]
    assert {point.metric for point in curves.points} == {"mafr_loss"}


def test_training_within_epochs_counts_where_it_was_logged_more_often(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    inner = [f'| train_inner | {{"epoch": 1, "loss": "0.{n}", "num_updates": "{n}"}}\n' for n in (2, 4, 6)]
    epochs = ['| train | {"epoch": 1, "train_loss": "0.7", "train_wa": "50", "train_num_updates": "6"}\n']
    log.write_text("".join(inner[:2] + epochs))
    curves = Curves("run", "full", read_points(log))
    assert curves.line("train", "loss") == [(2, 0.2), (4, 0.4)] and curves.line("train", "wa") == [(6, 50.0)]
    log.write_text("".join(inner[:1] + epochs))
    assert Curves("run", "full", read_points(log)).line("train", "loss") == [(6, 0.7)]


def test_the_mean_of_folds_of_different_sizes() -> None:
    assert mean_line([[(10, 1.0), (20, 2.0), (30, 3.0)], [(12, 0.0), (22, 0.0)]]) == [
        (12, pytest.approx(0.6)),
        (20, pytest.approx(1.0)),
        (22, pytest.approx(1.1)),
    ]
    assert mean_line([[], []]) == []


def test_torn_lines_and_numbers_that_are_none_are_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    lines = [
        '2026 | INFO | train | {"epoch": 1, "train_loss": "0.5", "train_num_updates": "3", "train_uar": "nan"}',
        '2026 | INFO | valid | {"epoch": 1, "valid_loss": "0.4", "valid_num_updates": "3", "valid_uar": "None"}',
        '2026 | INFO | train | {"epoch": 2, "train_lo',
        '2026 | INFO | train | {"epoch": 3, broken}',
        '2026 | INFO | train | {"train_loss": "0.5"}',
        "2026 | INFO | train | {}",
    ]
    log.write_bytes("\n".join(lines).encode() + b"\xff\n")
    assert read_points(log) == (Point("train", "loss", 1, 3, 0.5), Point("valid", "loss", 1, 3, 0.4))


def test_a_run_without_a_log_has_no_curves(tmp_path: Path) -> None:
    assert read_points(tmp_path / "log.txt") == ()


def test_titles_of_objectives_come_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    line = "00:00 | INFO | tasks.pretraining | objective mafr: speech frames, sampling ratio 1\n"
    log.write_text("train starts\n" + line)
    assert read_titles(log) == {"mafr": "speech frames"}
    assert read_titles(tmp_path / "none.txt") == {}


def test_the_largest_share_beyond_each_limit_is_taken_from_the_logs(tmp_path: Path) -> None:
    logs = [tmp_path / name for name in ("a.txt", "b.txt", "none.txt")]
    line = (
        "2026-11-29 08:00:00 | INFO | memobert_plugin.tasks.corpus_task | train: {} % of the {} frames lie beyond {}\n"
    )
    logs[0].write_text(line.format("12.5", "acoustic", "the first 64 (3.84 s)") + "| train | {}\n")
    logs[1].write_text(
        line.format("50.0", "acoustic", "the first 64 (1.92 s)") + line.format("0.0", "visual", "the first 36")
    )
    assert beyond_limits(logs) == ["50.0 % of the acoustic frames lie beyond the first 64 (1.92 s)"]
    assert beyond_limits(logs[2:]) == []
