"""Contact sheets of films: notes on every line, written during extraction, and the HTML pages that show them."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from ....core.errors import UserError
from ....core.files import is_stream, replaced_when_complete
from ....data.frames import FERPLUS_CLASSES
from ....pages.drawings import Tracks, emotion_colors, runs_of, time_step
from ....pages.template import load_template, media_address
from ...media.subtitles import DroppedLine, Line
from ...media.thumbnails import jpeg_address
from ...speakers.tracks import FaceTrack
from ..clip import ClipFrames
from ..job import reason_kind
from .plan import FilmPart

SHEETS: Final = "sheets"
_CROPS_SHOWN: Final = 10
_TRACKS_SHOWN: Final = 6


def sheet_file(output: Path, part: FilmPart) -> Path:
    """Return the file of a part's notes."""
    return output / SHEETS / part.folder.with_suffix(".jsonl")


class Sheet:
    """The notes of one part, one JSON object per line; written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._notes: list[tuple[int, str]] = []

    def add(self, line: Line, clip: ClipFrames) -> None:
        """Note the pictures, faces and voice of a line."""
        note = _note(line, clip.dropped)
        chosen = clip.choice.track if clip.choice is not None else None
        note["voiced"] = _rounded(clip.voiced)
        note["tracks"] = [_track_note(track, track is chosen, clip) for track in _most_seen(clip.tracks, chosen)]
        note["other_tracks"] = max(0, len(clip.tracks) - _TRACKS_SHOWN)
        note["pictures"] = [
            {
                "address": jpeg_address(thumbnail.rgb),
                "width": thumbnail.rgb.shape[1],
                "height": thumbnail.rgb.shape[0],
                "boxes": [
                    {"box": _rounded(box * thumbnail.scale), "chosen": track is chosen}
                    for track in clip.tracks
                    for box in track.boxes[np.abs(track.times - thumbnail.time) < 1e-3]
                ],
            }
            for thumbnail in clip.thumbnails
        ]
        if clip.expression is not None:
            note["expression"] = _rounded(clip.expression)
            note["expression_times"] = _rounded(clip.visual_times)
        self._keep(line, note)

    def write(self, never_looked_at: Sequence[DroppedLine]) -> None:
        """Write all notes in order of the lines' numbers, with those of lines that were dropped beforehand."""
        for each in never_looked_at:
            self._keep(each.line, _note(each.line, each.reason))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with (
            replaced_when_complete(self._path) as temporary,
            open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file,
        ):
            file.writelines(f"{note}\n" for _, note in sorted(self._notes))

    def _keep(self, line: Line, note: dict[str, Any]) -> None:
        self._notes.append((line.number, json.dumps(note, ensure_ascii=False)))


def _note(line: Line, dropped: str) -> dict[str, Any]:
    text = " ".join(line.text.split())
    return {
        "number": line.number, "start": line.start, "end": line.end, "text": text, "dropped": dropped, "voiced": [],
        "tracks": [], "other_tracks": 0, "pictures": [], "expression": [], "expression_times": [],
    }  # fmt: skip


def _most_seen(tracks: Sequence[FaceTrack], chosen: FaceTrack | None) -> list[FaceTrack]:
    """Return the tracks seen most often, the chosen one first."""
    return sorted(tracks, key=lambda track: (track is not chosen, -len(track.times), track.number))[:_TRACKS_SHOWN]


def _track_note(track: FaceTrack, chosen: bool, clip: ClipFrames) -> dict[str, Any]:
    shown = np.unique(np.linspace(0, len(track.times) - 1, _CROPS_SHOWN).round().astype(int))
    evidence = clip.choice.evidence if clip.choice is not None else []
    return {
        "chosen": chosen,
        "times": _rounded(track.times),
        "share": round(len(track.times) / max(1, clip.pictures), 3),
        "strip": jpeg_address(np.concatenate(track.crops[shown], axis=1)),
        "crops": len(shown),
        "objection": next((each.reason for each in evidence if each.track == track.number), ""),
    }


def _rounded(values: Any) -> list[Any]:
    return np.round(np.asarray(values, dtype=np.float64), 3).tolist()


def check_sheet_page(target: Path) -> None:
    """Check, before the work, that a page can be written there, and make its folder.

    Raises:
        UserError: it cannot be written, or a file that is no such page is there.
    """
    if is_stream(target):
        return
    if target.is_file() and b"contact sheet</title>" not in target.read_bytes()[:2000]:
        raise UserError(f"--preview {target}: exists and is no contact sheet; name another file")
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
        The pages, and the number of parts without notes. With several films the first page, ``target``, lists them.
    """
    films: dict[str, list[FilmPart]] = {}
    for part in parts:
        films.setdefault(part.film, []).append(part)
    pages: list[Path] = []
    rows: list[dict[str, Any]] = []
    missing = 0
    several = len(films) > 1 and not is_stream(target)
    for film, own in films.items():
        noted = [part for part in own if sheet_file(output, part).is_file()]
        missing += len(own) - len(noted)
        if noted:
            name = own[0].folder.parent.name
            page = target.with_name(f"{target.stem}-{name}{target.suffix or '.html'}") if several else target
            sheets = [sheet_file(output, part) for part in noted]
            counts = _write_page(film, own[0].path, sheets, page, quote(target.name) if several else "")
            rows.append({"name": film, "page": quote(page.name), **counts})
            pages.append(page)
    if several and rows:
        html = load_template(Path(__file__).with_name("index_page.html")).render(films=rows)
        with replaced_when_complete(target, named_by_user=True) as temporary:
            temporary.write_text(html, encoding="utf-8")
        pages.insert(0, target)
    return pages, missing


def _write_page(film: str, path: Path, sheets: Sequence[Path], page: Path, index: str) -> dict[str, Any]:
    """Write the page as a stream, so that memory does not grow with the film; return the counts of its lines."""
    template = load_template(Path(__file__).with_name("sheet_page.html"))
    reasons = Counter(reason_kind(note["dropped"]) for note in _notes(sheets) if note["dropped"])
    kept = sum(not note["dropped"] for note in _notes(sheets))
    address = "" if is_stream(page) else media_address(path, page.absolute().parent)
    stream = template.stream(
        film=film,
        index=index,
        kept=kept,
        reasons=reasons.most_common(),
        colors=emotion_colors(FERPLUS_CLASSES),
        lines=(_drawn(note) | {"media": address} for note in _notes(sheets)),
    )
    with replaced_when_complete(page, named_by_user=True) as temporary:
        stream.dump(str(temporary), encoding="utf-8")
    return {"kept": kept, "lines": kept + reasons.total(), "reasons": reasons.most_common(1)}


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
    note["said"] = _said(note, classes)
    return note


def _said(note: dict[str, Any], classes: Sequence[str]) -> str:
    """Return in words what the drawing of a line shows."""
    said = []
    if note["expression"]:
        shares = np.mean(note["expression"], axis=0)
        said.append(f"expression: on average {classes[int(shares.argmax())]}, {shares.max():.0%}")
    voiced = ", ".join(f"{begin:.1f} to {end:.1f} s" for begin, end in note["voiced"])
    said.append(f"voice: {voiced or 'none'}")
    return "; ".join(said)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes) // 60}:{int(minutes) % 60:02d}:{rest:04.1f}"
