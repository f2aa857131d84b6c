"""The one kind of error a user can cause, and how commands and host hooks report it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class UserError(ValueError):
    """A mistake in a file, a flag or a call: one line that names the place, says what is wrong and what to do."""


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command's ``main`` and leave the process: status 0 or ``main``'s own, 2 and one line for a
    :class:`UserError`.
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
