"""A folder that appears under its name when it is complete, written by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from .errors import UserError, room_is_needed


def taken(descriptor: int) -> bool:
    """Whether this process now holds the lock of an open file; it does until the file is closed.

    Linux passes these locks on to the other machines of an NFS mount (where that is not mounted with ``nolock`` or
    ``local_lock``). A file system that knows no locks cannot refuse anybody: there every process holds it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


class OutputBusy(UserError):
    """Another process is writing the same output."""


def refuse_existing(output: str | os.PathLike[str], marker: str, overwrite: bool) -> None:
    """Raise :class:`UserError` unless ``output`` is free, or holds ``marker`` and may be overwritten."""
    path = Path(output)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / marker).is_file():
        raise UserError(f"{output}: exists and holds something else (no {marker}); choose another output")
    if not overwrite:
        raise UserError(f"{output}: exists already; remove it, choose another output or give --overwrite")


@contextmanager
def staged_folder(output: str | os.PathLike[str], marker: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty sibling of ``output`` that takes its name when the block ends and is removed when it fails.

    What a killed process left behind is removed by the next one.

    Args:
        output: the folder to be; its parents are made.
        marker: a file by which an earlier result is recognised; nothing else is ever overwritten.
        overwrite: replace an earlier result.

    Raises:
        OutputBusy: another process is writing the same output.
        DiskFull: there is no room for it; an earlier result still stands.
        UserError: ``output`` exists.
    """
    target = Path(output).resolve()
    with room_is_needed(output), written_by_one(output):
        staging = target.with_name(f".{target.name}.writing")
        replaced = target.with_name(f".{target.name}.replaced")
        _clear(target, staging, replaced)
        refuse_existing(output, marker, overwrite)
        staging.mkdir()
        try:
            yield staging
            if target.exists():
                os.rename(target, replaced)
            os.rename(staging, target)
        finally:
            _clear(target, staging, replaced)


def _clear(target: Path, staging: Path, replaced: Path) -> None:
    """Remove what an interruption left; one between the two renames had already taken the earlier result away."""
    if replaced.exists() and not target.exists():
        os.rename(replaced, target)
    for leftover in (staging, replaced):
        shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def written_by_one(output: str | os.PathLike[str]) -> Iterator[None]:
    """Be the only process that writes ``output``; its parents are made.

    The lock's file lies beside the output and is removed in the end, so it must still be the one that was locked.

    Raises:
        OutputBusy: another process is writing it.
    """
    target = Path(output).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.lock")
    while True:
        with open(path, "a") as stream:
            if not taken(stream.fileno()):
                raise OutputBusy(f"{output}: another process is writing it; wait for it or choose another output")
            if not path.exists() or not os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                continue
            try:
                yield
            finally:
                path.unlink()
            return


PathLike = TypeVar("PathLike", bound="str | os.PathLike[str]")


def regular(path: PathLike) -> PathLike:
    """Return ``path`` if it may be opened for reading.

    Symbolic links are followed. A folder passes, since opening it fails anyway, with the system's own words.

    Raises:
        OSError: there is nothing, or a device, pipe or socket.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return path
    raise OSError(errno.ENODEV, "a device or pipe, not a file", str(path))


@contextmanager
def replaced_when_complete(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary sibling to write to; it replaces ``path`` when the block ends and vanishes when it fails.

    Raises:
        DiskFull: there is no room for it; what stood there before still stands.
    """
    with room_is_needed(path), _sibling(Path(path)) as temporary:
        yield temporary
        os.replace(temporary, path)


@contextmanager
def _sibling(path: Path) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(prefix=".writing-", suffix=path.suffix, dir=path.parent)
    os.close(descriptor)
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(name, 0o666 & ~mask)
    try:
        yield Path(name)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
