"""The contact sheet of a film: one HTML file that shows line by line what was kept, what was not, and why."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ....core.errors import UserError
from ....core.files import is_stream, replaced_when_complete
from ....data.frames import FERPLUS_CLASSES
from .parts import reason_kind
from .plan import FilmPart
from .sheet import sheet_file

WIDTH: Final = 560
"""Of a line's drawing, in pixels."""
COLOURS: Final = {
    "neutral": "#b8b8b8", "happiness": "#e8b000", "surprise": "#f08030", "sadness": "#3070c0", "anger": "#c02020",
    "disgust": "#5a8f29", "fear": "#7a4fa3", "contempt": "#8c5a3c",
}  # fmt: skip

_CURVE_HEIGHT: Final = 56


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
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name("sheet_page.html").read_text(encoding="utf-8"))
    reasons = Counter(reason_kind(note["dropped"]) for note in _notes(sheets) if note["dropped"])
    kept = sum(not note["dropped"] for note in _notes(sheets))
    stream = template.stream(
        film=film,
        kept=kept,
        reasons=reasons.most_common(),
        colours=COLOURS,
        width=WIDTH,
        height=_CURVE_HEIGHT,
        lines=(_drawn(note) for note in _notes(sheets)),
    )
    with replaced_when_complete(page) as temporary:
        stream.dump(str(temporary), encoding="utf-8")


def _notes(sheets: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for sheet in sheets:
        with open(sheet, encoding="utf-8") as file:
            yield from map(json.loads, file)


def _drawn(note: dict[str, Any]) -> dict[str, Any]:
    """A note with what the drawing needs."""
    scale = WIDTH / max(1e-3, note["end"] - note["start"])
    times = np.array(note["expression_times"])
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.1
    note["clock"] = _clock(note["start"])
    note["voice_bars"] = [(begin * scale, (end - begin) * scale) for begin, end in note["voiced"]]
    for row, track in enumerate(note["tracks"]):
        track["row"], seen = row, np.array(track["times"])
        track["bars"] = [
            (seen[run[0]] * scale, (seen[run[-1]] - seen[run[0]] + step) * scale) for run in _runs(seen, step)
        ]
    note["curves"] = _curves(np.array(note["expression"]), times, step, scale)
    return note


def _curves(expression: np.ndarray, times: np.ndarray, step: float, scale: float) -> list[tuple[str, str]]:
    """(colour, SVG path) of the probability of each expression, stacked."""
    if not len(times):
        return []
    names = FERPLUS_CLASSES if expression.shape[1] == len(FERPLUS_CLASSES) else [""] * expression.shape[1]
    palette = list(COLOURS.values())
    tops = np.concatenate([np.zeros((len(times), 1)), np.cumsum(expression, axis=1)], axis=1)
    paths = []
    for index, name in enumerate(names):
        pieces = []
        for run in _runs(times, step):
            left, right = times[run] * scale, (times[run] + step) * scale
            x = np.stack([left, right], axis=1).ravel()
            upper, lower = (np.repeat(tops[run, place], 2) * _CURVE_HEIGHT for place in (index + 1, index))
            points = [*zip(x, upper, strict=True), *zip(x[::-1], lower[::-1], strict=True)]
            pieces.append("M" + "L".join(f"{place:.1f} {_CURVE_HEIGHT - height:.1f}" for place, height in points) + "Z")
        paths.append((COLOURS.get(name, palette[index % len(palette)]), "".join(pieces)))
    return paths


def _runs(times: np.ndarray, step: float) -> list[np.ndarray]:
    """Indices of stretches in which the times follow each other without a gap."""
    return np.split(np.arange(len(times)), np.flatnonzero(np.diff(times) > 1.5 * step) + 1)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes) // 60}:{int(minutes) % 60:02d}:{rest:04.1f}"
