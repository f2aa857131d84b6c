"""Keep the folder of a sweep: the plan it was started with, one folder per run, and one launcher at a time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ..core.errors import UserError, room_is_needed
from ..core.files import replaced_when_complete, taken
from ..core.names import FEATURES
from ..core.version import VERSION
from .expansion import Run

WAITING, RUNNING, DONE, FAILED, STOPPED = "waiting", "running", "done", "failed", "stopped"
STATUSES = (WAITING, RUNNING, DONE, FAILED, STOPPED)


@dataclass(frozen=True)
class RunState:
    """The state of a run (``state.json``). The file is always replaced as a whole, so that it holds whatever process is
    killed.

    Attributes:
        status: one of :data:`STATUSES`; a ``stopped`` run goes on when it is started again.
        attempts: number of starts.
        started: time of the last start, ISO 8601.
        finished: time of the last end.
        seconds: of all attempts together.
        exit_status: of the command that ended it; None while it runs, or if unknown.
        job: SLURM's number of its last job.
        host: the machine.
        finished_commands: number of commands that ended well and are not repeated.
        idle_attempts: number of last attempts in a row that were stopped before they made progress.
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
    """The folder of one run.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.log = path / "log.txt"
        self.stop_mark = path / "stopped"

    def read_description(self) -> dict[str, Any]:
        """Read ``run.json``.

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
        """Tell whether ``run.json`` is there."""
        return (self.path / "run.json").is_file()

    def read_state(self) -> RunState:
        """Read the state; a run without the file was never started.

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
        """Tell whether there is neither a checkpoint nor a finished command to go on from."""
        return not self.read_state().finished_commands and not any(self.checkpoints.glob("checkpoint*.pt"))

    def forget_attempt(self) -> None:
        """Remove the log and the state of an attempt."""
        self.log.unlink(missing_ok=True)
        _write_json(self.path / "state.json", asdict(RunState()))

    def submitted_job(self) -> str | None:
        """Return the number of the SLURM job that was last submitted for the run."""
        try:
            return (self.path / "job.txt").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None

    def note_submission(self, job: str) -> None:
        """Write that number down, in a file of its own: the job may already be changing the state."""
        with replaced_when_complete(self.path / "job.txt") as temporary:
            temporary.write_text(f"{job}\n", encoding="utf-8")

    def say(self, line: str) -> None:
        """Add a line of the sweep's own to the log."""
        with open(self.log, "a", encoding="utf-8") as stream:
            stream.write(f"# {now()} {line}\n")

    def last_lines(self, count: int) -> list[str]:
        """Return the last lines of the log; the first is whole unless it is too long to be read."""
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
        """Make this process the only one that works on the run; processes forked from it keep the lock while they live.

        Raises:
            UserError: another process still works on it after ``patience`` seconds.
        """
        deadline = time.monotonic() + patience
        with open(self.path / ".lock", "w", encoding="utf-8") as stream:
            while not taken(stream.fileno()):
                if time.monotonic() > deadline:
                    raise UserError(f"{self.path}: another process is working on this run; wait for it or end it")
                time.sleep(0.2)
            yield

    def is_owned(self) -> bool:
        """Tell whether a process on this machine works on the run."""
        try:
            with open(self.path / ".lock", encoding="utf-8") as stream:
                return not taken(stream.fileno())
        except FileNotFoundError:
            return False


def now() -> str:
    """Return the local time, ISO 8601 with its offset."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with replaced_when_complete(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


FORMAT = 1
PLAN_FILE, SWEEP_FILE = "plan.yaml", "sweep.json"
_CARRYING_OUT = ("--user-dir", "--distributed-world-size", "--distributed-port", "--distributed-backend", "--overwrite")
"""Flags that say how a run is carried out; with other values it is still the same run."""


class SweepFolder:
    """The folder of a sweep.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    def run(self, name: str) -> RunFolder:
        """Return the folder of a run."""
        return RunFolder(self.path / name)

    def names(self) -> list[str]:
        """Return the names of all runs in the folder, by kind and name.

        Raises:
            UserError: it is no sweep's folder.
        """
        self._read()
        paths = [path for kind in ("import", "pretraining", "emotion") for path in sorted(self._described(kind))]
        return [str(path.relative_to(self.path)) for path in paths]

    def _described(self, kind: str) -> Iterator[Path]:
        return (path.parent for path in (self.path / kind).rglob("run.json"))

    @contextmanager
    def launched(self, plan: Path) -> Iterator[int]:
        """Make this process the only launcher; yield the descriptor of the lock, which started processes must close.

        Raises:
            DiskFull: there is no room; finished runs stay finished.
            UserError: the folder holds something else, or another launcher is at work, on this machine or (where the
                file system passes locks on) elsewhere.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        # A launcher that was killed at once leaves its lock and a file that it was writing.
        others = [path.name for path in self.path.iterdir() if not path.name.startswith(".")]
        if others and SWEEP_FILE not in others:
            raise UserError(f"{self.path}: exists and holds something else (no {SWEEP_FILE}); choose another --output")
        with room_is_needed(self.path), open(self.path / ".lock", "w", encoding="utf-8") as stream:
            if not taken(stream.fileno()):
                raise UserError(
                    f"{self.path}: another memobert-sweep is at work there; memobert-sweep status {self.path} shows "
                    f"how far it is"
                )
            if not others:
                self._write(plan)
            yield stream.fileno()

    def prepare(self, plan: Path, runs: Sequence[Run], queued: Collection[str] = ()) -> None:
        """Write the descriptions of all runs; only the launcher may. A failed run that saved nothing takes changed
        values and starts again.

        Args:
            plan: the plan file, of which a copy is kept.
            runs: all runs.
            queued: numbers of SLURM jobs that may start at any moment; the ``run.json`` of their runs stays as it is.

        Raises:
            UserError: a run was started with other values than this plan's.
        """
        changed = [folder for run in runs if _has_other_values(folder := self.run(run.name), run, queued)]
        for folder in changed:
            folder.forget_attempt()
        if not (self.path / PLAN_FILE).exists() or not plan.samefile(self.path / PLAN_FILE):
            shutil.copyfile(plan, self.path / PLAN_FILE)
        self._write(plan)
        for run in runs:
            folder = self.run(run.name)
            if folder.submitted_job() in queued or folder.is_owned():
                continue
            state = folder.read_state()
            if state.status != DONE or self._was_moved(run):
                folder.write_description(run.description)
            if not state.attempts:
                folder.change_state(status=WAITING)

    def _was_moved(self, run: Run) -> bool:
        """Tell whether a run's description names an earlier place of this folder."""
        folder = self.run(run.name)
        return folder.is_described() and bool(_moves(folder.read_description(), folder))

    def _write(self, plan: Path) -> None:
        content = {
            "format": FORMAT,
            "plan_sha256": hashlib.sha256(plan.read_bytes()).hexdigest(),
            "version": VERSION,
        }
        with replaced_when_complete(self.path / SWEEP_FILE) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads((self.path / SWEEP_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise UserError(
                f"{self.path}: no {SWEEP_FILE}; give the folder that memobert-sweep made, such as runs/NAME"
            ) from None


_NOTHING: Final[tuple[Any, ...]] = (None, "", [], {})


def _has_other_values(folder: RunFolder, run: Run, queued: Collection[str]) -> bool:
    """Tell whether a run failed with other values than these and may take these.

    Raises:
        UserError: it was started with other values and may not.
    """
    state = folder.read_state()
    if not state.attempts or not folder.is_described():
        return False
    before, planned = folder.read_description(), _identity(json.loads(json.dumps(run.description)))
    differing = _differences(_as_moved(_identity(before), planned, _moves(before, folder)), planned)
    if not differing:
        return False
    if state.status == FAILED and folder.saved_nothing() and folder.submitted_job() not in queued:
        return True
    raise UserError(
        f"{folder.path}: was started with other values than the plan's ({'; '.join(differing[:3])}); give the "
        f"changed plan another name or --output, or remove that folder"
    )


def _identity(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description without the parts that do not change what a run computes."""
    commands = []
    for command in description["commands"]:
        skipped = {place for place, word in enumerate(command) if word in _CARRYING_OUT}
        skipped |= {place + 1 for place in skipped}
        commands.append(_in_order([word for place, word in enumerate(command) if place not in skipped]))
    return {**description, "commands": commands, "setting_title": None, "setting_note": None}


Move = tuple[str, str]
"""A folder's earlier path and its present one."""


def _moves(description: Mapping[str, Any], folder: RunFolder) -> list[Move]:
    """Return the folders that were moved since a run was described: the sweep's, and the one that it was moved within.

    A project of plan, data-bins and sweep may be moved as a whole, or the sweep alone.
    """
    name = str(description["name"])
    words = (word for command in description["commands"] for word in command)
    place = next((word.partition(f"/{name}/")[0] for word in words if f"/{name}/" in word), None)
    present = str(folder.path).removesuffix(f"/{name}")
    if place is None or place == present:
        return []
    earlier, now = Path(place), Path(present)
    moves = [(place, present)]
    while earlier.name and earlier.name == now.name:
        earlier, now = earlier.parent, now.parent
    return [*moves, (str(earlier), str(now))]


def _as_moved(known: Any, planned: Any, moves: Sequence[Move]) -> Any:
    """Return a description in which paths are the planned ones where nothing but a move tells them apart."""
    if isinstance(known, str) and isinstance(planned, str):
        moved = any(known.replace(f"{earlier}/", f"{now}/") == planned for earlier, now in moves)
        return planned if moved else known
    if isinstance(known, Mapping) and isinstance(planned, Mapping):
        return {key: _as_moved(value, planned.get(key), moves) for key, value in known.items()}
    if isinstance(known, list) and isinstance(planned, list) and len(known) == len(planned):
        return [_as_moved(*pair, moves) for pair in zip(known, planned, strict=True)]
    return known


def _in_order(words: Sequence[str]) -> list[str]:
    """Return a command with its flags sorted by name, since a plan may name them in any order."""
    groups: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--"):
            groups.append([])
        groups[-1].append(word)
    first, *flags = groups
    return [*first, *(word for flag in sorted(flags, key=lambda flag: flag[0]) for word in flag)]


def _differences(known: Mapping[str, Any], planned: Mapping[str, Any]) -> list[str]:
    """Say what differs, in the commands first. What an earlier version did not record yet does not count."""
    tried, now = (len(one.get("candidates", [])) or 1 for one in (known, planned))
    if tried != now:
        return [f"{tried} to choose among by its grid or search, now {now}"]
    if known["commands"] != planned["commands"]:
        pairs = zip(known["commands"], planned["commands"], strict=False)
        words = [_first_difference(*pair) for pair in pairs if pair[0] != pair[1]] or ["other commands"]
        return words
    if FEATURES in known and known[FEATURES] != planned.get(FEATURES):
        return ["words or frames of its data-bin, which were made anew since"]
    return [
        f"{key}: {known.get(key)!r}, now {planned.get(key)!r}"
        for key in known
        if known[key] != planned.get(key) and not (known[key] in _NOTHING and planned.get(key) in _NOTHING)
    ]


def _first_difference(known: Sequence[str], planned: Sequence[str]) -> str:
    for place, (old, new) in enumerate(zip(known, planned, strict=False)):
        if old != new:
            flag = known[place - 1] if place and known[place - 1].startswith("--") else ""
            return " ".join(filter(None, (flag, f"{old}, now {new}")))
    longer = max(known, planned, key=len)
    return f"{' '.join(longer[min(len(known), len(planned)) :])} {'left out' if longer is known else 'added'}"
