"""What ``memobert-sweep status`` says: counts, the time left from finished runs, failures and the end of their logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from memobert_plugin.sweep.progress import RunProgress, as_duration, expected_seconds, read_progress, status_lines
from memobert_plugin.sweep.records import RunState, SweepFolder
from tests.sweep.sweeps import script_run


def progress(
    status: str, seconds: float = 0.0, fraction: float = 1.0, group: str = "emotion/direct/full"
) -> RunProgress:
    return RunProgress("name", group, (group, fraction, 2), RunState(status, seconds=seconds))


def test_expected_time_comes_from_runs_that_are_alike() -> None:
    finished = [progress("done", 10), progress("done", 20), progress("done", 2, fraction=0.1)]
    assert expected_seconds([*finished, progress("waiting"), progress("waiting", fraction=0.1)]) == 15 + 2
    assert expected_seconds([*finished, progress("stopped", 5)]) == 10
    assert expected_seconds([*finished, progress("waiting", group="emotion/mult/full")]) == pytest.approx(32 / 3)
    assert expected_seconds([*finished, progress("waiting", group="pretraining/full")]) is None
    assert expected_seconds([*finished, progress("failed")]) == 0


def test_the_summary(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.touch()
    sweep = SweepFolder(tmp_path / "sweep")
    names = ("import/a", "import/b", "import/c", "import/d")
    with sweep.launched(plan):
        sweep.prepare(plan, [script_run(tmp_path, name, "") for name in names])
    sweep.run("import/a").change_state(status="done", attempts=1, seconds=120.0)
    sweep.run("import/b").change_state(status="failed", attempts=1, exit_status=7)
    sweep.run("import/b").log.write_text("one\nno space left on device\n", encoding="utf-8")
    sweep.run("import/c").change_state(status="running", attempts=1)
    text = "\n".join(status_lines(sweep))
    assert "failed: import/b (exit status 7)" in text and "no space left on device" in text
    assert "time left: about 4 min with 1 at a time (from the seconds of 1 finished runs)" in text
    assert [run.state.status for run in read_progress(sweep)] == ["done", "failed", "stopped", "waiting"]
    with sweep.run("import/c").owned():
        assert read_progress(sweep)[2].state.status == "running"


def test_a_stopped_run_whose_job_is_back_in_the_queue_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tmp_path / "plan.yaml"
    plan.touch()
    sweep = SweepFolder(tmp_path / "sweep")
    with sweep.launched(plan):
        sweep.prepare(plan, [script_run(tmp_path, name, "") for name in ("import/a", "import/b", "import/c")])
    sweep.run("import/a").change_state(status="stopped", attempts=1, job="7")
    sweep.run("import/b").change_state(status="stopped", attempts=1, job="8")
    sweep.run("import/c").change_state(status="stopped", attempts=1)
    monkeypatch.setattr("memobert_plugin.sweep.progress.queued_jobs", lambda: frozenset({"7"}))
    assert [run.state.status for run in read_progress(sweep)] == ["waiting", "stopped", "stopped"]


def test_durations() -> None:
    assert [as_duration(seconds) for seconds in (45, 720, 12000)] == ["45 s", "12 min", "3 h 20 min"]
