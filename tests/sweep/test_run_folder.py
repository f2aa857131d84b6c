"""A run's state survives being killed while it is written, and belongs to one process at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.sweep.records import RunFolder, RunState


def test_state_of_a_run_never_started(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "run").read_state() == RunState("waiting", 0)


def test_changes_keep_the_other_values(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.change_state(status="running", attempts=2, host="here")
    folder.change_state(status="done", exit_status=0)
    assert folder.read_state() == RunState("done", 2, exit_status=0, host="here")
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_states_of_another_release_are_read(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"status": "done", "attempts": 1, "mood": "good"}', encoding="utf-8")
    assert RunFolder(tmp_path).read_state() == RunState("done", 1)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"status": "do', encoding="utf-8")
    with pytest.raises(UserError, match=r"state\.json: damaged"):
        RunFolder(tmp_path).read_state()
    with pytest.raises(UserError, match=r"run\.json: missing or damaged"):
        RunFolder(tmp_path).read_description()


def test_last_lines_are_whole_lines(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.last_lines(2) == []
    folder.log.write_text(f"begin\n{'values ' * 200}\nerror: one\n\nended\n", encoding="utf-8")
    assert folder.last_lines(3) == ["error: one", "ended"]
    folder.log.write_text("one\ntwo\n", encoding="utf-8")
    assert folder.last_lines(8) == ["one", "two"]
    folder.log.write_text("x" * 5000, encoding="utf-8")
    assert folder.last_lines(2) == ["x" * 800]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.is_owned()
    with folder.owned():
        assert folder.is_owned()
        with pytest.raises(UserError, match="another process is working on this run"), folder.owned(patience=0):
            pass
    assert not folder.is_owned()


def test_a_run_is_owned_as_long_as_a_process_forked_for_it_lives(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    folder = RunFolder(tmp_path)
    with folder.owned():
        child = os.fork()
        if not child:
            os.read(reading, 1)
            os._exit(0)
    assert folder.is_owned()
    os.write(writing, b".")
    os.waitpid(child, 0)
    assert not folder.is_owned()


def test_the_end_of_the_log(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.last_lines(3) == []
    folder.log.write_text("\n".join(f"line {number}" for number in range(1000)) + "\n\n", encoding="utf-8")
    assert folder.last_lines(2) == ["line 998", "line 999"]
