"""Errors that a user can cause, and how commands and fairseq's hooks report them in one line."""

from __future__ import annotations

import errno
import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(ValueError):
    """A mistake in a file, a flag or a call: one line that names the place, says what is wrong and what to do."""


def pip_install(extra: str) -> str:
    """Return the command that installs an extra; the package is on no index, so it names the project's folder."""
    return f'pip install ".[{extra}]" in the project\'s folder'


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a command that has kept what was done; the message says what, and how to go on."""


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
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return DiskFull(
                f"{output}: cannot be written ({error.strerror}); make room and start the same command again"
            )
        error = error.__cause__ or error.__context__
    return None


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

    # fairseq looks for from_checkpoint among the arguments of build_model, and not behind a decorator.
    wrapped.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return wrapped


class DefectiveClip(ValueError):
    """One utterance's media cannot be used. The message is the reason, in one line; the rest of the corpus goes on."""


@dataclass(frozen=True)
class Defect:
    """A file or row of a corpus that is left out."""

    place: str
    """The file, with the row where it has rows."""
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"
