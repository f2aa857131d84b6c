"""What a person may want to see of a part's lines, noted while they are looked at, one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ....core.files import replaced_when_complete
from ...media.subtitles import DroppedLine, Line
from ...media.thumbnails import jpeg_address
from ...speakers.tracks import FaceTrack
from ..clip import ClipFrames
from .plan import FilmPart

SHEETS: Final = "sheets"
_CROPS_SHOWN: Final = 10
_TRACKS_SHOWN: Final = 6


def sheet_file(output: Path, part: FilmPart) -> Path:
    """Where a part's notes lie."""
    return output / SHEETS / part.folder.with_suffix(".jsonl")


class Sheet:
    """Collects notes and writes them, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._notes: list[tuple[int, str]] = []

    def add(self, line: Line, clip: ClipFrames) -> None:
        """Note what was seen and heard of a line."""
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
    """The chosen one first."""
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
