"""A stopped run keeps its progress or fails; ranks tell each other when to train and when one has failed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from memobert_plugin.core.signals import STOP_MARK_VARIABLE
from memobert_plugin.sweep.records import RunFolder
from memobert_plugin.sweep.run_process import RunOptions, carry_out, rank_failed_mark, tell_ranks, train_with_first_rank
from tests.sweep.sweeps import script_run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv(STOP_MARK_VARIABLE, "")  # set inside; restored afterwards
    return RunFolder(tmp_path / "run")


def describe(folder: RunFolder, code: str) -> None:
    folder.write_description(script_run(folder.path.parent, "import/ranks", code).description)


def test_a_rank_waits_for_the_word_of_this_start(folder: RunFolder) -> None:
    describe(folder, "print('trained')")
    tell_ranks(folder, "7.0", train=True)  # of the start before
    timer = threading.Timer(0.3, tell_ranks, (folder, "7.1", False))
    timer.start()
    assert train_with_first_rank(folder, 1, "7.1", threads=1) == 0
    assert not (folder.path / "log.rank1.txt").exists()
    tell_ranks(folder, "7.2", train=True)
    assert train_with_first_rank(folder, 1, "7.2", threads=1) == 0
    assert (folder.path / "log.rank1.txt").read_text() == "trained\n"


def test_a_failing_rank_says_where_to_read(folder: RunFolder) -> None:
    describe(folder, "raise SystemExit('out of memory')")
    tell_ranks(folder, "7.0", train=True)
    assert train_with_first_rank(folder, 3, "7.0", threads=1) == 1
    assert rank_failed_mark(folder).exists()
    assert folder.last_lines(1)[0].endswith("rank 3 ended with status 1; see log.rank3.txt")


def test_without_other_ranks_nothing_is_written(folder: RunFolder) -> None:
    folder.path.mkdir()
    tell_ranks(folder, "", train=True)
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize(
    ("reached", "flags", "status", "why"),
    [
        (0, [], "failed", "5 times in a row before a single update"),
        (7, [], "stopped", "it goes on from here"),
        (7, ["--no-save-optimizer-state"], "failed", "5 times in a row before its end, and --no-save-optimizer-state"),
    ],
)
def test_a_run_that_keeps_nothing_of_five_starts_fails(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, reached: int, flags: list[str], status: str, why: str
) -> None:
    code = f"import os, pathlib; pathlib.Path(os.environ[{STOP_MARK_VARIABLE!r}]).write_text('{reached}')"
    description = script_run(folder.path.parent, "import/stopped", code).description
    description["commands"][0].extend(flags)
    folder.write_description(description)
    for attempt in range(5):
        assert folder.read_state().status == ("stopped" if attempt else "waiting")
        asked = iter([False, True])
        monkeypatch.setattr("memobert_plugin.sweep.run_process.stop_requested", lambda asked=asked: next(asked))
        carry_out(folder, RunOptions())
    assert folder.read_state().status == status
    assert why in folder.last_lines(1)[0]


def test_commands_that_end_between_stops_are_progress(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"import os, pathlib; pathlib.Path(os.environ[{STOP_MARK_VARIABLE!r}]).write_text('7')"
    description = script_run(folder.path.parent, "import/stopped", code, commands=3).description
    for command in description["commands"]:
        command.append("--no-save-optimizer-state")
    folder.write_description(description)
    # Of each start: asked before a command, and after it.
    for stops in ([False, True],) * 4 + ([False, False, False, True],) + ([False, True],) * 3:
        asked = iter(stops)
        monkeypatch.setattr("memobert_plugin.sweep.run_process.stop_requested", lambda asked=asked: next(asked))
        carry_out(folder, RunOptions())
    assert (folder.read_state().status, folder.read_state().idle_attempts) == ("stopped", 4)
