"""Talk to the person at the terminal: the flags that every command has, notes, and progress.

Standard output carries results. Notes, progress and errors go to standard error.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import IO, Any, NoReturn, TypeVar

from .collector import own_process
from .errors import NO_ROOM, Interrupted, UserError
from .names import clock_time, counted

QUIET, USUAL, VERBOSE = -1, 0, 1

SECONDS_BETWEEN_LINES = 30.0
"""Time between two lines of progress where standard error is no terminal."""
_SECONDS_BETWEEN_DRAWINGS = 0.1

_loudness = [USUAL]
_names: dict[str, str] = {}

_SURROUNDINGS = (*NO_ROOM, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
"""Errors of the operating system for which neither the program nor its input is to blame."""

Item = TypeVar("Item")


def loudness() -> int:
    """Return ``QUIET`` after -q, ``VERBOSE`` after -v, else ``USUAL``."""
    return _loudness[0]


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command's ``main`` and exit.

    The status is 0 or what ``main`` returns. A :class:`UserError`, or a refusal by the operating system, is printed as
    one line and exits with 2.
    """
    own_process()
    if sys.stdin is None:  # closed by the caller, as in "command <&-"
        sys.stdin = open(os.devnull)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be UTF-8
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        status = main()
    except UserError as error:
        _report(str(error))
        raise SystemExit(2) from None
    except KeyboardInterrupt as stopped:
        print(f"{_name()}: interrupted{f'; {stopped}' if str(stopped) else ''}", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(141) from None
    except OSError as error:
        if error.errno not in _SURROUNDINGS:
            raise
        place = f"{error.filename}: " if error.filename else ""
        _report(f"{place}{error.strerror}")
        raise SystemExit(2) from None
    _tell_cost()
    raise SystemExit(status or 0)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, during an import at its end: numpy and others turn it into other errors."""
    outer = frame
    while outer is not None:
        if outer.f_code.co_filename.startswith("<frozen importlib"):
            again = threading.Timer(0.02, _interrupt_main)
            again.daemon = True
            again.start()
            return
        outer = outer.f_back
    raise KeyboardInterrupt


def _interrupt_main() -> None:
    """Send SIGINT to the main thread."""
    if sys.platform == "win32":
        import _thread

        _thread.interrupt_main()
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _tell_cost() -> None:
    """After -v, print the time and the memory that the command took."""
    if loudness() < VERBOSE:
        return
    peak = ""
    if sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        peak = f", {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9:.2f} GB of memory"
    detail(f"{time.process_time():.1f} s of processor time{peak}")


def _report(message: str) -> None:
    print(f"{_name()}: {painted('error', 'red', sys.stderr)}: {_with_names(message)}", file=sys.stderr)


def name_in_messages(path: str | os.PathLike[str], name: str) -> None:
    """Have notes and reported errors of this process call a temporary file by a name that the user knows."""
    _names[os.fspath(path)] = name


def _with_names(message: str) -> str:
    for path, name in _names.items():
        message = message.replace(path, name)
    return message


class CommandParser(argparse.ArgumentParser):
    """A parser with the flags of every command: ``--version``, ``-q`` and ``-v``.

    Usage lines name the command as it was typed, ``memobert predict`` or ``memobert-predict``.
    """

    def __init__(self, *, command: str = "", **settings: Any) -> None:
        if command:
            settings["prog"] = f"memobert {command}" if sys.argv[0].startswith("memobert ") else f"memobert-{command}"
        super().__init__(**settings)
        _loudness[0] = USUAL
        add = self.add_argument
        add("--version", action=_Version, nargs=0, help="print the version and the licences of code and weights")
        add("-q", "--quiet", action=_Loudness, nargs=0, const=QUIET, help="print results and errors only")
        add("-v", "--verbose", action=_Loudness, nargs=0, const=VERBOSE, help="print more about the work")

    def error(self, message: str) -> NoReturn:
        """Leave with one line; the usage of a command with many flags hides it."""
        self.exit(2, f"{self.prog}: error: {message} (--help lists the flags)\n")


class _Loudness(argparse.Action):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "default": argparse.SUPPRESS})

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        _loudness[0] = self.const


class _Version(argparse.Action):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "default": argparse.SUPPRESS})

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        from .version import version_text

        print(version_text(parser.prog))
        parser.exit()


@contextmanager
def going_on(advice: str) -> Iterator[None]:
    """After Ctrl-C inside the block, have the command say what is kept and how to go on."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(advice) from None


def say(*lines: str) -> None:
    """Print lines about the work to standard output, unless -q was given."""
    if lines and loudness() > QUIET:
        print(_with_names("\n".join(lines)), flush=True)


def note(text: str) -> None:
    """Print a remark to standard error, unless -q was given."""
    if loudness() > QUIET:
        print(f"{_name()}: {painted('note', 'cyan', sys.stderr)}: {_with_names(text)}", file=sys.stderr, flush=True)


def detail(text: str) -> None:
    """Print a line to standard error after -v."""
    if loudness() >= VERBOSE:
        print(f"{_name()}: {text}", file=sys.stderr, flush=True)


def _name() -> str:
    return os.path.basename(sys.argv[0])


_COLOURS = {"red": "1;31", "cyan": "36"}


def painted(text: str, colour: str, stream: IO[str]) -> str:
    """Return text in a colour where the stream is a terminal that shows colours."""
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb" or sys.platform == "win32"
    return text if plain or not stream.isatty() else f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def tracked(
    items: Iterable[Item], total: int | None, title: str, unit: str = "utterance", shown: bool = True
) -> Iterator[Item]:
    """Yield the items and show how many are done."""
    with progress(total, title, unit, shown=shown) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def progress(total: float | None, title: str, unit: str, *, shown: bool = True) -> Iterator[Callable[[float], None]]:
    """Yield a function that adds to what is done.

    On a terminal a bar shows the share, the rate and the time that is left. Elsewhere, such as in a log file, a line
    says so every half minute.

    Args:
        total: all there is; None: not known.
        title: the work, such as ``acoustic``.
        unit: of the amounts: ``s`` for seconds of film, else a noun.
        shown: False shows nothing.
    """
    if not shown or loudness() == QUIET:
        yield lambda amount: None
    elif sys.stderr.isatty():
        with _bar(total, title, unit) as advance:
            yield advance
    else:
        yield _Lines(total, title, unit)


@contextmanager
def _bar(total: float | None, title: str, unit: str) -> Iterator[Callable[[float], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = ("{task.description}", "{task.fields[done]}", "{task.fields[rate]}")
    texts = [TextColumn(column, markup=False) for column in columns]
    # Without auto_refresh there is no thread: worker processes are forked while the bar stands.
    bar = Progress(
        texts[0],
        BarColumn(),
        *texts[1:],
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
        auto_refresh=False,
        redirect_stdout=sys.stdout.isatty(),
    )
    began, drawn, done = time.monotonic(), 0.0, 0.0
    task = bar.add_task(title, total=total, done=_amount(0, total, unit), rate="")

    def advance(amount: float) -> None:
        nonlocal drawn, done
        done += amount
        now = time.monotonic()
        rate = _rate(done, now - began, unit)
        bar.update(task, advance=amount, done=_amount(done, total, unit), rate=rate)
        if now - drawn > _SECONDS_BETWEEN_DRAWINGS or done == total:
            bar.refresh()
            drawn = now

    with bar:
        bar.refresh()
        yield advance


class _Lines:
    """Progress as lines of a log file."""

    def __init__(self, total: float | None, title: str, unit: str) -> None:
        self._total, self._title, self._unit = total, title, unit
        self._began = self._told = time.monotonic()
        self._done = 0.0

    def __call__(self, amount: float) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._told < SECONDS_BETWEEN_LINES:
            return
        self._told = now
        line = f"{self._title}: {_amount(self._done, self._total, self._unit)}"
        rate = _rate(self._done, now - self._began, self._unit)
        left = ""
        if self._total and self._done:
            left = f", {clock_time((self._total - self._done) * (now - self._began) / self._done)} left"
        print(f"{line}, {rate}{left}", file=sys.stderr, flush=True)


def _amount(done: float, total: float | None, unit: str) -> str:
    if unit == "s":
        return clock_time(done) if total is None else f"{clock_time(done)} of {clock_time(total)}"
    return counted(done, unit) if total is None else f"{done:g} of {counted(total, unit)}"


def _rate(done: float, seconds: float, unit: str) -> str:
    rate = done / max(seconds, 1e-9)
    if unit == "s":
        return f"{rate:.2g} times real time"
    return f"{rate:.2g} per second" if rate >= 1 or not done else f"{1 / rate:.2g} s each"


def closest(name: str, known: Sequence[str]) -> str:
    """Return advice that names the known word most like ``name``, or nothing."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def refuse_no_command(arguments: Sequence[str]) -> None:
    """Leave with one line if ``python -m MODULE`` with these arguments names a module here that is no command."""
    from importlib.util import find_spec
    from itertools import pairwise
    from pathlib import Path

    name = next((name for flag, name in pairwise(arguments) if flag == "-m"), "")
    spec = find_spec(name) if name.startswith(f"{__package__.partition('.')[0]}.") else None
    if spec is None or spec.origin is None:
        return  # another package's, or none, which Python says itself
    if spec.submodule_search_locations is not None:
        runs = (Path(spec.origin).parent / "__main__.py").is_file()
    else:
        runs = '__name__ == "__main__"' in Path(spec.origin).read_text(encoding="utf-8")
    if not runs:
        sys.exit(f"{name}: a module that is no command; memobert --help lists the commands")
