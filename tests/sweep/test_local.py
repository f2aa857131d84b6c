"""Runs on this machine: in their order, several at a time, a failing one without harm to the others, nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from memobert_plugin.sweep import run_process
from memobert_plugin.sweep.expansion import Run
from memobert_plugin.sweep.local import run_locally
from memobert_plugin.sweep.records import RunFolder, RunState, SweepFolder
from memobert_plugin.sweep.run_process import RunOptions
from memobert_plugin.sweep.schedule import Schedule
from tests.sweep.sweeps import script_run

NOTE = "import sys, pathlib\nwith open({journal!r}, 'a') as stream: print('{name}', sys.argv[1], file=stream)\n"


class Sweep:
    """A sweep of scripts that note in a journal when they run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "journal.txt"
        self.plan = folder / "plan.yaml"
        self.plan.touch()
        self.sweep = SweepFolder(folder / "sweep")
        self.announced: list[tuple[str, str]] = []

    def run_of(self, name: str, *depends_on: str, code: str = "", commands: int = 1) -> Run:
        note = NOTE.format(journal=str(self.journal), name=name)
        return script_run(self.folder, name, note + code, depends_on, commands)

    def launch(self, runs: list[Run], jobs: int = 2, retry_failed: bool = False) -> Schedule:
        self.announced.clear()
        with self.sweep.launched(self.plan) as lock:
            self.sweep.prepare(self.plan, runs)
            schedule = Schedule(self.sweep, runs, retry_failed)
            assert run_locally(schedule, jobs, RunOptions(), lock, self.announce) == 0
        return schedule

    def announce(self, name: str, state: RunState) -> None:
        self.announced.append((name, state.status))

    def lines(self) -> list[str]:
        return self.journal.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path)


def test_runs_start_when_what_they_need_is_done_and_are_not_repeated(sweep: Sweep) -> None:
    runs = [
        sweep.run_of("import/a"),
        sweep.run_of("import/b", "import/a", commands=2),
        sweep.run_of("import/c", "import/b"),
    ]
    sweep.launch(runs)
    assert sweep.lines() == ["import/a 1", "import/b 1", "import/b 2", "import/c 1"]
    state = sweep.sweep.run("import/b").read_state()
    assert (state.status, state.attempts, state.exit_status, state.finished_commands) == ("done", 1, 0, 2)
    assert state.started is not None and state.finished is not None and state.seconds > 0
    sweep.launch(runs)
    assert len(sweep.lines()) == 4 and sweep.announced == []


def test_a_failing_run_stops_only_what_needs_it_and_goes_on_where_it_was_on_request(sweep: Sweep) -> None:
    mended = str(sweep.folder / "mended")
    code = f"if sys.argv[1] == '2' and not pathlib.Path({mended!r}).exists(): sys.exit('broken disk')"
    runs = [
        sweep.run_of("import/bad", code=code, commands=3),
        sweep.run_of("import/other"),
        sweep.run_of("import/later", "import/bad"),
    ]
    schedule = sweep.launch(runs)
    assert sorted(sweep.announced) == [("import/bad", "failed"), ("import/other", "done")]
    assert schedule.with_status("waiting") == ["import/later"]
    folder = sweep.sweep.run("import/bad")
    assert folder.read_state().exit_status == 1
    assert "broken disk" in folder.last_lines(2)[0] and "ended with status 1" in folder.last_lines(1)[0]
    sweep.launch(runs)
    assert sweep.announced == []
    (sweep.folder / "mended").touch()
    sweep.launch(runs, retry_failed=True)
    assert sweep.announced == [("import/bad", "done"), ("import/later", "done")]
    assert [line for line in sweep.lines() if line.startswith("import/bad")] == [
        "import/bad 1", "import/bad 2", "import/bad 2", "import/bad 3"
    ]  # fmt: skip
    assert folder.read_state().attempts == 2


def test_several_at_a_time(sweep: Sweep) -> None:
    code = (
        "import time\nmark = pathlib.Path({mark!r})\nmark.touch()\nend = time.monotonic() + 20\n"
        "while not pathlib.Path({other!r}).exists() and time.monotonic() < end: time.sleep(0.02)\n"
        "sys.exit(not pathlib.Path({other!r}).exists())"
    )
    marks = [str(sweep.folder / name) for name in "xy"]
    runs = [
        sweep.run_of("import/x", code=code.format(mark=marks[0], other=marks[1])),
        sweep.run_of("import/y", code=code.format(mark=marks[1], other=marks[0])),
    ]
    assert sweep.launch(runs, jobs=2).with_status("done") == ["import/x", "import/y"]


def test_a_run_killed_from_outside_has_failed(sweep: Sweep) -> None:
    code = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)"
    sweep.launch([sweep.run_of("import/killed", code=code)])
    assert sweep.announced == [("import/killed", "failed")]
    assert "ended from outside" in sweep.sweep.run("import/killed").last_lines(1)[0]


def test_what_nobody_foresaw_is_a_failure_too(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(folder: RunFolder, key: str, train: bool) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(run_process, "tell_ranks", full_disk)
    sweep.launch([sweep.run_of("import/unlucky")])
    assert sweep.announced == [("import/unlucky", "failed")]
    assert "no space left on device" in sweep.sweep.run("import/unlucky").last_lines(1)[0]


def test_missing_predictions_are_a_failure(sweep: Sweep) -> None:
    run = sweep.run_of("import/silent")
    described = Run(run.name, run.kind, (), run.commands, {**run.description, "predictions": {"lva": "predictions/x"}})
    sweep.launch([described])
    assert sweep.announced == [("import/silent", "failed")]
    assert "predictions/x was not written" in sweep.sweep.run("import/silent").last_lines(1)[0]
