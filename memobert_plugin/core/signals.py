"""Being asked to stop: a signal sets a flag, which whoever works looks at when it suits.

A cluster announces the end of a job by SIGUSR2 (what submitit asks SLURM for; NCCL may use SIGUSR1) and ends it by
SIGTERM some seconds later. Launchers pass both on to the processes they started as SIGUSR2; those that train look at
the flag after each update (:mod:`memobert_plugin.tasks.stopping`).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

STOP_SIGNAL = signal.SIGUSR2
STOP_MARK_VARIABLE = "MEMOBERT_STOP_MARK"
"""Names the file by which a training tells that it has saved and stopped before its end, as the host's exit status
does not; training listens to the signal where this variable is set."""

_SECONDS_BETWEEN = 1.0

_received: list[int] = []


def stop_requested() -> bool:
    """Whether a signal has asked this process, or the one it was forked from, to stop."""
    return bool(_received)


def received_signals() -> tuple[int, ...]:
    """All signals so far that asked to stop."""
    return tuple(_received)


def listen(*numbers: int) -> None:
    """From now on these signals ask to stop instead of ending the process. Only in the main thread."""
    for number in numbers:
        signal.signal(number, _remember)


def stop_mark() -> Path | None:
    """The file to leave on stopping; None where nobody asks for it."""
    name = os.environ.get(STOP_MARK_VARIABLE)
    return Path(name) if name else None


@contextmanager
def passed_on_to_children(*numbers: int) -> Iterator[None]:
    """While inside, these signals are passed on to the processes started by ``multiprocessing``, as
    :data:`STOP_SIGNAL`, and repeated every second, because one that is just starting or writing may miss the first.
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

    # Whoever started this with nohup, say, does not want to be asked.
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
