"""A folder appears whole, once, and by one writer; a file is replaced whole or not at all."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.core.files import replaced_when_complete, staged_folder


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
