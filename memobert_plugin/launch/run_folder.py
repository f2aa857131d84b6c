"""The folder of one run: what it is (``run.json``), how far it came (``state.json``), what it printed (``log.txt``)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ..data.atomic import replaced_when_complete
from ..data.lock import taken
from ..errors import UserError

WAITING, RUNNING, DONE, FAILED, STOPPED = "waiting", "running", "done", "failed", "stopped"
STATUSES = (WAITING, RUNNING, DONE, FAILED, STOPPED)


@dataclass(frozen=True)
class RunState:
    """How far a run came; ``state.json``, replaced as a whole, so that it holds whatever process is killed.

    Attributes:
        status: one of :data:`STATUSES`; ``stopped`` is one that goes on when it is started again.
        attempts: how often it was started.
        started: when it was last started, ISO 8601.
        finished: when it last ended.
        seconds: of all attempts together.
        exit_status: of the command that ended it; None while it runs, or when nothing is known.
        job: SLURM's number of the job that has or had it.
        host: the machine.
        finished_commands: so many of its commands ended well and are not repeated.
        idle_attempts: so many of the last attempts were stopped before they got any further.
    """

    status: str = WAITING
    attempts: int = 0
    started: str | None = None
    finished: str | None = None
    seconds: float = 0.0
    exit_status: int | None = None
    job: str | None = None
    host: str = ""
    finished_commands: int = 0
    idle_attempts: int = 0


_STATE_FIELDS = frozenset(field.name for field in fields(RunState))


class RunFolder:
    """One run's folder.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.log = path / "log.txt"
        self.stop_mark = path / "stopped"

    def read_description(self) -> dict[str, Any]:
        """What ``run.json`` says.

        Raises:
            UserError: it is missing or damaged.
        """
        path = self.path / "run.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise UserError(f"{path}: missing or damaged; start memobert-sweep with the plan again") from None

    def write_description(self, description: Mapping[str, Any]) -> None:
        """Write ``run.json``, making the folder."""
        self.path.mkdir(parents=True, exist_ok=True)
        _write_json(self.path / "run.json", description)

    def is_described(self) -> bool:
        """Whether ``run.json`` is there."""
        return (self.path / "run.json").is_file()

    def read_state(self) -> RunState:
        """The state; that of a run never started where there is none.

        Raises:
            UserError: the file is damaged.
        """
        path = self.path / "state.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            # A queued job may run an older copy of the package than the launcher.
            return RunState(**{name: value for name, value in content.items() if name in _STATE_FIELDS})
        except FileNotFoundError:
            return RunState()
        except (OSError, ValueError, AttributeError):
            raise UserError(f"{path}: damaged; remove it to have the run started again") from None

    def change_state(self, **changes: Any) -> RunState:
        """Write the state with some values changed, and return it."""
        state = replace(self.read_state(), **changes)
        self.path.mkdir(parents=True, exist_ok=True)
        _write_json(self.path / "state.json", asdict(state))
        return state

    def saved_nothing(self) -> bool:
        """Whether there is neither a checkpoint nor the result of a command to go on from."""
        return not self.read_state().finished_commands and not any(self.checkpoints.glob("checkpoint*.pt"))

    def begin_anew(self) -> None:
        """Forget an attempt: its log and its state."""
        self.log.unlink(missing_ok=True)
        _write_json(self.path / "state.json", asdict(RunState()))

    def submitted_job(self) -> str | None:
        """Number of the SLURM job that was last submitted for it."""
        try:
            return (self.path / "job.txt").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None

    def note_submission(self, job: str) -> None:
        """Remember that job; in a file of its own, since the job may be changing the state already."""
        with replaced_when_complete(self.path / "job.txt") as temporary:
            temporary.write_text(f"{job}\n", encoding="utf-8")

    def say(self, line: str) -> None:
        """Add a line of the sweep's own to the log."""
        with open(self.log, "a", encoding="utf-8") as stream:
            stream.write(f"# {now()} {line}\n")

    def last_lines(self, count: int) -> list[str]:
        """The end of the log: whole lines, unless a single one is longer than what is looked at."""
        try:
            with open(self.log, "rb") as stream:
                start = max(0, stream.seek(0, os.SEEK_END) - 400 * count)
                stream.seek(start)
                text = stream.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return []
        lines = text.splitlines()
        return [line for line in lines[int(start > 0 and len(lines) > 1) :] if line.strip()][-count:]

    @contextmanager
    def owned(self, patience: float = 20.0) -> Iterator[None]:
        """Be the only process that works on this run; processes forked from it share in that, as long as they live.

        Raises:
            UserError: another process still does after ``patience`` seconds.
        """
        deadline = time.monotonic() + patience
        with open(self.path / ".lock", "w") as stream:
            while not taken(stream.fileno()):
                if time.monotonic() > deadline:
                    raise UserError(f"{self.path}: another process is working on this run; wait for it or end it")
                time.sleep(0.2)
            yield

    def is_owned(self) -> bool:
        """Whether a process on this machine works on it."""
        try:
            with open(self.path / ".lock") as stream:
                return not taken(stream.fileno())
        except FileNotFoundError:
            return False


def now() -> str:
    """The local time, ISO 8601 with its offset."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with replaced_when_complete(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
