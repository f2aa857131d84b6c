"""Decide which runs may start now, and note how runs have ended."""

from __future__ import annotations

from collections.abc import Sequence

from .expansion import Run
from .records import DONE, FAILED, RUNNING, STOPPED, WAITING, RunFolder, RunState, SweepFolder


class Schedule:
    """The runs of a sweep in the order of the plan. Their states are read from the files of the runs.

    Args:
        sweep: the folder, prepared.
        runs: all runs, each after those it depends on.
        retry_failed: start runs again that failed earlier, from their last checkpoint.
    """

    def __init__(self, sweep: SweepFolder, runs: Sequence[Run], retry_failed: bool) -> None:
        self.sweep = sweep
        self.runs = {run.name: run for run in runs}
        self.statuses: dict[str, str] = {}
        for name in self.runs:
            state = self.folder(name).read_state()
            if state.status == FAILED and retry_failed:
                self.folder(name).change_state(status=WAITING, idle_attempts=0)
            keeps = state.status == DONE or (state.status == FAILED and not retry_failed)
            self.statuses[name] = state.status if keeps else WAITING

    def folder(self, name: str) -> RunFolder:
        """Return the folder of a run."""
        return self.sweep.run(name)

    def ready(self) -> list[Run]:
        """Return the runs that wait for no other run, in order."""
        return [
            run
            for run in self.runs.values()
            if self.statuses[run.name] == WAITING and all(self.statuses[name] == DONE for name in run.depends_on)
        ]

    def started(self, name: str) -> None:
        """Note that a run is under way."""
        self.statuses[name] = RUNNING

    def ended(self, name: str) -> RunState:
        """Note that the process or job of a run is gone, and return its state. A run that had begun and could not write
        down its end has failed.
        """
        state = self.folder(name).read_state()
        if state.status == RUNNING:
            self.folder(name).say("the process was ended from outside before it could write down its state")
            state = self.folder(name).change_state(status=FAILED)
        self.statuses[name] = state.status if state.status != WAITING else STOPPED
        return state

    def with_status(self, *statuses: str) -> list[str]:
        """Return the names of the runs with one of these statuses."""
        return [name for name, status in self.statuses.items() if status in statuses]

    def finished(self) -> int:
        """Count the runs that are done or have failed."""
        return len(self.with_status(DONE, FAILED))
