"""A folder of checkpoints: its training goes on, a finished one is not trained further, and another one is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("fairseq")

from memobert_plugin.checkpoints.last_checkpoint import LAST
from memobert_plugin.cli.train import build_parser, main, training_commands
from memobert_plugin.core.errors import UserError
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import SMALLEST_MODEL, TrainingRun


class Started(Exception):
    """Raised in place of starting fairseq-train."""


@pytest.fixture(autouse=True)
def _nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(program: str, arguments: list[str]) -> None:
        raise Started

    monkeypatch.setattr(os, "execv", start)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], bytes]:
    """A command, and the last checkpoint of its three updates."""
    folder = tmp_path_factory.mktemp("trained")
    corpus = make_data_bin(folder, CorpusShape(speakers=3, utterances=10))
    command = ["direct", str(corpus), "--cpu", "--fold", "1", *SMALLEST_MODEL[2:]]
    [whole] = training_commands(*build_parser().parse_known_args([*command, "--max-update", "3"]))
    run = TrainingRun(corpus, "memobert_finetune", *whole[2:])
    run.train(3)
    return command, run.save(folder / "own.pt").read_bytes()


@pytest.fixture
def command(trained: tuple[list[str], bytes], tmp_path: Path) -> list[str]:
    command, checkpoint = trained
    (tmp_path / LAST).write_bytes(checkpoint)
    return [*command, "--save-dir", str(tmp_path), "--max-update"]


def test_a_finished_training_is_not_trained_further(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "3"]) == 0
    assert "checkpoint_last.pt has 3 of 3 updates" in capsys.readouterr().out


@pytest.mark.parametrize(
    "more", [["4"], ["4", "--lr", "1e-5"], ["3", "--reset-optimizer"], ["3", "--restore-file", "other.pt"]]
)
def test_a_training_goes_on_where_updates_are_left(command: list[str], more: list[str]) -> None:
    with pytest.raises(Started):
        main([*command, *more])


@pytest.mark.parametrize("updates", ["3", "4"])
@pytest.mark.parametrize(
    ("other", "said"),
    [
        (["--seed", "2"], "--seed 1, not 2"),
        (["--fold", "2"], "--fold 1, not 2"),
        (["--folds", "groups:3"], "--folds speakers, not groups:3"),
        (["--modalities", "l"], "--modalities lva, not l"),
        (["--train-fraction", "0.5"], "--train-fraction 1.0, not 0.5"),
        (["--labels", "anger,sad"], "--labels nothing, not anger,sad"),
    ],
)
def test_another_training_is_refused(command: list[str], updates: str, other: list[str], said: str) -> None:
    with pytest.raises(UserError, match=f"{LAST}: it is of another training .*{said}.*; give another --save-dir"):
        main([*command, updates, *other])


def test_a_finished_training_of_another_rate_is_not_taken_for_this_one(command: list[str]) -> None:
    with pytest.raises(UserError, match=r"--lr .*, not 1e-05"):
        main([*command, "3", "--lr", "1e-5"])


def test_a_training_on_another_corpus_is_refused(command: list[str], tmp_path: Path) -> None:
    other = make_data_bin(tmp_path / "other", CorpusShape(speakers=3, utterances=10))
    with pytest.raises(UserError, match=r"of another training .data-bin .*, not "):
        main([command[0], str(other), *command[2:], "3"])


def test_a_damaged_checkpoint_is_left_to_the_training(command: list[str], tmp_path: Path) -> None:
    (tmp_path / LAST).write_bytes(b"cut off")
    with pytest.raises(Started):
        main([*command, "3"])
