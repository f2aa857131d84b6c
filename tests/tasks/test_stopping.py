"""A request to stop, on whichever rank, ends training on all of them after one update, but for the last of an epoch."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq.criterions import FairseqCriterion
from omegaconf import DictConfig, OmegaConf
from torch import nn

from memobert_plugin.core.signals import STOP_MARK_VARIABLE
from memobert_plugin.tasks import resuming
from memobert_plugin.tasks.resuming import REQUESTS, ResumableTask


class Criterion(FairseqCriterion):
    def forward(self, model: nn.Module, sample: dict[str, Any], reduce: bool = True) -> Any:
        return torch.zeros(1), 1, {"loss": 0.0, "ntokens": 1, "nsentences": 1, "sample_size": 1}

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        pass


class Model(nn.Linear):
    def set_num_updates(self, number: int) -> None:
        pass


@pytest.fixture
def config() -> DictConfig:
    return OmegaConf.create(
        {
            "task": {"data": "bin"},
            "optimization": {"max_update": 10, "stop_time_hours": 0.0},
            "dataset": {"validate_after_updates": 0},
            "distributed_training": {"distributed_rank": 0},
        }
    )


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    monkeypatch.setenv(STOP_MARK_VARIABLE, str(tmp_path / "stopped"))
    yield tmp_path / "stopped"
    for number, handler in before.items():
        signal.signal(number, handler)


def step(
    config: DictConfig, update: int, monkeypatch: pytest.MonkeyPatch, *, own: bool, other: int = 0, last: bool = False
) -> None:
    """One update of a task that was asked itself (``own``), or whose ``other`` ranks were."""
    monkeypatch.setattr(resuming, "stop_requested", lambda: own)
    task, criterion = ResumableTask(config.task), Criterion(SimpleNamespace())
    task._training_batches = SimpleNamespace(end_of_epoch=lambda: last)
    optimizer = SimpleNamespace(backward=lambda loss: None)
    _, _, logging_output = task.train_step({}, Model(1, 1), criterion, optimizer, update - 1)
    if task._stop_mark is not None:
        logging_output[REQUESTS] += other
    task.reduce_metrics([logging_output], criterion)


@pytest.mark.parametrize(("own", "other"), [(True, 0), (False, 1), (True, 1)])
def test_any_ranks_request_stops_after_this_update(
    config: DictConfig, mark: Path, monkeypatch: pytest.MonkeyPatch, own: bool, other: int
) -> None:
    step(config, 5, monkeypatch, own=own, other=other)
    assert config.optimization.stop_time_hours > 0 and config.dataset.validate_after_updates == 6
    assert mark.read_text() == "5\n"


def test_only_the_first_rank_leaves_the_mark(config: DictConfig, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.distributed_training.distributed_rank = 1
    step(config, 5, monkeypatch, own=True)
    assert config.optimization.stop_time_hours > 0 and not mark.exists()


@pytest.mark.parametrize(("update", "own", "last"), [(5, False, False), (5, True, True), (10, True, False)])
def test_training_goes_on_unasked_and_where_an_epoch_or_training_ends_anyway(
    config: DictConfig, mark: Path, monkeypatch: pytest.MonkeyPatch, update: int, own: bool, last: bool
) -> None:
    step(config, update, monkeypatch, own=own, last=last)
    assert config.optimization.stop_time_hours == 0 and config.dataset.validate_after_updates == 0 and not mark.exists()


def test_without_the_variable_signals_and_logging_outputs_stay_fairseqs(
    config: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(STOP_MARK_VARIABLE, raising=False)
    before = signal.getsignal(signal.SIGUSR2)
    step(config, 5, monkeypatch, own=True)
    assert signal.getsignal(signal.SIGUSR2) is before and config.optimization.stop_time_hours == 0
