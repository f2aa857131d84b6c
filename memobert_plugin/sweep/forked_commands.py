"""Run many fairseq commands from one start-up: fairseq is imported once, and each command runs in a forked child.

A ``fairseq-train`` process spends several seconds on imports before it does anything. Two trainings in one interpreter
would disturb each other, because fairseq keeps the best score so far in attributes of functions
(``save_checkpoint.best``, ``should_stop_early.best``). A fork per command pays for the imports once and still gives
every run an interpreter of its own.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import io
import logging
import multiprocessing
import multiprocessing.connection
import os
import runpy
import signal
import sys
import time
import types
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from multiprocessing.context import ForkProcess
from pathlib import Path

from ..core.collector import starting_up
from ..core.errors import UserError
from ..core.fairseq_quirks import compose_a_configuration

MODULES = ("fairseq.options", "fairseq.tasks", "fairseq.trainer", "memobert_plugin.registration")
"""Modules that every training imports."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
SECONDS_TO_STOP = 5.0


@dataclass(frozen=True)
class FinishedCommand:
    """A command that has ended, with its exit ``status`` (minus a signal's number if a signal ended it) and its wall
    time.
    """

    command: tuple[str, ...]
    log: Path
    status: int
    seconds: float


class ForkedCommands:
    """Runner of commands (``fairseq-train ARGS``, ``memobert-binarize ARGS``, ``python FILE ARGS``, ``python -m MODULE
    ARGS``) in forked children.

    Each child has its own interpreter state, process group and log file (standard output and error together). The
    parent imports ``modules`` before the first fork and computes nothing with them: a pool of threads would not survive
    a fork.

    Args:
        jobs: how many commands run at a time.
        threads: computing threads of each child.
        modules: imported before the first fork.
        append: whether a log that exists is continued instead of replaced.
    """

    def __init__(self, jobs: int = 1, threads: int = 1, modules: Sequence[str] = MODULES, append: bool = False) -> None:
        if jobs < 1 or threads < 1:
            raise UserError(f"jobs ({jobs}) and threads ({threads}) must be at least 1")
        self.jobs = jobs
        self.threads = threads
        self.modules = tuple(modules)
        self.append = append

    def run(self, command: Sequence[str], log: Path) -> int:
        """Run one command and return its exit status."""
        [finished] = self.run_all([(command, log)])
        return finished.status

    def run_all(self, runs: Iterable[tuple[Sequence[str], Path]]) -> Generator[FinishedCommand, None, None]:
        """Run ``(command, log)`` pairs, ``jobs`` at a time, and yield each as it ends.

        Leaving the iteration early, an exception (Ctrl-C) and the signals TERM and HUP end the children that still run.

        Raises:
            UserError: a command is not installed in this environment; nothing has been started then.
        """
        waiting = [(tuple(command), Path(log), command_entry(command)) for command, log in runs]
        waiting.reverse()
        with starting_up():
            _import_quietly(self.modules)
        if "fairseq.options" in self.modules:
            compose_a_configuration()
        running: dict[int, tuple[ForkProcess, tuple[str, ...], Path, float]] = {}
        with _stop_signals_as_exceptions():
            try:
                while waiting or running:
                    while waiting and len(running) < self.jobs:
                        command, log, entry = waiting.pop()
                        process = self._fork(command, log, entry)
                        running[process.sentinel] = (process, command, log, time.monotonic())
                    for sentinel in multiprocessing.connection.wait(list(running)):
                        assert isinstance(sentinel, int)
                        process, command, log, started = running[sentinel]
                        process.join()
                        assert process.exitcode is not None
                        del running[sentinel]
                        yield FinishedCommand(command, log, process.exitcode, time.monotonic() - started)
            finally:
                _end_processes([process for process, *_ in running.values()])

    def _fork(self, command: tuple[str, ...], log: Path, entry: Callable[[], object]) -> ForkProcess:
        log.parent.mkdir(parents=True, exist_ok=True)
        process = multiprocessing.get_context("fork").Process(
            target=_run_in_child, name=command[0], args=(command, log, entry, self.threads, self.append)
        )
        process.start()
        assert process.pid is not None
        with contextlib.suppress(OSError):  # the child does the same; the second call may come too late
            os.setpgid(process.pid, process.pid)
        return process


def command_entry(command: Sequence[str]) -> Callable[[], object]:
    """Return the function of a command: an installed console script's, or one that runs a Python file or module as main
    program.

    Raises:
        UserError: no such command is installed, or there is no such file or module.
    """
    if not command:
        raise UserError("an empty command; give a program and its arguments")
    program = command[0]
    if program == "python" and list(command[1:2]) == ["-m"]:
        if len(command) < 3 or not _module_exists(command[2]):
            raise UserError(f"{' '.join(command[:3])}: no such module; install the package that brings it")
        return lambda: _run_module(command[2])
    if program == "python":
        if len(command) < 2 or not Path(command[1]).is_file():
            raise UserError(f"{' '.join(command[:2])}: no such file; 'python' runs a file here")
        return lambda: _run_file(Path(command[1]))
    for script in entry_points(group="console_scripts", name=program):
        return lambda: script.load()()
    raise UserError(f"{program}: not a command of this environment; install the package that brings it")


def _run_file(path: Path) -> None:
    sys.argv.pop(0)
    sys.path.insert(0, str(path.resolve().parent))
    runpy.run_path(str(path), run_name="__main__")


def _module_exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _run_module(name: str) -> None:
    del sys.argv[:2]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _run_in_child(command: tuple[str, ...], log: Path, entry: Callable[[], object], threads: int, append: bool) -> None:
    """Give the forked child the state of a fresh process, then run the command; exit with its status."""
    gc.freeze()  # what was imported before the fork stays; a search for cycles would also copy its memory
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(log, "ab" if append else "wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.stdout, sys.stderr = _text_output(1), _text_output(2)
    logging.root.handlers.clear()  # fairseq's commands configure the root logger when they are imported
    logging.root.setLevel(logging.WARNING)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv = list(command)
    try:
        status = entry()
    except Exception:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.exit(status)  # type: ignore[arg-type]  # what a console script returns is its status or a message


def _text_output(descriptor: int) -> io.TextIOWrapper:
    output = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False))
    return io.TextIOWrapper(output, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _import_quietly(modules: Sequence[str]) -> None:
    """Import ``modules``; fairseq logs while it is imported, which would configure the root logger for good."""
    handlers, disabled = logging.root.handlers[:], logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        logging.disable(disabled)
        logging.root.handlers[:] = handlers


@contextlib.contextmanager
def _stop_signals_as_exceptions() -> Iterator[None]:
    """Raise ``SystemExit`` on TERM and HUP inside the block; only in the main thread, where Python allows handlers."""

    def leave(number: int, frame: types.FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = []
    with contextlib.suppress(ValueError):
        for number in STOP_SIGNALS:
            before.append((number, signal.signal(number, leave)))
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _end_processes(processes: Sequence[ForkProcess]) -> None:
    """End children and the processes they have started: TERM to their process groups, KILL to those that remain."""
    for process in processes:
        _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + SECONDS_TO_STOP
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            _signal_group(process, signal.SIGKILL)
            process.join()


def _signal_group(process: ForkProcess, number: signal.Signals) -> None:
    assert process.pid is not None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
