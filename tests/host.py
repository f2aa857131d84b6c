"""The host in tests: a trainer inside this interpreter, or commands forked from one start-up of a fresh one."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fairseq import options, tasks
from fairseq.data.iterators import GroupedIterator
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq.trainer import Trainer
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
import json, sys
from pathlib import Path
from memobert_plugin.sweep.forked_commands import ForkedCommands
runner, folder = ForkedCommands(jobs=int(sys.argv[2])), Path(sys.argv[1])
statuses = {}
for phase in json.loads(sys.argv[3]):
    names = {tuple(command): name for name, command in phase.items()}
    for finished in runner.run_all([(command, folder / f"{name}.log") for name, command in phase.items()]):
        statuses[names[finished.command]] = finished.status
print(json.dumps(statuses))
"""


def run_commands(folder: Path, *phases: Mapping[str, Command], jobs: int = 2) -> dict[str, Finished]:
    """Run the host's commands from one start-up of a fresh interpreter, phase after phase, some at a time.

    Args:
        folder: where the commands run and their logs go.
        phases: commands by name.
        jobs: how many run at a time; ranks of one run must run together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    plan = json.dumps([{name: list(command) for name, command in phase.items()} for phase in phases])
    finished = subprocess.run(
        [sys.executable, "-c", RUNNER, str(folder), str(jobs), plan],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    statuses: dict[str, int] = json.loads(finished.stdout.splitlines()[-1])
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
