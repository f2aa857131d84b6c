"""A resumed training counts patience, the place in the epoch and the best checkpoints as an undisturbed one does."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import Dataset

from memobert_plugin.tasks.resuming import (
    ResumableTask,
    TrainingBatches,
    reports_saves,
)
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import Finished, run_commands, training_flags


def task_with(folder: Path, keep: int = 0) -> ResumableTask:
    checkpoint = {"best_checkpoint_metric": "uar", "save_dir": str(folder), "keep_best_checkpoints": keep}
    task = ResumableTask(OmegaConf.create({"task": {}, "checkpoint": checkpoint}).task)
    task.begin_valid_epoch(1, nn.Linear(1, 1))
    return task


def validated(task: ResumableTask, **stats: Any) -> dict[str, Any]:
    task.post_validate(nn.Linear(1, 1), stats, None)
    return stats


def test_a_validation_that_gives_nan_counts_as_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = task_with(tmp_path)
    assert validated(task, uar=float("nan"), loss=1.0) == {"uar": None, "loss": 1.0}
    assert "no value of uar" in caplog.text
    task.begin_valid_epoch(2, nn.Linear(1, 1))
    assert validated(task, uar=50.0) == {"uar": 50.0}


def test_only_the_first_subset_gives_the_score(tmp_path: Path) -> None:
    task = task_with(tmp_path)
    validated(task, uar=50.0)
    assert np.isnan(validated(task, uar=float("nan"))["uar"]) and task._score == 50.0


def test_a_score_that_validation_does_not_give_is_named_with_those_it_gives(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"--best-checkpoint-metric uar: .* gives loss, wa$"):
        validated(task_with(tmp_path), loss=1.0, wa=2.0, best_loss=1.0, _confusion=3)


@pytest.mark.parametrize("keep", [1, 3])
def test_worse_checkpoints_are_kept_until_there_are_as_many_as_asked_for(tmp_path: Path, keep: int) -> None:
    task, last = task_with(tmp_path, keep), tmp_path / "checkpoint_last.pt"
    best = tmp_path / "checkpoint.best_uar_60.0001.pt"
    best.write_text("fairseq's own, of this save")
    last.write_text("60")
    last.touch()
    best.touch()
    validated(task, uar=60.0)
    task.post_save(str(last), 1)
    assert [path.name for path in tmp_path.glob("checkpoint.best*")] == [best.name]
    for epoch, score in enumerate((50.0, 50.0, 40.0), 2):
        task.begin_valid_epoch(epoch, nn.Linear(1, 1))
        validated(task, uar=score)
        last.write_text(f"{score}")
        task.post_save(str(last), epoch)
    kept = sorted(path.name for path in tmp_path.glob("checkpoint.best*"))
    assert kept == sorted([best.name, "checkpoint.best_uar_50.0000.pt", "checkpoint.best_uar_50.0001.pt"])[-keep:]
    task.begin_valid_epoch(9, nn.Linear(1, 1))
    task.post_save(str(last), 9)  # a save without a validation
    assert len(list(tmp_path.glob("checkpoint.best*"))) == keep


class Numbers(Dataset[int]):
    """Items that are their own numbers."""

    def __getitem__(self, index: int) -> int:
        return index


def batches(size: int, seed: int = 1, utterances: int = 24, rows: int = 0) -> TrainingBatches:
    order = np.random.default_rng(0).permutation(utterances) + rows
    sampler = [order[start : start + size] for start in range(0, utterances, size)]
    return TrainingBatches(Numbers(), list, sampler, seed=seed)


def stopped(after: int, size: int = 2) -> dict[str, Any]:
    iterator = batches(size)
    epoch = iterator.next_epoch_itr()
    epoch.skip(after)
    return iterator.state_dict()


def place(state: dict[str, Any], iterator: TrainingBatches) -> int:
    iterator._get_iterator_for_epoch = lambda epoch, shuffle, offset: SimpleNamespace(n=offset)
    iterator.load_state_dict(state)
    return iterator.iterations_in_epoch


def test_an_epoch_of_the_same_batches_goes_on_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    assert place(stopped(after=6), batches(2)) == 6 and not caplog.text


@pytest.mark.parametrize(("size", "expected"), [(4, 3), (1, 12), (12, 1), (24, 0)])
def test_an_epoch_of_other_batches_goes_on_after_the_same_share_and_says_so(
    size: int, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert place(stopped(after=6), batches(size)) == expected
    assert "epoch 1 was left after 6 of 12 batches" in caplog.text and "come twice" in caplog.text


@pytest.mark.parametrize("other", [batches(2, seed=2), batches(2, rows=3)])
def test_another_order_and_other_utterances_are_noticed(
    other: TrainingBatches, caplog: pytest.LogCaptureFixture
) -> None:
    assert place(stopped(after=6), other) == 6 and "divided anew" in caplog.text


def test_whole_updates_are_skipped(caplog: pytest.LogCaptureFixture) -> None:
    iterator = batches(1)
    iterator.batches_per_update = 4
    assert place(stopped(after=3), iterator) == 8


@pytest.mark.slow
def test_fairseq_stops_early_keeps_the_best_and_says_that_batches_changed(tmp_path: Path) -> None:
    data_bin = make_data_bin(tmp_path / "corpus", CorpusShape(speakers=3, utterances=10))

    def train(name: str, *flags: str) -> list[str]:
        shared = ["--fold", "1", "--lr", "0", "--no-epoch-checkpoints", "--log-format", "json", "--save-dir"]
        return ["fairseq-train", *training_flags(data_bin, "memobert_finetune", *shared, str(tmp_path / name), *flags)]

    patience = ("--patience", "2", "--best-checkpoint-metric", "uar", "--maximize-best-checkpoint-metric")
    # The number of updates is a score that gets worse with every validation.
    best = ("--keep-best-checkpoints", "3", "--best-checkpoint-metric", "num_updates", "--max-epoch", "5")
    first = run_commands(
        tmp_path / "first",
        {
            "whole": train("whole", *patience, "--max-epoch", "6"),
            "patience": train("patience", *patience, "--max-epoch", "2"),
            "best": train("best", *best),
            "batches": train("batches", "--batch-size", "2", "--max-update", "2"),
        },
    )
    second = run_commands(
        tmp_path / "second",
        {
            "patience": train("patience", *patience, "--max-epoch", "6"),
            "batches": train("batches", "--batch-size", "5", "--max-epoch", "1"),
        },
    )
    assert [end.log[-2000:] for end in (*first.values(), *second.values()) if end.status] == []

    def epochs(*ends: Finished) -> list[int]:
        return [int(line["epoch"]) for end in ends for line in end.logged("train")]

    assert epochs(first["whole"]) == epochs(first["patience"], second["patience"]) == [1, 2, 3]
    assert "left after 2 of 5 batches and is now divided anew: it goes on after 1 of 2" in second["batches"].log
    import fairseq_cli.train  # noqa: F401

    if not reports_saves():
        assert "--keep-best-checkpoints 3: this fairseq keeps fewer" in first["best"].log
        return
    kept = sorted(path.name for path in (tmp_path / "best").glob("checkpoint.best_num_updates_*.pt"))
    assert [float(re.findall(r"[\d.]+(?=\.pt)", name)[0]) // 1 for name in kept] == [2, 4, 6]
