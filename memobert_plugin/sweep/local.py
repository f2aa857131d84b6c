"""Run a sweep on this machine: fairseq is imported once, and several runs at a time are forked from there."""

from __future__ import annotations

import itertools
import multiprocessing.connection
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.context import ForkProcess
from pathlib import Path

from ..core.signals import passed_on_to_children, received_signals, stop_requested
from .records import RunState
from .run_process import RunOptions, import_fairseq, start_run
from .schedule import Schedule

_SECONDS_TO_STOP = 60.0


def run_locally(
    schedule: Schedule,
    jobs: int,
    options: RunOptions,
    lock: int,
    announce: Callable[[str, RunState], None],
) -> int:
    """Carry out all runs that are not done.

    On SIGINT, SIGTERM or SIGHUP the trainings save after their update and end; a second signal ends them at once.

    Args:
        schedule: the runs and their states.
        jobs: runs at a time; where there are GPUs, each has one of them, in turn.
        options: of every run.
        lock: descriptor of the sweep's lock.
        announce: called with a run's name and state when it has ended.

    Returns:
        0, or 128 plus the number of the signal that ended it early.
    """
    if not schedule.ready():
        return 0
    import_fairseq()
    running: dict[int, tuple[ForkProcess, str, int]] = {}
    gpus = _visible_gpus()
    asked = None
    with passed_on_to_children(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        while True:
            if not stop_requested():
                for run in schedule.ready()[: jobs - len(running)]:
                    place = _free_place(running)
                    own = {"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if gpus else {}
                    process = start_run(schedule.folder(run.name), replace(options, environment=own), [lock])
                    running[process.sentinel] = (process, run.name, place)
                    schedule.started(run.name)
            elif asked is None:
                asked = time.monotonic()
            elif len(received_signals()) > 1 or time.monotonic() > asked + _SECONDS_TO_STOP:
                for process, _, _ in running.values():
                    process.terminate()
            if not running:
                break
            for sentinel in multiprocessing.connection.wait(list(running), timeout=1.0):
                assert isinstance(sentinel, int)
                process, name, _ = running.pop(sentinel)
                process.join()
                announce(name, schedule.ended(name))
    return 128 + received_signals()[0] if stop_requested() else 0


def _free_place(running: dict[int, tuple[ForkProcess, str, int]]) -> int:
    taken = {place for _, _, place in running.values()}
    return next(place for place in itertools.count() if place not in taken)


def _visible_gpus() -> list[str]:
    """Return the numbers of the GPUs without asking the driver: a process that has used it cannot be forked."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [number for number in visible.split(",") if number]
    files = [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")]
    return sorted((name for name in files if name.isdigit()), key=int)
