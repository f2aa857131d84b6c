"""What processes hold in memory, told apart by whether it would be there without them, and how long they take."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

_LOOK_EVERY = 0.02


def memory_of(process: int | str = "self") -> dict[str, float]:
    """MiB of one process.

    ``resident`` counts every page in memory, also those of mapped files, which the system takes back at will;
    ``unshared`` the pages that this process alone has written; ``anonymous`` those that belong to no file, whether it
    has them from its parent or not; ``peak`` the most that was resident at any time.
    """
    rollup = _kilobytes(Path("/proc", str(process), "smaps_rollup"))
    status = _kilobytes(Path("/proc", str(process), "status"))
    return {
        "resident": rollup["Rss"] / 1024,
        "unshared": rollup["Private_Dirty"] / 1024,
        "anonymous": rollup["Anonymous"] / 1024,
        "peak": status["VmHWM"] / 1024,
    }


def children(process: int | str = "self") -> list[int]:
    """The processes that one has started and that still run."""
    found = []
    for task in Path("/proc", str(process), "task").iterdir():
        found += map(int, (task / "children").read_text(encoding="utf-8").split())
    return found


def processor_seconds() -> float:
    """Seconds that this process and its finished children have computed; unlike the clock's, other jobs add little."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def run_measured(command: Sequence[str]) -> tuple[float, float]:
    """Seconds that a command takes, and the most MiB that it or a process below it had resident.

    Raises:
        RuntimeError: it failed; the message holds what it printed.
    """
    started = time.perf_counter()
    peak = 0.0
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, *(_peak(member) for member in (process.pid, *_below(process.pid))))
            time.sleep(_LOOK_EVERY)
        seconds = time.perf_counter() - started
        if process.returncode:
            printed.seek(0)
            raise RuntimeError(f"{command[0]} ended with status {process.returncode}: {printed.read().decode()}")
    return seconds, peak


def _peak(process: int) -> float:
    """MiB that one had resident at most, 0 if it has ended; what wait() tells begins with what its parent had."""
    try:
        return _kilobytes(Path("/proc", str(process), "status")).get("VmHWM", 0) / 1024
    except OSError:
        return 0.0


def _below(process: int) -> list[int]:
    found = [process]
    for one in found:
        with contextlib.suppress(OSError):
            found += children(one)
    return found[1:]


def open_files() -> int:
    """How many files, pipes and pieces of shared memory this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def _kilobytes(path: Path) -> dict[str, int]:
    """The lines ``Name:   123 kB`` of a file of the kernel's."""
    sizes = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if value.endswith("kB"):
            sizes[name] = int(value.split()[0])
    return sizes
