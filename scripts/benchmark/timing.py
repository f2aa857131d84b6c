"""Times taken in turn within one run, so that whatever else the machine does weighs on every candidate alike."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

Rounds = dict[str, list[float]]
"""For every candidate its seconds in each round."""


def in_turn(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    unmeasured: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Rounds:
    """Call every candidate once per round, each round beginning with another one.

    Args:
        candidates: what is measured, by name. A candidate that uses a GPU has to wait for it before it returns.
        rounds: measured rounds.
        unmeasured: rounds before them, in which caches fill and memory is asked for.
        clock: gives the seconds; ``time.process_time`` where other work runs on the machine.

    Returns:
        ``rounds`` seconds per candidate, round by round.
    """
    names = list(candidates)
    seconds: Rounds = {name: [] for name in names}
    for number in range(unmeasured + rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            started = clock()
            candidates[name]()
            if number >= unmeasured:
                seconds[name].append(clock() - started)
    return seconds


def median_ratio(seconds: Rounds, numerator: str, denominator: str) -> float:
    """Median over the rounds of one candidate's time divided by another's of the same round."""
    pairs = zip(seconds[numerator], seconds[denominator], strict=True)
    return statistics.median(above / below for above, below in pairs)


def medians(seconds: Rounds) -> dict[str, float]:
    """Every candidate's median in seconds."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine() -> dict[str, object]:
    """What the numbers depend on: processor, cores, threads, versions and, where there is one, the GPU."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def write_result(path: Path | None, benchmark: str, result: Mapping[str, object]) -> None:
    """Write numbers and machine as JSON, if a file is asked for."""
    if path is not None:
        text = json.dumps({"benchmark": benchmark, "machine": machine(), **result}, indent=2)
        path.write_text(text + "\n", encoding="utf-8")


def wait_for(device: str) -> None:
    """Return when everything that was sent to the device is done; a CPU is never behind."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
