"""Stop on request: a signal sets a flag that the process looks at between two pieces of work.

A cluster announces the end of a job by SIGUSR2 (which submitit asks SLURM for; NCCL may use SIGUSR1) and ends it by
SIGTERM some seconds later. Launchers pass both on to the processes that they started, as SIGUSR2. Trainings look at the
flag after each update (:mod:`memobert_plugin.tasks.resuming`).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

STOP_SIGNAL = signal.SIGTERM if sys.platform == "win32" else signal.SIGUSR2
STOP_MARK_VARIABLE = "MEMOBERT_STOP_MARK"
"""Environment variable with the name of a file. A training that has saved and stopped before its end writes it, because
fairseq's exit status does not tell; it listens to the signal only if the variable is set."""

_SECONDS_BETWEEN = 1.0

_received: list[int] = []


def stop_requested() -> bool:
    """Tell whether a signal has asked this process, or the one it was forked from, to stop."""
    return bool(_received)


def received_signals() -> tuple[int, ...]:
    """Return all signals so far that asked to stop."""
    return tuple(_received)


def listen(*numbers: int) -> None:
    """Let these signals ask to stop instead of ending the process; call it in the main thread."""
    for number in numbers:
        signal.signal(number, _remember)


def stop_mark() -> Path | None:
    """Return the file that a training leaves when it stops; None if no launcher asked for it."""
    name = os.environ.get(STOP_MARK_VARIABLE)
    return Path(name) if name else None


@contextmanager
def passed_on_to_children(*numbers: int) -> Iterator[None]:
    """Pass these signals on to the processes started by ``multiprocessing``, as :data:`STOP_SIGNAL`; repeat it every
    second, because a process that is just starting may miss the first.
    """
    owner = os.getpid()

    def begin(number: int, frame: FrameType | None) -> None:
        _remember(number, frame)
        if os.getpid() == owner:
            signal.setitimer(signal.ITIMER_REAL, 0.01, _SECONDS_BETWEEN)

    def pass_on(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            return
        for child in multiprocessing.active_children():
            if child.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, STOP_SIGNAL)

    # An ignored signal stays ignored: the process may have been started with nohup.
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = [(number, signal.signal(number, begin)) for number in heard]
    before.append((signal.SIGALRM, signal.signal(signal.SIGALRM, pass_on)))
    if stop_requested():
        signal.setitimer(signal.ITIMER_REAL, _SECONDS_BETWEEN, _SECONDS_BETWEEN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before:
            signal.signal(number, handler)


def _remember(number: int, frame: FrameType | None) -> None:
    _received.append(number)
