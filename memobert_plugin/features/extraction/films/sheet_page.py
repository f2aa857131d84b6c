"""The contact sheet of a film: one HTML file that shows line by line what was kept, what was not, and why."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....core.errors import UserError
from ....core.files import is_stream, replaced_when_complete
from ....data.frames import FERPLUS_CLASSES
from ....pages.drawings import Tracks, emotion_colors, runs_of, time_step
from ....pages.template import load_template
from .parts import reason_kind
from .plan import FilmPart
from .sheet import sheet_file


def check_sheet_page(target: Path) -> None:
    """Make sure, before the work, that a page can be written there; its folder is made.

    Raises:
        UserError: it cannot.
    """
    if is_stream(target):
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            reason = "a folder has that name" if target.is_dir() else ""
    except OSError as error:
        reason = str(error.strerror)
    if reason:
        raise UserError(f"--preview {target}: cannot be written ({reason}); name another file")


def write_sheet_pages(parts: Sequence[FilmPart], output: Path, target: Path) -> tuple[list[Path], int]:
    """Write a page for every film whose parts have notes.

    Args:
        parts: of all films, in order.
        output: the job's folder.
        target: the page; of several films each has its own, with the film's name before the suffix.

    Returns:
        The pages, and the number of parts without notes.
    """
    films: dict[str, list[FilmPart]] = {}
    for part in parts:
        films.setdefault(part.film, []).append(part)
    pages: list[Path] = []
    missing = 0
    for film, own in films.items():
        noted = [part for part in own if sheet_file(output, part).is_file()]
        missing += len(own) - len(noted)
        if noted:
            name = own[0].folder.parent.name
            page = (
                target
                if len(films) == 1 or is_stream(target)
                else target.with_name(f"{target.stem}-{name}{target.suffix or '.html'}")
            )
            _write_page(film, [sheet_file(output, part) for part in noted], page)
            pages.append(page)
    return pages, missing


def _write_page(film: str, sheets: Sequence[Path], page: Path) -> None:
    """Stream the page, so that memory does not grow with the film."""
    template = load_template(Path(__file__).with_name("sheet_page.html"))
    reasons = Counter(reason_kind(note["dropped"]) for note in _notes(sheets) if note["dropped"])
    kept = sum(not note["dropped"] for note in _notes(sheets))
    stream = template.stream(
        film=film,
        kept=kept,
        reasons=reasons.most_common(),
        colors=emotion_colors(FERPLUS_CLASSES),
        lines=(_drawn(note) for note in _notes(sheets)),
    )
    with replaced_when_complete(page) as temporary:
        stream.dump(str(temporary), encoding="utf-8")


def _notes(sheets: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for sheet in sheets:
        with open(sheet, encoding="utf-8") as file:
            yield from map(json.loads, file)


def _drawn(note: dict[str, Any]) -> dict[str, Any]:
    """Add to a note its time and the drawing of expression, voice and faces."""
    note["clock"] = _clock(note["start"])
    expression, times = np.array(note["expression"]), np.array(note["expression_times"])
    known = len(times) and expression.shape[1] == len(FERPLUS_CLASSES)
    count = expression.shape[1] if len(times) else 0
    classes = FERPLUS_CLASSES if known else [f"expression {number}" for number in range(1, count + 1)]
    tracks = Tracks(
        note["end"] - note["start"], "expression, voice and faces over time", emotion_colors(classes), note["start"]
    )
    if len(times):
        tracks.stream("expression", "", times, expression, classes)
    tracks.intervals("voice", note["voiced"])
    for track in note["tracks"]:
        seen = np.array(track["times"])
        step = time_step(seen)
        runs = [(seen[run[0]], seen[run[-1]] + step) for run in runs_of(seen, step)]
        if track["chosen"]:
            tracks.intervals("the chosen face", runs)
        else:
            tracks.intervals("another face", runs, 'class="muted"')
    note["drawing"] = tracks.svg()
    return note


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes) // 60}:{int(minutes) % 60:02d}:{rest:04.1f}"
