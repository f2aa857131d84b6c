"""Which runs may start now, which are under way, and how those that ended ended."""

from __future__ import annotations

from collections.abc import Sequence

from .expansion import Run
from .records import DONE, FAILED, RUNNING, STOPPED, WAITING, RunFolder, RunState, SweepFolder


class Schedule:
    """The runs of a sweep in the order of the plan. The states on disk are the truth: this is read from them.

    Args:
        sweep: the folder, prepared.
        runs: all runs, each behind those it depends on.
        retry_failed: whether runs that failed earlier start again, from their last checkpoint.
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
        """A run's folder."""
        return self.sweep.run(name)

    def ready(self) -> list[Run]:
        """Runs that wait for nothing any more, in order."""
        return [
            run
            for run in self.runs.values()
            if self.statuses[run.name] == WAITING and all(self.statuses[name] == DONE for name in run.depends_on)
        ]

    def started(self, name: str) -> None:
        """A run is under way."""
        self.statuses[name] = RUNNING

    def ended(self, name: str) -> RunState:
        """A run's process or job is gone; its state says how it ended. One that could not write that down has failed if
        it had begun.
        """
        state = self.folder(name).read_state()
        if state.status == RUNNING:
            self.folder(name).say("the process was ended from outside before it could write down its state")
            state = self.folder(name).change_state(status=FAILED)
        self.statuses[name] = state.status if state.status != WAITING else STOPPED
        return state

    def with_status(self, *statuses: str) -> list[str]:
        """Names of the runs with one of these statuses."""
        return [name for name, status in self.statuses.items() if status in statuses]

    def finished(self) -> int:
        """How many runs have ended well or not."""
        return len(self.with_status(DONE, FAILED))
