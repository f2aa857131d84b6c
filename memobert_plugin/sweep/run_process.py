"""Carry out one run in a process of its own: its commands one after the other, with its state written at every step."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from ..checkpoints.last_checkpoint import LAST, keeps_optimizer, settle_last_checkpoint
from ..core.errors import UserError
from ..core.files import replaced_when_complete
from ..core.signals import STOP_MARK_VARIABLE, STOP_SIGNAL, passed_on_to_children, stop_requested
from .commands import FIRST, flag_value, is_training
from .forked_commands import ForkedCommands
from .grid import GRID, with_draws
from .records import DONE, FAILED, RUNNING, STOPPED, RunFolder, now

_SET_PARENT_DEATH_SIGNAL = 1  # Linux' prctl
_IDLE_ATTEMPTS = 5


@dataclass(frozen=True)
class RunOptions:
    """Options of carrying out a run.

    Attributes:
        threads: computing threads of its commands.
        keep_checkpoints: ``all``, those ``selected`` for testing, or ``none``; of emotion runs only.
        job: SLURM's number of the job.
        environment: further variables.
        key: name of this start for other ranks that wait to train with this one; else empty.
    """

    threads: int = 1
    keep_checkpoints: str = "selected"
    job: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    key: str = ""


def import_fairseq() -> None:
    """Import fairseq and the plugin, so that run processes forked from here need not.

    While it is imported, fairseq looks for GPUs. Asking CUDA would leave it unusable in forked processes; with this
    variable torch asks the driver's management library.
    """
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    for _ in ForkedCommands().run_all([]):
        pass


def start_run(folder: RunFolder, options: RunOptions, closed: Sequence[int] = ()) -> ForkProcess:
    """Carry a run out in a forked process.

    Args:
        folder: of the run.
        options: of carrying it out.
        closed: descriptors that the process must close, such as that of a lock.
    """
    return start_process(_run, (folder, options, tuple(closed)))


def start_process(target: Callable[..., None], arguments: tuple[Any, ...]) -> ForkProcess:
    """Call a function in a forked process, which Ctrl-C in the terminal does not reach (its parent handles that) and
    which ends when its parent is killed.
    """
    process = multiprocessing.get_context("fork").Process(target=_apart, args=(target, arguments))
    process.start()
    return process


def _run(folder: RunFolder, options: RunOptions, closed: Sequence[int]) -> None:
    for descriptor in closed:
        os.close(descriptor)
    os.environ.update(options.environment)
    with passed_on_to_children(STOP_SIGNAL):
        try:
            carry_out(folder, options)
        except UserError as error:
            print(f"memobert-sweep: error: {error}", file=sys.stderr)
            sys.exit(2)
    sys.exit(int(folder.read_state().status == FAILED))


def _apart(target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    target(*arguments)


def carry_out(folder: RunFolder, options: RunOptions) -> None:
    """Run the remaining commands of a run; afterwards its state is ``done``, ``failed`` or ``stopped``.

    Raises:
        UserError: another process is working on it.
    """
    with folder.owned():
        before = folder.read_state()
        if before.status == DONE:
            tell_ranks(folder, options.key, train=False)
            return
        rank_failed_mark(folder).unlink(missing_ok=True)
        started = time.monotonic()
        folder.change_state(
            status=RUNNING,
            attempts=before.attempts + 1,
            started=now(),
            finished=None,
            exit_status=None,
            job=options.job,
            host=socket.gethostname(),
        )
        status, exit_status = STOPPED, None
        try:
            status, exit_status = _run_commands(folder, options)
        except UserError as error:
            folder.say(f"error: {error}")
            status, exit_status = FAILED, 2
        except Exception:  # a full disk, say: what ends this process by a signal is no Exception and counts as a stop
            folder.say(traceback.format_exc())
            status = FAILED
        finally:
            folder.change_state(
                status=FAILED if rank_failed_mark(folder).exists() else status,
                finished=now(),
                exit_status=exit_status,
                seconds=round(before.seconds + time.monotonic() - started, 2),
            )


def _run_commands(folder: RunFolder, options: RunOptions) -> tuple[str, int | None]:
    description = folder.read_description()
    os.environ[STOP_MARK_VARIABLE] = str(folder.stop_mark.resolve())
    runner = ForkedCommands(threads=options.threads, append=True)
    commands = description["commands"]
    for number in range(folder.read_state().finished_commands, len(commands)):
        if stop_requested():
            return STOPPED, None
        command = with_draws(folder.path, commands[number])
        folder.stop_mark.unlink(missing_ok=True)
        updates = settle_last_checkpoint(_save_dir(command), folder.say) if is_training(command) else None
        needed = not _is_trained(command, updates)
        if needed and updates is not None and not keeps_optimizer(_save_dir(command) / LAST):
            folder.say(f"{LAST} is without the optimiser's state (--no-save-optimizer-state); training begins anew")
            for checkpoint in _save_dir(command).glob("checkpoint*.pt"):
                checkpoint.unlink()
            updates = None
        tell_ranks(folder, options.key, needed)
        if needed:
            folder.say(" ".join(command[:2]) + f" … (command {number + 1} of {len(commands)})")
            exit_status = runner.run(command, folder.log)
            if stop_requested() and (exit_status or folder.stop_mark.exists()):
                return _stopped(folder, command, updates), exit_status
            if exit_status:
                folder.say(f"{command[0]} ended with status {exit_status}")
                return FAILED, exit_status
        folder.change_state(finished_commands=number + 1, idle_attempts=0)
    missing = [path for path in description.get("predictions", {}).values() if not (folder.path / path).is_file()]
    if missing:
        folder.say(f"{', '.join(missing)} was not written")
        return FAILED, None
    if description["kind"] == "emotion":
        _remove_checkpoints(folder, commands, options.keep_checkpoints)
    return DONE, 0


def _save_dir(command: Sequence[str]) -> Path:
    """Return the folder of a training's checkpoints."""
    return Path(flag_value(command, "--save-dir") or "checkpoints")


def _is_trained(command: Sequence[str], updates: int | None) -> bool:
    """Tell whether the last checkpoint is the one of the end: fairseq, started on it, would make one update more."""
    end = flag_value(command, "--max-update")
    return updates is not None and end is not None and updates >= int(end)


def _stopped(folder: RunFolder, command: Sequence[str], updates: int | None) -> str:
    """Note a stop; the run fails if it was stopped several times in a row without progress that is kept."""
    reached = int(folder.stop_mark.read_text(encoding="utf-8")) if folder.stop_mark.exists() else 0
    goes_on = "--no-save-optimizer-state" not in command
    idle = 0 if goes_on and reached > (updates or 0) else folder.read_state().idle_attempts + 1
    folder.change_state(idle_attempts=idle)
    if idle < _IDLE_ATTEMPTS:
        place = "it goes on from here" if goes_on else "this training begins anew"
        folder.say(f"stopped on request; {place} when it is started again")
        return STOPPED
    what = "before a single update" if goes_on else "before its end, and --no-save-optimizer-state keeps nothing"
    folder.say(f"stopped {idle} times in a row {what}; give it more time, then --retry-failed")
    return FAILED


def _remove_checkpoints(folder: RunFolder, commands: Sequence[Sequence[str]], kept: str) -> None:
    if kept == "all":
        return
    tested = {flag_value(command, "--path") for command in commands} if kept == "selected" else set()
    others = [folder.path / FIRST, folder.path / GRID]
    for path in (
        *folder.checkpoints.glob("checkpoint*.pt"),
        *(one for top in others for one in top.rglob("checkpoint*.pt")),
    ):
        if str(path) not in tested:
            path.unlink()


# The other ranks of a job train when the first tells them. Only the first looks at the checkpoints and decides whether
# anything is left to train: a rank that started earlier would wait for the others in vain, or read a checkpoint that is
# about to be replaced.

_SECONDS_BETWEEN_LOOKS = 0.2
_PATIENCE = 600.0


def tell_ranks(folder: RunFolder, key: str, train: bool) -> None:
    """Tell the other ranks whether to train now; called by the first rank. With an empty key there are none."""
    if key:
        with replaced_when_complete(_orders(folder)) as temporary:
            temporary.write_text(json.dumps({"key": key, "train": train}), encoding="utf-8")


def rank_failed_mark(folder: RunFolder) -> Path:
    """Return the file by which another rank tells the first one, which may be ended because of it, that it failed."""
    return folder.path / "rank-failed"


def train_with_first_rank(folder: RunFolder, rank: int, key: str, threads: int) -> int:
    """Wait for the first rank's word, train, and return the exit status; called by the other ranks."""
    if not _ordered_to_train(folder, key):
        return 0
    [command] = folder.read_description()["commands"]
    os.environ[STOP_MARK_VARIABLE] = str(folder.stop_mark.resolve())
    if "--cpu" in command:
        os.environ["SLURM_LOCALID"] = "0"  # fairseq takes it for the number of a GPU, even on CPUs
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
