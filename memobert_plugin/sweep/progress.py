"""Summarise a sweep: counts, the time that is left, and the failures."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..core.slurm import queued_jobs
from .records import DONE, FAILED, RUNNING, STATUSES, STOPPED, WAITING, RunState, SweepFolder

LOG_LINES = 8


@dataclass(frozen=True)
class RunProgress:
    """One run in the summary.

    Attributes:
        name: the run's.
        group: such as ``emotion/pretrain_prompt/full``.
        alike: values that its duration is expected to depend on.
        state: as written, but ``stopped`` for a ``running`` run that no process works on, and ``waiting`` for a
            ``stopped`` run whose job is back in SLURM's queue.
    """

    name: str
    group: str
    alike: tuple[Any, ...]
    state: RunState


def read_progress(sweep: SweepFolder) -> list[RunProgress]:
    """Read the state of all runs of a sweep.

    Raises:
        UserError: it is no sweep's folder, or a file in it is damaged.
    """
    found = []
    queued: frozenset[str] | None = None
    for name in sweep.names():
        folder = sweep.run(name)
        description, state = folder.read_description(), folder.read_state()
        if state.status in (RUNNING, STOPPED) and not folder.is_owned():
            if state.job is not None and queued is None:
                queued = queued_jobs() or frozenset()
            if state.job is None or state.job not in (queued or ()):
                state = replace(state, status=STOPPED)
            elif state.status == STOPPED:
                state = replace(state, status=WAITING)
        group = "/".join(name.split("/")[: 3 if description["kind"] == "emotion" else 2])
        alike = (group, description.get("train_fraction"), len(description["commands"]))
        found.append(RunProgress(name, group, alike, state))
    return found


def expected_seconds(progress: Sequence[RunProgress]) -> float | None:
    """Estimate the seconds of work that are left, from the mean of finished runs that are alike, else of the same
    group, else of the same kind; None where no finished run tells.
    """
    seconds: dict[Any, list[float]] = defaultdict(list)
    for run in progress:
        if run.state.status == DONE:
            for key in _keys(run):
                seconds[key].append(run.state.seconds)
    total = 0.0
    for run in progress:
        if run.state.status in (DONE, FAILED):
            continue
        known = next((seconds[key] for key in _keys(run) if key in seconds), None)
        if known is None:
            return None
        spent = run.state.seconds
        if run.state.status == RUNNING and run.state.started:
            spent += time.time() - datetime.fromisoformat(run.state.started).timestamp()
        total += max(0.0, sum(known) / len(known) - spent)
    return total


def status_lines(sweep: SweepFolder) -> list[str]:
    """Return the whole summary, line by line."""
    from tabulate import tabulate

    progress = read_progress(sweep)
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(STATUSES, 0))
    for run in progress:
        counts[run.group][run.state.status] += 1
        counts["all"][run.state.status] += 1
    groups = [*(name for name in counts if name != "all"), "all"]
    shown = [DONE, RUNNING, WAITING, STOPPED, FAILED]
    rows = [[group, *(counts[group][status] or "" for status in shown)] for group in groups]
    lines = tabulate(rows, headers=["", *shown]).splitlines()
    running = counts["all"][RUNNING]
    left = sum(counts["all"][status] for status in (RUNNING, WAITING, STOPPED))
    if left:
        lines += ["", _time_left(expected_seconds(progress), max(1, running), counts["all"][DONE])]
    return lines + failure_lines(sweep, [run.name for run in progress if run.state.status == FAILED])


def failure_lines(sweep: SweepFolder, names: Iterable[str]) -> list[str]:
    """Return the failed runs with the end of their logs."""
    lines = []
    for name in names:
        folder = sweep.run(name)
        lines += ["", f"failed: {name} (exit status {folder.read_state().exit_status}); end of {folder.log}:"]
        lines += [f"    {line[:300]}" for line in folder.last_lines(LOG_LINES)]
    return lines


def as_duration(seconds: float) -> str:
    """Format seconds: ``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def _keys(run: RunProgress) -> tuple[Any, ...]:
    return run.alike, run.group, run.group.partition("/")[0]


def _time_left(seconds: float | None, at_a_time: int, finished: int) -> str:
    if seconds is None:
        return "time left: unknown until runs of each kind have finished"
    return (
        f"time left: about {as_duration(seconds / at_a_time)} with {at_a_time} at a time "
        f"(from the seconds of {finished} finished runs)"
    )
