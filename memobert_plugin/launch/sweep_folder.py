"""The folder of a sweep: the plan it was started with, one folder per run, and one launcher at a time."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import __version__
from ..data.atomic import replaced_when_complete
from ..data.lock import taken
from ..errors import UserError, room_is_needed
from .expansion import Run
from .run_folder import DONE, FAILED, WAITING, RunFolder

FORMAT = 1
PLAN_FILE, SWEEP_FILE = "plan.yaml", "sweep.json"
_HOW_NOT_WHAT = ("--user-dir", "--distributed-world-size", "--distributed-port", "--distributed-backend")
"""Flags that say how a run is carried out; with other values it is still the same run."""


class SweepFolder:
    """A sweep's folder.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    def run(self, name: str) -> RunFolder:
        """A run's folder."""
        return RunFolder(self.path / name)

    def names(self) -> list[str]:
        """The runs that are there, in the order of their kinds and names.

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
        """Be the only launcher; yields the lock's descriptor, which started processes must close.

        Raises:
            DiskFull: there is no room; what is done stays done.
            UserError: the folder holds something else, or another launcher is at work on this machine or, where the
                file system passes locks on, elsewhere.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        # A launcher that was killed at once leaves its lock and a file that it was writing.
        others = [path.name for path in self.path.iterdir() if not path.name.startswith(".")]
        if others and SWEEP_FILE not in others:
            raise UserError(f"{self.path}: exists and holds something else (no {SWEEP_FILE}); choose another --output")
        with room_is_needed(self.path), open(self.path / ".lock", "w") as stream:
            if not taken(stream.fileno()):
                raise UserError(
                    f"{self.path}: another memobert-sweep is at work there; memobert-sweep status {self.path} shows "
                    f"how far it is"
                )
            if not others:
                self._write(plan)
            yield stream.fileno()

    def prepare(self, plan: Path, runs: Sequence[Run], queued: Collection[str] = ()) -> None:
        """Write down what is to be done; only the launcher may. A failed run that saved nothing takes other values and
        begins anew.

        Args:
            plan: the plan file, of which a copy is kept.
            runs: all runs.
            queued: numbers of SLURM jobs that may start at any moment; their runs' ``run.json`` stay as they are.

        Raises:
            UserError: a run was started with other values than this plan's.
        """
        changed = [folder for run in runs if _has_other_values(folder := self.run(run.name), run, queued)]
        for folder in changed:
            folder.begin_anew()
        if not (self.path / PLAN_FILE).exists() or not plan.samefile(self.path / PLAN_FILE):
            shutil.copyfile(plan, self.path / PLAN_FILE)
        self._write(plan)
        for run in runs:
            folder = self.run(run.name)
            if folder.submitted_job() in queued or folder.is_owned():
                continue
            state = folder.read_state()
            if state.status != DONE:
                folder.write_description(run.description)
            if not state.attempts:
                folder.change_state(status=WAITING)

    def _write(self, plan: Path) -> None:
        content = {
            "format": FORMAT,
            "plan_sha256": hashlib.sha256(plan.read_bytes()).hexdigest(),
            "version": __version__,
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


def _has_other_values(folder: RunFolder, run: Run, queued: Collection[str]) -> bool:
    """Whether the run failed with other values than these, and may take these.

    Raises:
        UserError: it was started with other values and may not.
    """
    state = folder.read_state()
    if not state.attempts or not folder.is_described():
        return False
    differing = _differences(_what(folder.read_description()), _what(json.loads(json.dumps(run.description))))
    if not differing:
        return False
    if state.status == FAILED and folder.saved_nothing() and folder.submitted_job() not in queued:
        return True
    raise UserError(
        f"{folder.path}: was started with other values than the plan's ({'; '.join(differing[:3])}); give the "
        f"changed plan another name or --output, or remove that folder"
    )


def _what(description: Mapping[str, Any]) -> dict[str, Any]:
    """A description without how its commands are carried out."""
    commands = []
    for command in description["commands"]:
        skipped = {place for place, word in enumerate(command) if word in _HOW_NOT_WHAT}
        skipped |= {place + 1 for place in skipped}
        commands.append([word for place, word in enumerate(command) if place not in skipped])
    return {**description, "commands": commands}


def _differences(known: Mapping[str, Any], planned: Mapping[str, Any]) -> list[str]:
    if known["commands"] != planned["commands"]:
        pairs = zip(known["commands"], planned["commands"], strict=False)
        words = [_first_difference(*pair) for pair in pairs if pair[0] != pair[1]] or ["other commands"]
        return words
    return [
        f"{key}: {known.get(key)!r}, now {planned.get(key)!r}"
        for key in {**known, **planned}
        if known.get(key) != planned.get(key)
    ]


def _first_difference(known: Sequence[str], planned: Sequence[str]) -> str:
    for place, (old, new) in enumerate(zip(known, planned, strict=False)):
        if old != new:
            flag = known[place - 1] if place and known[place - 1].startswith("--") else ""
            return " ".join(filter(None, (flag, f"{old}, now {new}")))
    longer = max(known, planned, key=len)
    return f"{' '.join(longer[min(len(known), len(planned)) :])} {'left out' if longer is known else 'added'}"
