"""The one kind of error a user can cause, and how commands and host hooks report it."""

from __future__ import annotations

import errno
import functools
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
"""What the operating system says where neither the program nor its input is at fault."""


class UserError(ValueError):
    """A mistake in a file, a flag or a call: one line that names the place, says what is wrong and what to do."""


class DiskFull(UserError):
    """There was no room for an output."""


@contextmanager
def room_is_needed(output: str | os.PathLike[str]) -> Iterator[None]:
    """Let a full disk end what is inside with a :class:`DiskFull` that names ``output``, whichever file it was."""
    try:
        yield
    except Exception as error:
        full = as_disk_full(error, output)
        if full is None:
            raise
        raise full from None


def as_disk_full(error: BaseException | None, output: str | os.PathLike[str]) -> DiskFull | None:
    """What to tell of ``output``, also where a library made another error of the system's; None where room was not the
    problem.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return DiskFull(
                f"{output}: cannot be written ({error.strerror}); make room and start the same command again"
            )
        error = error.__cause__ or error.__context__
    return None


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command's ``main`` and leave the process: status 0 or ``main``'s own, 2 and one line for a
    :class:`UserError` and for what the operating system refuses.
    """
    name = Path(sys.argv[0]).name
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
    """Let a :class:`UserError` leave a host command (``fairseq-train`` and the like) as one line instead of a
    traceback.

    For the methods the host calls on a task or a model; everything below them keeps raising :class:`UserError`.
    """

    @functools.wraps(function)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            raise SystemExit(f"memobert: error: {error}") from None

    return wrapped


class DefectiveClip(ValueError):
    """One utterance's media cannot be used; the message is the reason, in one line. The rest of the corpus goes on."""
