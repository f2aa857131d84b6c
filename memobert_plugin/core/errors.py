"""Errors that a user can cause, and how commands and fairseq's hooks report them in one line."""

from __future__ import annotations

import errno
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SURROUNDINGS = (*_NO_ROOM, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
"""Errors of the operating system for which neither the program nor its input is to blame."""


class UserError(ValueError):
    """A mistake in a file, a flag or a call: one line that names the place, says what is wrong and what to do."""


def pip_install(extra: str) -> str:
    """Return the command that installs an extra; the package is on no index, so it names the project's folder."""
    return f'pip install ".[{extra}]" in the project\'s folder'


class DiskFull(UserError):
    """No space is left for an output."""


@contextmanager
def room_is_needed(output: str | os.PathLike[str]) -> Iterator[None]:
    """Raise :class:`DiskFull`, naming ``output``, if the block fails because no space is left."""
    try:
        yield
    except Exception as error:
        full = as_disk_full(error, output)
        if full is None:
            raise
        raise full from None


def as_disk_full(error: BaseException | None, output: str | os.PathLike[str]) -> DiskFull | None:
    """Return a DiskFull error for ``output`` if ``error`` or one of its causes means "no space left", else None."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return DiskFull(
                f"{output}: cannot be written ({error.strerror}); make room and start the same command again"
            )
        error = error.__cause__ or error.__context__
    return None


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command's ``main`` and exit.

    The status is 0 or what ``main`` returns. A :class:`UserError`, or a refusal by the operating system, is printed as
    one line and exits with 2.
    """
    name = Path(sys.argv[0]).name
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be UTF-8
    try:
        status = main()
    except UserError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(141) from None
    except OSError as error:
        if error.errno not in _SURROUNDINGS:
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(f"{name}: error: {place}{error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None
    raise SystemExit(status or 0)


def exits_in_one_line(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Return ``function`` with each :class:`UserError` turned into an exit with one line instead of a traceback.

    This is for methods that fairseq's commands call on a task or a model. Everything below keeps raising
    :class:`UserError`.
    """

    @functools.wraps(function)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            raise SystemExit(f"memobert: error: {error}") from None

    return wrapped


class DefectiveClip(ValueError):
    """One utterance's media cannot be used. The message is the reason, in one line; the rest of the corpus goes on."""
