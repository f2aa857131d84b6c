"""The host in tests: a trainer inside this interpreter, or commands forked from one start-up of a fresh one."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import os
import select
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from fairseq import options, tasks
from fairseq.data.iterators import GroupedIterator
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq.trainer import Trainer
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental import compose
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

import memobert_plugin

memobert_plugin.register()

ROOT = Path(__file__).resolve().parents[1]
USER_DIR = Path(memobert_plugin.__file__).parent

SMALLEST_MODEL = (
    "--arch", "memobert_tiny", "--encoder-layers", "1", "--encoder-embed-dim", "16", "--encoder-ffn-embed-dim", "32",
    "--encoder-attention-heads", "2", "--max-positions", "80", "--dropout", "0", "--attention-dropout", "0",
)  # fmt: skip
OPTIMISER = (
    "--optimizer", "memobert_adamw", "--adam-betas", "(0.9, 0.98)", "--adam-eps", "1e-6", "--weight-decay", "0.01",
    "--clip-norm", "5.0", "--lr", "1e-3",
)  # fmt: skip
SCHEDULE = ("--lr-scheduler", "polynomial_decay", "--warmup-updates", "2", "--total-num-update", "100")


def training_flags(data_bin: Path | str, task: str, *flags: str, device: str = "cpu") -> list[str]:
    """Flags of a small training run on ``cpu`` or ``cuda``; later ones win."""
    processor = ["--cpu"] if device == "cpu" else []
    schedule = () if "--lr-scheduler" in flags else SCHEDULE
    return [
        str(data_bin), "--user-dir", str(USER_DIR), "--task", task, "--criterion", task, *SMALLEST_MODEL, *OPTIMISER,
        *schedule, "--batch-size", "8", *processor, "--num-workers", "0", "--seed", "3", *flags,
    ]  # fmt: skip


class TrainingRun:
    """Task, model and trainer of a ``fairseq-train`` command, driven update by update in this interpreter.

    ``fairseq_cli`` itself keeps scores in attributes of functions, so that two commands in one interpreter disturb each
    other; its parts do not.
    """

    def __init__(self, data_bin: Path | str, task: str, *flags: str, device: str = "cpu") -> None:
        metrics.reset()
        with _without_warnings():
            self._set_up(training_flags(data_bin, task, "--no-save", *flags, device=device))

    def _set_up(self, flags: list[str]) -> None:
        parser = options.get_training_parser()
        with mock.patch("fairseq.dataclass.utils.compose", _compose):
            self.config = convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, flags))
        torch.manual_seed(self.config.common.seed)
        self.task = tasks.setup_task(self.config.task)
        self.model = self.task.build_model(self.config.model)
        self.criterion = self.task.build_criterion(self.config.criterion)
        self.trainer = Trainer(self.config, self.task, self.model, self.criterion)
        self._epoch = self.trainer.get_train_iterator(epoch=1)
        self._updates: GroupedIterator | None = None

    @property
    def updates_per_epoch(self) -> int:
        """Updates of the current epoch."""
        return -(-len(self._epoch) // self.config.optimization.update_freq[0])

    def train(self, updates: int) -> list[dict[str, Any]]:
        """Go on for some updates; what the host logs of each."""
        with _without_warnings():
            return [self._update() for _ in range(updates)]

    def _update(self) -> dict[str, Any]:
        if self._updates is None or not self._updates.has_next():
            if self._updates is not None:
                self._epoch = self.trainer.get_train_iterator(self._epoch.next_epoch_idx, load_dataset=False)
            self._updates = GroupedIterator(self._epoch.next_epoch_itr(), self.config.optimization.update_freq[0])
        with metrics.aggregate("train_inner"):
            return self.trainer.train_step(next(self._updates))

    def validate(self, subset: str = "valid") -> dict[str, float]:
        """What the host logs of a subset."""
        if subset not in self.task.datasets:
            self.task.load_dataset(subset)
        with _without_warnings(), metrics.aggregate(new_root=True) as logged:
            for sample in self.trainer.get_valid_iterator(subset).next_epoch_itr(shuffle=False):
                self.trainer.valid_step(sample)
        return logged.get_smoothed_values()

    def save(self, path: Path) -> Path:
        """Write a checkpoint as the host does."""
        self.trainer.consolidate_optimizer()
        self.trainer.save_checkpoint(str(path), {"train_iterator": self._epoch.state_dict(), "val_loss": 0.0})
        return path

    def parameters(self) -> dict[str, Tensor]:
        """A copy of the model's state."""
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}


_composed: dict[tuple[str, ...], tuple[frozenset[str], DictConfig]] = {}
"""Values and configuration of the first run with the same names of values and the same task, model and optimiser."""


def _compose(name: str, overrides: list[str], strict: bool) -> DictConfig:
    """Compose a configuration as hydra does, in a fifth of the time where an earlier one differs in some values only.

    Every update of a test takes less than a tenth of the time that hydra needs to compose fairseq's 300 values.
    """
    kind = tuple(value.partition("=")[0] if "." in value.partition("=")[0] else value for value in overrides)
    if kind not in _composed:
        _composed[kind] = frozenset(overrides), compose(name, overrides=overrides, strict=strict)
    before, config = _composed[kind]
    config = copy.deepcopy(config)
    for override in OverridesParser.create().parse_overrides([value for value in overrides if value not in before]):
        OmegaConf.update(config, override.get_key_element(), override.value())
    return config


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """The host's own, about what it uses of hydra and torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


Command = Sequence[str]


@dataclass(frozen=True)
class Finished:
    """How a command ended and what it printed."""

    status: int
    log: str

    def logged(self, tag: str) -> list[dict[str, float]]:
        """What was logged as JSON under ``train``, ``train_inner``, ``valid`` ..., in order; no entry without value."""
        marked = [line.split(f"| {tag} | ", 1)[1] for line in self.log.splitlines() if f"| {tag} | {{" in line]
        entries = [json.loads(line).items() for line in marked]
        return [{name: float(value) for name, value in entry if value is not None} for entry in entries]


RUNNER = """
import json, os, sys
from pathlib import Path
from memobert_plugin.core.fairseq_quirks import compose_a_configuration
from memobert_plugin.sweep.forked_commands import ForkedCommands
requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(2, 1)
compose_a_configuration()
for request in requests:
    folder, jobs, phases, environment = json.loads(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    runner, statuses = ForkedCommands(jobs), {}
    for phase in phases:
        logs = {str(Path(folder, f"{name}.log")): name for name in phase}
        runs = [(phase[name], Path(log)) for log, name in logs.items()]
        for finished in runner.run_all(runs):
            statuses[logs[str(finished.log)]] = finished.status
    print(json.dumps(statuses), file=answers, flush=True)
"""
LONGEST_SECONDS = 600


@functools.cache
def _starter(test_process: int) -> subprocess.Popen[str]:
    """A fresh interpreter that starts commands for all tests of a process, and ends with it."""
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )


def run_commands(folder: Path, *phases: Mapping[str, Command], jobs: int = 2) -> dict[str, Finished]:
    """Run the host's commands, forked from one start-up of a fresh interpreter, phase after phase, some at a time.

    Args:
        folder: where the commands run and their logs go.
        phases: commands by name.
        jobs: how many run at a time; ranks of one run must run together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    plan = [{name: list(command) for name, command in phase.items()} for phase in phases]
    starter = _starter(os.getpid())
    assert starter.stdin is not None and starter.stdout is not None
    print(json.dumps([str(folder.resolve()), jobs, plan, environment]), file=starter.stdin, flush=True)
    answered = select.select([starter.stdout], [], [], LONGEST_SECONDS)[0]
    answer = starter.stdout.readline() if answered else ""
    if not answer:
        starter.kill()
        _starter.cache_clear()
        pytest.fail(f"the commands in {folder} did not end well within {LONGEST_SECONDS} s")
    statuses: dict[str, int] = json.loads(answer)
    return {name: Finished(status, (folder / f"{name}.log").read_text()) for name, status in statuses.items()}


def as_ranks(command: Command, name: str, meeting_point: Path, ranks: int = 2) -> dict[str, list[str]]:
    """One command for each gloo rank, named ``name_0``, ``name_1`` ...; they meet through a file."""
    return {
        f"{name}_{rank}": [
            *command, "--distributed-world-size", str(ranks), "--distributed-rank", str(rank), "--distributed-no-spawn",
            "--distributed-init-method", f"file://{meeting_point}", "--distributed-backend", "gloo",
            "--ddp-backend", "legacy_ddp",
        ]
        for rank in range(ranks)
    }  # fmt: skip


def load_safely(path: Path) -> dict[str, Any]:
    """A checkpoint's content, plain data only."""
    return torch.load(path, map_location="cpu", weights_only=True)
