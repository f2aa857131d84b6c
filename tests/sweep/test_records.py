"""A sweep's folder has one launcher, and never mixes the runs of two plans."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.sweep.expansion import Run
from memobert_plugin.sweep.records import RunState, SweepFolder
from tests.sweep.sweeps import script_run


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text("name: tiny\n", encoding="utf-8")
    return path


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return script_run(tmp_path, "import/one", "")


def with_argument(run: Run, *words: str) -> Run:
    commands = [[*command, *words] for command in run.commands]
    return replace(run, description={**run.description, "commands": commands})


def test_what_is_written_before_anything_starts(tmp_path: Path, plan: Path, run: Run) -> None:
    sweep = SweepFolder(tmp_path / "runs" / "tiny")
    with sweep.launched(plan):
        sweep.prepare(plan, [run])
    assert (sweep.path / "plan.yaml").read_text() == plan.read_text()
    assert json.loads((sweep.path / "sweep.json").read_text())["format"] == 1
    assert json.loads((sweep.path / "import/one/run.json").read_text()) == json.loads(json.dumps(run.description))
    assert json.loads((sweep.path / "import/one/state.json").read_text())["status"] == "waiting"
    assert sweep.names() == ["import/one"]


def test_a_second_launcher_is_refused(tmp_path: Path, plan: Path) -> None:
    path = tmp_path / "sweep"
    with (
        SweepFolder(path).launched(plan),
        pytest.raises(UserError, match="another memobert-sweep is at work there"),
        SweepFolder(path).launched(plan),
    ):
        pass
    with SweepFolder(path).launched(plan):
        pass


def test_a_folder_of_something_else_is_refused(tmp_path: Path, plan: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").touch()
    with pytest.raises(UserError, match="holds something else"), SweepFolder(tmp_path / "thesis").launched(plan):
        pass
    with pytest.raises(UserError, match="give the folder that memobert-sweep made"):
        SweepFolder(tmp_path / "thesis").names()


def test_a_run_that_was_started_is_never_given_other_values(tmp_path: Path, plan: Path, run: Run) -> None:
    sweep = SweepFolder(tmp_path / "sweep")
    with sweep.launched(plan):
        sweep.prepare(plan, [run])
        sweep.prepare(plan, [with_argument(run, "--lr", "2")])
        sweep.run(run.name).change_state(status="done", attempts=1)
        with pytest.raises(UserError, match=r"import/one: was started with other values .*--lr 2, now 3"):
            sweep.prepare(plan, [with_argument(run, "--lr", "3")])
        with pytest.raises(UserError, match="--lr 2 left out"):
            sweep.prepare(plan, [run])
        grown = replace(run, description={**run.description, "candidates": [{"lr": 2}, {"lr": 3}]})
        with pytest.raises(UserError, match="1 to choose among by its grid or search, now 2"):
            sweep.prepare(plan, [grown])


def test_runs_before_and_after_a_change_of_the_frames_are_not_mixed(tmp_path: Path, plan: Path, run: Run) -> None:
    sweep = SweepFolder(tmp_path / "sweep")
    before, after, unknown = (
        replace(run, description={**run.description, **more}) for more in ({"features": ["a"]}, {"features": ["b"]}, {})
    )
    with sweep.launched(plan):
        sweep.prepare(plan, [unknown])
        sweep.run(run.name).change_state(status="stopped", attempts=1)
        sweep.prepare(plan, [before])  # an earlier version did not note them
        with pytest.raises(UserError, match=r"other values than the plan's \(words or frames of its data-bin, which"):
            sweep.prepare(plan, [after])


def in_place(run: Run, project: Path, sweep: Path, lr: str = "1") -> Run:
    """The run as a plan in a project's folder describes it."""
    commands = [["fairseq-train", f"{project}/data-bin", "--lr", lr, "--save-dir", f"{sweep}/{run.name}/checkpoints"]]
    return replace(
        run, description={**run.description, "commands": commands, "corpus": {"path": f"{project}/data-bin"}}
    )


@pytest.mark.parametrize("whole", [True, False])
def test_a_sweep_that_was_moved_goes_on(tmp_path: Path, plan: Path, run: Run, whole: bool) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    sweep = SweepFolder(before / "runs" / "x")
    sweep.path.mkdir(parents=True)
    with sweep.launched(plan):
        sweep.prepare(plan, [in_place(run, before, sweep.path)])
        sweep.run(run.name).change_state(status="done", attempts=1)
    if whole:
        before.rename(after)
        moved, project = SweepFolder(after / "runs" / "x"), after
    else:
        moved, project = SweepFolder(sweep.path.rename(tmp_path / "x")), before
    with moved.launched(plan):
        with pytest.raises(UserError, match="--lr 1, now 2"):
            moved.prepare(plan, [in_place(run, project, moved.path, lr="2")])
        with pytest.raises(UserError, match=r"before/data-bin, now .*elsewhere/data-bin"):
            moved.prepare(plan, [in_place(run, tmp_path / "elsewhere", moved.path)])
        now = in_place(run, project, moved.path)
        moved.prepare(plan, [now])
    assert moved.run(run.name).read_description() == json.loads(json.dumps(now.description))
    assert moved.run(run.name).read_state().status == "done"


def test_a_plan_may_name_flags_in_another_order(tmp_path: Path, plan: Path, run: Run) -> None:
    sweep = SweepFolder(tmp_path / "sweep")
    with sweep.launched(plan):
        sweep.prepare(plan, [with_argument(run, "--lr", "2", "--cpu", "--seed", "-1")])
        sweep.run(run.name).change_state(status="done", attempts=1)
        sweep.prepare(plan, [with_argument(run, "--seed", "-1", "--lr", "2", "--cpu")])
        with pytest.raises(UserError, match=r"was started with other values .*--lr 2, now -1"):
            sweep.prepare(plan, [with_argument(run, "--seed", "2", "--lr", "-1", "--cpu")])


def test_a_failed_run_that_saved_nothing_starts_again_with_other_values(tmp_path: Path, plan: Path, run: Run) -> None:
    sweep = SweepFolder(tmp_path / "sweep")
    folder = sweep.run("import/one")
    with sweep.launched(plan):
        sweep.prepare(plan, [with_argument(run, "--template", "it was .")])
        folder.change_state(status="failed", attempts=1, exit_status=2)
        folder.log.write_text("error: no [MASK]\n", encoding="utf-8")
        sweep.prepare(plan, [with_argument(run, "--template", "it was .")])
        assert folder.read_state().status == "failed"
        mended = with_argument(run, "--template", "it was [MASK] .")
        sweep.prepare(plan, [mended])
        assert folder.read_state() == RunState() and not folder.log.exists()
        assert folder.read_description() == json.loads(json.dumps(mended.description))


@pytest.mark.parametrize("trace", ["checkpoint", "finished command", "queued job"])
def test_a_failed_run_with_something_to_keep_is_not_given_other_values(
    tmp_path: Path, plan: Path, run: Run, trace: str
) -> None:
    sweep = SweepFolder(tmp_path / "sweep")
    folder = sweep.run("import/one")
    with sweep.launched(plan):
        sweep.prepare(plan, [run])
        folder.change_state(status="failed", attempts=1, finished_commands=int(trace == "finished command"))
        if trace == "checkpoint":
            folder.checkpoints.mkdir()
            (folder.checkpoints / "checkpoint_1_20.pt").touch()
        folder.note_submission("7")
        with pytest.raises(UserError, match="was started with other values"):
            sweep.prepare(plan, [with_argument(run, "--lr", "2")], {"7"} if trace == "queued job" else ())


def test_flags_about_carrying_out_a_run_may_change(tmp_path: Path, plan: Path, run: Run) -> None:
    sweep = SweepFolder(tmp_path / "sweep")
    with sweep.launched(plan):
        sweep.prepare(plan, [with_argument(run, "--user-dir", "/here", "--distributed-world-size", "1")])
        sweep.run(run.name).change_state(status="stopped", attempts=1)
        moved = with_argument(run, "--user-dir", "/there", "--distributed-world-size", "1")
        sweep.prepare(plan, [moved])
    assert "/there" in sweep.run(run.name).read_description()["commands"][0]


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path, plan: Path, run: Run) -> None:
    """Which did not record what this version knows, and called settings by other names."""
    sweep = SweepFolder(tmp_path / "sweep")
    known = {**run.description, "started_from": ""}
    with sweep.launched(plan):
        sweep.prepare(plan, [replace(run, description=known)])
        sweep.run(run.name).change_state(status="stopped", attempts=1)
        with pytest.raises(UserError, match="started_from: '', now 'elsewhere'"):
            sweep.prepare(plan, [replace(run, description={**known, "started_from": "elsewhere"})])
        sweep.prepare(plan, [replace(run, description={**run.description, "setting_note": "new", "held_out": "x"})])


def test_a_plan_may_grow(tmp_path: Path, plan: Path, run: Run) -> None:
    sweep = SweepFolder(tmp_path / "sweep")
    with sweep.launched(plan):
        sweep.prepare(plan, [run])
        sweep.run(run.name).change_state(status="done", attempts=1)
        plan.write_text("name: larger\n", encoding="utf-8")
        sweep.prepare(plan, [run, script_run(tmp_path, "import/two", "")])
    assert sweep.run(run.name).read_state().status == "done" and sweep.names() == ["import/one", "import/two"]
    assert (sweep.path / "plan.yaml").read_text() == "name: larger\n"
