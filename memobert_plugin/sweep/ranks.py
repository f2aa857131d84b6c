"""The processes of a job beside its first: they train when the first tells them, and write down nothing of the run's.

Only the first rank looks at the checkpoints and decides whether there is anything left to train; a rank that started
earlier would wait for the others in vain, or read a checkpoint that is about to be replaced.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from ..core.files import replaced_when_complete
from ..core.signals import STOP_MARK_VARIABLE, stop_requested
from .forked_commands import ForkedCommands
from .records import RunFolder

_SECONDS_BETWEEN_LOOKS = 0.2
_PATIENCE = 600.0


def tell_ranks(folder: RunFolder, key: str, train: bool) -> None:
    """By the first rank: whether the others shall train now. Does nothing where there are no others (an empty key)."""
    if key:
        with replaced_when_complete(_orders(folder)) as temporary:
            temporary.write_text(json.dumps({"key": key, "train": train}), encoding="utf-8")


def rank_failed_mark(folder: RunFolder) -> Path:
    """A file that tells the first rank, which may be ended because of it, that another rank failed."""
    return folder.path / "rank-failed"


def train_with_first_rank(folder: RunFolder, rank: int, key: str, threads: int) -> int:
    """By another rank: wait for the first one's word, train, and return the exit status."""
    if not _ordered_to_train(folder, key):
        return 0
    [command] = folder.read_description()["commands"]
    os.environ[STOP_MARK_VARIABLE] = str(folder.stop_mark.resolve())
    if "--cpu" in command:
        os.environ["SLURM_LOCALID"] = "0"  # the host takes it for the number of a GPU, whatever it trains on
    log = folder.path / f"log.rank{rank}.txt"
    status = ForkedCommands(threads=threads, append=True).run(command, log)
    if status and not stop_requested():
        folder.say(f"rank {rank} ended with status {status}; see {log.name}")
        rank_failed_mark(folder).touch()
    return status


def _ordered_to_train(folder: RunFolder, key: str) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and not stop_requested():
        try:
            orders = json.loads(_orders(folder).read_text(encoding="utf-8"))
        except FileNotFoundError:
            orders = {}
        if orders.get("key") == key:
            return orders["train"]
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return False


def _orders(folder: RunFolder) -> Path:
    return folder.path / "ranks.json"
