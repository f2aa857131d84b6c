"""A folder appears whole, once, and by one writer; a file is replaced whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import sys
import threading
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from memobert_plugin.core.errors import DiskFull, UserError
from memobert_plugin.core.files import is_standard_output, is_stream, replaced_when_complete, staged_folder


def test_the_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "x"
    with staged_folder(output, "mark") as folder:
        (folder / "mark").write_text("done")
        assert not output.exists()
    assert (output / "mark").read_text() == "done"
    assert [path.name for path in output.parent.iterdir()] == ["x"]


def test_an_earlier_result_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    output = tmp_path / "x"
    for content in ("first", "second"):
        with staged_folder(output, "mark", overwrite=True) as folder:
            assert not (output / "mark").exists() or (output / "mark").read_text() == "first"
            (folder / "mark").write_text(content)
    assert (output / "mark").read_text() == "second"
    with pytest.raises(ZeroDivisionError), staged_folder(output, "mark", overwrite=True):
        _ = 1 / 0
    assert (output / "mark").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_place_where_nothing_can_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(UserError, match=r"file/out: cannot be written \(.+\); choose another output"),
        staged_folder(tmp_path / "file" / "out", "marker"),
    ):
        pytest.fail("there is no folder to write")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_interruption_between_the_renames_costs_no_earlier_result(tmp_path: Path) -> None:
    """The process was killed when the earlier result had been moved aside and the new one was not yet in its place."""
    for name in (".x.replaced", ".x.writing"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mark").write_text(name)
    with pytest.raises(UserError, match="exists already"), staged_folder(tmp_path / "x", "mark"):
        pass
    assert (tmp_path / "x" / "mark").read_text() == ".x.replaced"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def _write(output: Path, start: Barrier, done: Barrier) -> None:
    start.wait()
    try:
        with staged_folder(output, "mark", overwrite=True) as folder:
            (folder / "mark").touch()
            done.wait(10)
    except UserError:
        done.wait(10)
        raise SystemExit(2) from None


def test_of_two_simultaneous_writers_one_is_refused(tmp_path: Path) -> None:
    """Both have tried before either may finish."""
    context = multiprocessing.get_context("fork")
    start, done = context.Barrier(2), context.Barrier(2)
    writers = [context.Process(target=_write, args=(tmp_path / "x", start, done)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(20)
    assert sorted(writer.exitcode or 0 for writer in writers) == [0, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted() -> None:
        with replaced_when_complete(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    with replaced_when_complete(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_replaced_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with replaced_when_complete(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "usual").stat().st_mode


def write(path: str | Path, content: str = "new") -> None:
    with replaced_when_complete(path, named_by_user=True) as temporary:
        temporary.write_text(content)


def test_a_link_that_the_user_did_not_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with (
        pytest.raises(UserError, match="link: is a link, a pipe or a device"),
        replaced_when_complete(tmp_path / "link"),
    ):
        pass
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "old"


def test_an_existing_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.touch(0o600)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path: Path, exists: bool) -> None:
    target, link, second = tmp_path / "folder" / "target.txt", tmp_path / "link", tmp_path / "second"
    target.parent.mkdir()
    if exists:
        target.write_text("old")
    link.symlink_to("folder/target.txt")
    second.symlink_to(link)
    write(second)
    assert second.is_symlink() and link.is_symlink() and target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_loop_of_links_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="symbolic links"):
        write(tmp_path / "a")
    assert (tmp_path / "a").is_symlink() and (tmp_path / "b").is_symlink()


@pytest.mark.parametrize("linked", [False, True])
def test_a_fifo_is_written_to_and_stays_a_fifo(tmp_path: Path, linked: bool) -> None:
    fifo, read = tmp_path / "fifo", []
    os.mkfifo(fifo)
    path = fifo
    if linked:
        path = tmp_path / "link"
        path.symlink_to(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()), daemon=True)
    reader.start()
    write(path)
    reader.join(10)
    assert read == ["new"] and stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_device_is_written_to_and_stays_a_device() -> None:
    master, terminal = os.openpty()
    path = os.ttyname(terminal)
    write(path)
    assert os.read(master, 10) == b"new" and stat.S_ISCHR(os.stat(path).st_mode)
    os.close(master)
    os.close(terminal)


def test_a_device_without_room_is_a_full_disk() -> None:
    if not is_stream("/dev/full"):
        pytest.skip("no /dev/full")
    with pytest.raises(DiskFull, match="/dev/full"):
        write("/dev/full")


def test_a_failed_block_sends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), replaced_when_complete("-", named_by_user=True):
        _ = 1 / 0
    assert capsys.readouterr().out == ""


PRINTED = """
import sys
from memobert_plugin.core.files import replaced_when_complete
print("before")
with replaced_when_complete(sys.argv[1], named_by_user=True) as temporary:
    temporary.write_text("content\\n")
print("after")
"""


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_goes_on_in_order_whatever_it_is(tmp_path: Path, name: str) -> None:
    """A file that standard output was redirected to must not be replaced: the next lines would be lost."""
    assert is_standard_output(name) and is_stream(name)
    typed = [sys.executable, "-c", PRINTED, name]
    piped = subprocess.run(typed, cwd=tmp_path, capture_output=True, text=True, check=True)
    with open(tmp_path / "out.txt", "w") as redirected:
        subprocess.run(typed, cwd=tmp_path, stdout=redirected, check=True)
    assert piped.stdout == (tmp_path / "out.txt").read_text() == "before\ncontent\nafter\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


def test_another_open_file_goes_on_from_where_it_is(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as stream:
        stream.write("before ")
        stream.flush()
        write(f"/dev/fd/{stream.fileno()}")
        stream.write(" after")
    assert (tmp_path / "log").read_text() == "before new after"
