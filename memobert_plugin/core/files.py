"""Write files and folders completely or not at all, and one process at a time."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from .errors import NO_ROOM, UserError, room_is_needed


def taken(descriptor: int) -> bool:
    """Try to lock an open file and tell whether this process now holds the lock, which lasts until the file is closed.

    On NFS the lock holds across machines unless the mount has ``nolock`` or ``local_lock``. On a file system without
    locks the answer is always True.
    """
    from filelock import lock_descriptor

    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:
        return True


class OutputBusy(UserError):
    """Error for an output that another process is writing."""


def refuse_existing(output: str | os.PathLike[str], marker: str, overwrite: bool) -> None:
    """Raise :class:`UserError` unless ``output`` is free, or holds ``marker`` and may be overwritten."""
    path = Path(output)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / marker).is_file():
        raise UserError(f"{output}: exists and holds something else (no {marker}); choose another output")
    if not overwrite:
        raise UserError(f"{output}: exists already; remove it, choose another output or give --overwrite")


def refuse_existing_file(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Raise :class:`UserError` if writing ``path`` would replace content of a file; streams and empty files pass."""
    if overwrite or is_stream(path):
        return
    try:
        found = os.stat(path)
    except OSError:
        return
    if stat.S_ISREG(found.st_mode) and found.st_size:
        raise UserError(f"{path}: exists already; give --overwrite, or choose another output")


def refuse_input(path: str | os.PathLike[str], *inputs: str | os.PathLike[str] | None) -> None:
    """Raise :class:`UserError` if ``path`` is one of the files that are read, under whatever name; streams pass."""
    if is_stream(path):
        return
    for read in inputs:
        with suppress(OSError):
            if read is not None and os.path.samefile(path, read):
                raise UserError(f"{path}: is read, and would be replaced by what is written; choose another output")


@contextmanager
def staged_folder(output: str | os.PathLike[str], marker: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder that is renamed to ``output`` when the block ends and removed when it fails.

    The next call removes what a killed process left.

    Args:
        output: the folder to make, with its parents.
        marker: the file that marks an earlier result; a folder without it is never overwritten.
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
    """Remove what an interrupted call left, and put an earlier result back."""
    # Killed between its two renames, the call had already moved the earlier result aside.
    if replaced.exists() and not target.exists():
        os.rename(replaced, target)
    for leftover in (staging, replaced):
        shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def written_by_one(output: str | os.PathLike[str]) -> Iterator[None]:
    """Lock ``output`` for this process, with a lock file beside it; make its parents.

    Raises:
        OutputBusy: another process is writing it.
        UserError: its parents or the lock file cannot be written.
    """
    target = Path(output).resolve()
    path = target.with_name(f".{target.name}.lock")
    try:
        while True:
            with _opened_lock(path, output) as stream:
                if not taken(stream.fileno()):
                    raise OutputBusy(f"{output}: another process is writing it; wait for it or choose another output")
                # The previous holder removes the lock file: the lock counts only if the file is still there.
                if not path.exists() or not os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                    continue
                try:
                    yield
                finally:
                    if sys.platform != "win32":
                        path.unlink()
                return
    finally:
        # Windows removes no file that is open here or in another process.
        if sys.platform == "win32":
            with suppress(OSError):
                path.unlink()


def _opened_lock(path: Path, output: str | os.PathLike[str]) -> IO[str]:
    """Open the lock file of ``output`` and make its folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a", encoding="utf-8")
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise UserError(f"{output}: cannot be written ({error.strerror}); choose another output") from None


PathLike = TypeVar("PathLike", bound="str | os.PathLike[str]")


def regular(path: PathLike) -> PathLike:
    """Return ``path`` if it is a regular file, following symbolic links.

    Reading a FIFO or a device could block for ever. A folder passes: opening it fails with the system's own message.

    Raises:
        OSError: nothing is there, or a device, FIFO or socket.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return path
    raise OSError(errno.ENODEV, "a device or pipe, not a file", str(path))


def sha256_of(*paths: PathLike) -> str:
    """Return the sha256 of files, one after the other, in hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def read_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the place, for messages, and the fields of every row of a ``.csv`` or ``.tsv`` file, else of JSON lines.

    Raises:
        UserError: it cannot be read as these, or a line holds no object.
    """
    import csv  # here: this file is imported for every --help
    import json

    try:
        with open(regular(path), encoding="utf-8-sig", newline="") as stream:
            if path.suffix.lower() in (".csv", ".tsv"):
                reader = csv.DictReader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
                yield from ((f"{path}, row {number}", row) for number, row in enumerate(reader, start=2))
                return
            for number, line in enumerate(stream, start=1):
                row = json.loads(line) if line.strip() else None
                if isinstance(row, dict):
                    yield f"{path}, row {number}", row
                elif row is not None:
                    raise UserError(f"{path}, row {number}: no JSON object; give one a line, or name the file .csv")
    except UserError:
        raise
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON lines or CSV ({error}); name it .csv if it is CSV") from None


STANDARD_OUTPUT = "-"
"""The name of standard output where a command asks for a file."""


@contextmanager
def replaced_when_complete(path: str | os.PathLike[str], *, named_by_user: bool = False) -> Iterator[Path]:
    """Yield a temporary file to write; when the block ends, its content is that of ``path``.

    A regular file is replaced in one step, with its permissions. If the block fails, the temporary file is removed and
    ``path`` is as it was.

    Args:
        path: the file.
        named_by_user: the user typed this path. A symbolic link then stays, and the file it points to is replaced. A
            FIFO, a device or an open file of this process (``-``, ``/dev/stdout``) is written to. Without it, such a
            path is refused: a link inside a folder from elsewhere must not lead a command out of that folder.

    Raises:
        DiskFull: there is no room for it; an earlier file is unchanged.
        UserError: ``path`` is no regular file, and the user did not name it.
        OSError: ``path`` cannot be written.
    """
    streamed = named_by_user and is_stream(path)
    if not named_by_user and (os.path.islink(path) or is_stream(path)):
        raise UserError(f"{path}: is a link, a pipe or a device, not a file; remove it or choose another output")
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
    with room_is_needed(path), _temporary_file(target, Path(tempfile.gettempdir()) if streamed else None) as temporary:
        yield temporary
        if streamed:
            with _opened_stream(path) as stream, open(temporary, "rb") as content:
                shutil.copyfileobj(content, stream)
            temporary.unlink()
        else:
            os.replace(temporary, target)


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Tell whether ``path`` is ``-``, an open file of this process, a FIFO, a socket or a device."""
    if _own_descriptor(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def is_standard_output(path: str | os.PathLike[str]) -> bool:
    """Tell whether ``path`` is ``-`` or a name of standard output such as ``/dev/stdout``."""
    return _own_descriptor(path) == 1


@contextmanager
def messages_kept_apart(*outputs: str | os.PathLike[str] | None) -> Iterator[None]:
    """Print to standard error inside the block if one of the outputs is standard output."""
    with ExitStack() as stack:
        if any(output is not None and is_standard_output(output) for output in outputs):
            stack.enter_context(redirect_stdout(sys.stderr))
        yield


def _own_descriptor(path: str | os.PathLike[str]) -> int | None:
    """Return the descriptor of this process that a path such as ``/dev/stdout`` or ``/dev/fd/3`` names, else None."""
    if os.fspath(path) == STANDARD_OUTPUT:
        return 1
    place = os.path.join(os.getcwd(), path)
    for _ in range(_MOST_LINKS):
        folder, name = os.path.split(place)
        if name.isdigit() and os.path.realpath(folder) in (f"/proc/{os.getpid()}/fd", "/dev/fd"):  # Linux, macOS
            return int(name)
        try:
            place = os.path.join(folder, os.readlink(place))
        except OSError:
            return None
    return None


_MOST_LINKS = 40
"""Linux follows no longer chain of symbolic links."""


@contextmanager
def _opened_stream(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a stream for writing; an open file of this process goes on from where it is."""
    descriptor = _own_descriptor(path)
    for printed in (sys.stdout, sys.__stdout__):
        if printed is not None:
            # What was printed before must come first.
            printed.flush()
    # No O_CREAT: if the FIFO was removed meanwhile, no regular file takes its place.
    with open(os.open(path, os.O_WRONLY) if descriptor is None else os.dup(descriptor), "wb") as stream:
        yield stream


@contextmanager
def _temporary_file(target: Path, folder: Path | None) -> Iterator[Path]:
    """Yield an empty file in ``folder`` or else beside ``target``, with the permissions that ``target`` has or would
    get; it is removed if the block fails.
    """
    descriptor, name = tempfile.mkstemp(prefix=".writing-", suffix=target.suffix, dir=folder or target.parent)
    os.close(descriptor)
    mask = os.umask(0)
    os.umask(mask)
    try:
        os.chmod(name, stat.S_IMODE(target.stat().st_mode) if target.is_file() else 0o666 & ~mask)
        yield Path(name)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
