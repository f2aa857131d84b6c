"""Flags of every command, notes and progress: a bar on a terminal, lines elsewhere, nothing after -q."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from memobert_plugin.core import console
from memobert_plugin.core.console import CommandParser, detail, going_on, note, progress, run_command, say, tracked
from memobert_plugin.core.errors import Interrupted, UserError
from memobert_plugin.core.names import counted


def parse(*arguments: str) -> None:
    parser = CommandParser(command="x")
    kinds = parser.add_subparsers()
    kinds.add_parser("kind")
    parser.parse_args(arguments)


def speak() -> None:
    say("a summary")
    note("a remark")
    detail("a detail")


def test_notes_and_errors_call_a_temporary_file_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_names", {})
    copy = tmp_path / "copy.tsv"
    console.name_in_messages(copy, "standard input")
    note(f"{copy}: a remark")
    console.say(f"{copy}: done")

    def fails() -> None:
        raise UserError(f"{copy}, row 3: a mistake")

    with pytest.raises(SystemExit):
        run_command(fails)
    printed = capsys.readouterr()
    said = printed.err
    assert printed.out == "standard input: done\n"
    assert "note: standard input: a remark\n" in said and "error: standard input, row 3: a mistake\n" in said


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["-q"], ("", "")),
        ([], ("a summary\n", "x: note: a remark\n")),
        (["kind", "--verbose"], ("a summary\n", "x: note: a remark\nx: a detail\n")),
    ],
)
def test_quiet_and_verbose_choose_what_is_printed(
    flags: list[str], told: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["x"])
    parse(*flags)
    speak()
    assert capsys.readouterr() == told


def test_the_next_command_of_a_process_is_not_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    parse("-q")
    parse()
    say("heard")
    assert capsys.readouterr().out == "heard\n"


@pytest.mark.parametrize(("started_as", "shown"), [("memobert x", "memobert x"), ("/bin/memobert-x", "memobert-x")])
def test_usage_names_the_command_as_typed(started_as: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [started_as])
    assert CommandParser(command="x").format_usage().startswith(f"usage: {shown} ")


def test_progress_in_a_log_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    for _ in tracked(range(12), 12, "acoustic"):
        now[0] += 10.0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "acoustic: 3 of 12 utterances, 10 s each, 1:30 left"
    assert len(lines) == 4


def test_film_seconds_are_shown_as_times(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with progress(7200.0, "films", "s") as advance:
        now[0] = 60.0
        advance(120.0)
    assert capsys.readouterr().err == "films: 2:00 of 2:00:00, 2 times real time, 59:00 left\n"


def test_nothing_is_shown_after_quiet_or_where_work_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(tracked(range(3), 3, "short")) == [0, 1, 2]
    parse("-q")
    assert list(tracked(range(3), 3, "quiet")) == [0, 1, 2]
    parse()
    assert capsys.readouterr() == ("", "")


def test_an_interruption_says_how_to_go_on() -> None:
    with pytest.raises(Interrupted, match="start again"), going_on("start again"):
        raise KeyboardInterrupt
    with pytest.raises(Interrupted, match="the inner knows more"), going_on("start again"):
        raise Interrupted("the inner knows more")


BAR = """
import sys
from memobert_plugin.core.console import tracked
for index in tracked(range(40), 40, "acoustic"):
    if index == 5:
        print("a result", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
def test_a_terminal_shows_a_bar_with_rate_and_time_left(tmp_path: Path) -> None:
    import pty
    import subprocess

    leader, follower = pty.openpty()
    with open(tmp_path / "out", "wb") as out:
        started = subprocess.Popen(
            [sys.executable, "-c", BAR],
            stdout=out,
            stderr=follower,
            env={**os.environ, "COLUMNS": "100", "TERM": "xterm"},
        )
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            shown += part
        assert started.wait(30) == 0
    os.close(leader)
    text = shown.decode()
    assert "acoustic" in text and "40 of 40 utterances" in text and "per second" in text and "━" in text
    assert (tmp_path / "out").read_text() == "a result\n"  # the bar does not touch redirected results


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("x.tsv: empty"), 2, "x: error: x.tsv: empty\n"),
        (KeyboardInterrupt(), 130, "x: interrupted\n"),
        (Interrupted("3 of 9 are done"), 130, "x: interrupted; 3 of 9 are done\n"),
    ],
)
def test_mistakes_and_interruptions_end_in_one_line(
    error: BaseException,
    status: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def main() -> int:
        raise error

    monkeypatch.setattr(sys, "argv", ["/bin/x"])
    with pytest.raises(SystemExit) as left:
        run_command(main)
    assert left.value.code == status and capsys.readouterr().err == line


def test_a_closed_standard_input_is_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def main() -> int:
        read.append(sys.stdin.buffer.read())
        sys.stdin.close()
        return 0

    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SystemExit) as left:
        run_command(main)
    assert left.value.code == 0 and read == [b""]


INTERRUPTED_IMPORT = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
except KeyboardInterrupt:
    raise ImportError("numpy says such things of an import that was interrupted")
"""
COMMAND = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from memobert_plugin.core.console import run_command
def main():
    import interrupted
    time.sleep(60)
sys.argv = ["x"]
run_command(main)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends processes there")
def test_control_c_amid_an_import_is_one_line(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "interrupted.py").write_text(INTERRUPTED_IMPORT)
    python_path = os.pathsep.join([str(tmp_path), *sys.path])
    finished = subprocess.run(
        [sys.executable, "-c", COMMAND],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": python_path},
        check=False,
        timeout=30,
    )
    assert (finished.returncode, finished.stderr) == (130, "x: interrupted\n")


@pytest.mark.parametrize(("count", "said"), [(0, "0 clips"), (1, "1 clip"), (2, "2 clips"), (1.0, "1 clip")])
def test_one_thing_is_singular(count: float, said: str) -> None:
    assert counted(count, "clip") == said
