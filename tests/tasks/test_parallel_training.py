"""One rank that accumulates gradients, two gloo ranks, and runs that were stopped and resumed end at one result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from memobert_plugin.objectives.base import draw_objective
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import Finished, as_ranks, load_safely, run_commands, training_flags
from tests.objectives.paper import OBJECTIVES

pytestmark = pytest.mark.slow

UPDATES, HALF = 20, 10
RATIOS = {"wwmlm": 2.0, "mvfr": 1.0, "mvfc": 1.0, "mafr": 1.0}
EVALUATED = {"one_rank": "7", "two_ranks": "5", "two_ranks_one_idle": "64"}
"""Validation batch sizes; 13 utterances make 2, 3 (the second rank lacks one) and 1 batch (it has none)."""


class Runs:
    """Commands of this module, by the name of what they save."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.finished: dict[str, Finished] = {}

    def pretraining(self, data_bin: Path, name: str, updates: int, *flags: str) -> list[str]:
        return [
            "fairseq-train", *training_flags(data_bin, "memobert_pretraining"), "--batch-size", "4",
            "--save-dir", str(self.folder / name), "--max-update", str(updates), "--no-epoch-checkpoints",
            "--log-format", "json", "--log-interval", "1", "--load-checkpoint-on-all-dp-ranks", *flags,
        ]  # fmt: skip

    def prompting(self, data_bin: Path, name: str, *flags: str) -> list[str]:
        return [
            "fairseq-train", *training_flags(data_bin, "memobert_prompt"), "--fold", "1", "--batch-size", "4",
            "--batch-size-valid", EVALUATED[name], "--save-dir", str(self.folder / name), "--max-update", str(HALF),
            "--predictions", str(self.folder / f"{name}.jsonl"), "--no-epoch-checkpoints",
            "--log-format", "json", *flags,
        ]  # fmt: skip

    def checkpoint(self, name: str) -> dict[str, Any]:
        return load_safely(self.folder / name / "checkpoint_last.pt")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    data_bin = make_data_bin(folder / "corpus", CorpusShape(speakers=3, utterances=13))
    runs, two = Runs(folder), ("--update-freq", "2")

    def both_ranks(command: list[str], name: str) -> dict[str, list[str]]:
        return as_ranks(command, name, folder / f"meeting_{name}")

    runs.finished = run_commands(
        folder / "logs",
        {
            "one": runs.pretraining(data_bin, "one", UPDATES, *two),
            "halved": runs.pretraining(data_bin, "halved", HALF, *two),
        },
        both_ranks(runs.pretraining(data_bin, "two", UPDATES), "two"),
        both_ranks(runs.pretraining(data_bin, "two_halved", HALF), "two_halved"),
        {
            "resumed": runs.pretraining(data_bin, "halved", UPDATES, *two),
            "workers": runs.pretraining(data_bin, "workers", UPDATES, *two, "--num-workers", "2"),
        },
        both_ranks(runs.pretraining(data_bin, "two_halved", UPDATES), "two_resumed"),
        {"one_rank": runs.prompting(data_bin, "one_rank", *two)},
        both_ranks(runs.prompting(data_bin, "two_ranks"), "two_ranks"),
        both_ranks(runs.prompting(data_bin, "two_ranks_one_idle"), "two_ranks_one_idle"),
    )  # fmt: skip
    return runs


def test_every_command_succeeds(runs: Runs) -> None:
    failed = {name: done.log[-3000:] for name, done in runs.finished.items() if done.status}
    assert failed == {}


def assert_same_parameters(runs: Runs, name: str, other: str) -> None:
    ours, others = runs.checkpoint(name)["model"], runs.checkpoint(other)["model"]
    assert ours.keys() == others.keys()
    for parameter, value in ours.items():
        torch.testing.assert_close(value, others[parameter], rtol=1e-5, atol=1e-5, msg=parameter)


def losses(finished: Finished) -> list[dict[str, float]]:
    """Loss of every update under its objective's name."""
    return [
        {name: update[f"{name}_loss"] for name in OBJECTIVES if f"{name}_loss" in update}
        for update in finished.logged("train_inner")
    ]


@pytest.mark.parametrize("name", ["two", "workers"])
def test_ranks_and_workers_change_no_loss_and_no_parameter(runs: Runs, name: str) -> None:
    expected = losses(runs.finished["one"])
    found = losses(runs.finished[f"{name}_0" if name == "two" else name])
    assert len(expected) == len(found) == UPDATES
    for update, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
        assert theirs == pytest.approx(ours, abs=1e-5), update
    assert_same_parameters(runs, "one", name)


def test_the_objectives_are_those_of_seed_and_update(runs: Runs) -> None:
    expected = [draw_objective(3, update, RATIOS) for update in range(UPDATES)]
    for name in ("one", "two_0"):
        assert [list(update) for update in losses(runs.finished[name])] == [[objective] for objective in expected]


@pytest.mark.parametrize(("whole", "resumed"), [("one", "halved"), ("two", "two_halved")])
def test_a_resumed_run_ends_like_one_that_was_never_stopped(runs: Runs, whole: str, resumed: str) -> None:
    assert runs.checkpoint(resumed)["optimizer_history"][-1]["num_updates"] == UPDATES
    assert_same_parameters(runs, whole, resumed)
    log = runs.finished["resumed" if whole == "one" else "two_resumed_0"].log
    assert f"@ {HALF} updates" in log
    second_half = losses(runs.finished["resumed" if whole == "one" else "two_resumed_0"])
    assert len(second_half) == UPDATES - HALF


def test_validation_of_two_ranks_logs_what_one_rank_logs(runs: Runs) -> None:
    one, two = (runs.finished[name].logged("valid")[-1] for name in ("one", "two_0"))
    names = [f"valid_{name}_loss" for name in OBJECTIVES]
    assert {name: two[name] for name in names} == pytest.approx({name: one[name] for name in names}, abs=1e-4)


@pytest.mark.parametrize("name", EVALUATED)
def test_logged_metrics_equal_scikit_learns_on_the_written_predictions(runs: Runs, name: str) -> None:
    finished = runs.finished[name if name == "one_rank" else f"{name}_0"]
    logged = finished.logged("valid")[-1]
    lines = [json.loads(line) for line in (runs.folder / f"{name}.jsonl").read_text().splitlines()]
    assert len(lines) == len({line["id"] for line in lines}) == 13
    assert {(line["speaker"], line["fold"]) for line in lines} == {("spk1", 1)}
    truth, predicted = [line["label"] for line in lines], [line["prediction"] for line in lines]
    expected = {
        "wa": accuracy_score(truth, predicted),
        "uar": balanced_accuracy_score(truth, predicted),
        "wf1": f1_score(truth, predicted, average="weighted"),
        "macro_f1": f1_score(truth, predicted, average="macro"),
    }
    assert {metric: logged[f"valid_{metric}"] for metric in expected} == pytest.approx(
        {metric: 100 * value for metric, value in expected.items()}, abs=1e-3
    )


@pytest.mark.parametrize("name", ["two_ranks", "two_ranks_one_idle"])
def test_merged_predictions_are_those_of_one_rank(runs: Runs, name: str) -> None:
    one, two = (
        [json.loads(line) for line in (runs.folder / f"{run}.jsonl").read_text().splitlines()]
        for run in ("one_rank", name)
    )
    assert [line["id"] for line in one] == [line["id"] for line in two]
    for ours, theirs in zip(one, two, strict=True):
        assert theirs["probabilities"] == pytest.approx(ours["probabilities"], abs=1e-4)
    assert [path.name for path in runs.folder.glob("*.jsonl*") if path.suffix != ".jsonl"] == []
