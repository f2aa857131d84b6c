"""Films of drawn faces that talk at known times, with the CSV that a tracker would have written about them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memobert_plugin.features.speakers.face_sources.tracker import PLAIN_COLUMNS
from tests.films import RATE, Cue, write_film, write_srt

WIDTH, HEIGHT = 160, 96


@dataclass(frozen=True)
class DrawnFace:
    """A face: where it is and when it is seen and talks, in seconds."""

    x: float = 40.0
    y: float = 48.0
    size: float = 40.0
    talks: tuple[tuple[float, float], ...] = ()
    seen: tuple[float, float] = (0.0, 1e9)

    def is_seen(self, time: float) -> bool:
        return self.seen[0] <= time < self.seen[1]

    def opening(self, time: float) -> float:
        """Of the mouth, in [0, 1]: about three syllables a second."""
        return float(syllables(np.array([time]))[0]) if any(begin <= time < end for begin, end in self.talks) else 0.0

    def lips(self, time: float) -> tuple[float, float]:
        """Heights of the lips' inner edges."""
        middle, half = self.y + 0.28 * self.size, 0.08 * self.size * self.opening(time)
        return middle - half, middle + half


def syllables(times: np.ndarray) -> np.ndarray:
    """Loudness in [0, 1] of somebody who talks."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * (3.1 * times + 0.3 * np.sin(2.2 * times)))


def draw(faces: Sequence[DrawnFace], time: float) -> np.ndarray:
    """uint8 (96, 160, 3)."""
    picture = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for face in faces:
        if not face.is_seen(time):
            continue
        x, y, half = (columns - face.x) / face.size, (rows - face.y) / face.size, 0.5
        picture[(x / 0.4) ** 2 + (y / half) ** 2 < 1] = (210, 170, 150)
        for side in (-1, 1):
            picture[(x - 0.16 * side) ** 2 + (y + 0.12) ** 2 < 0.05**2] = (30, 30, 30)
        upper, lower = ((lip - face.y) / face.size for lip in face.lips(time))
        picture[(abs(x) < 0.14) & (y >= upper - 0.02) & (y <= lower + 0.02)] = (90, 20, 20)
    return picture


def write_tracker(path: Path, faces: Sequence[DrawnFace], seconds: float, fps: int = 20) -> Path:
    """The plain CSV, a row for each face of each picture."""
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(PLAIN_COLUMNS)
        for step in range(round(seconds * fps)):
            time = step / fps
            for number, face in enumerate(faces):
                if not face.is_seen(time):
                    continue
                box = (
                    face.x - 0.4 * face.size,
                    face.y - face.size / 2,
                    face.x + 0.4 * face.size,
                    face.y + face.size / 2,
                )
                eyes = (
                    face.x - 0.16 * face.size,
                    face.y - 0.12 * face.size,
                    face.x + 0.16 * face.size,
                    face.y - 0.12 * face.size,
                )
                upper, lower = face.lips(time)
                corners = (
                    face.x - 0.14 * face.size,
                    (upper + lower) / 2,
                    face.x + 0.14 * face.size,
                    (upper + lower) / 2,
                )
                rows.writerow((time, *box, number, 1.0, *eyes, *corners, face.x, upper, face.x, lower))
    return path


def voice(faces: Iterable[DrawnFace], seconds: float) -> np.ndarray:
    """float32 sound at 16 kHz: a hum while somebody talks."""
    times = np.arange(round(seconds * RATE)) / RATE
    talking = np.zeros(len(times), bool)
    for face in faces:
        for begin, end in face.talks:
            talking |= (times >= begin) & (times < end)
    hum = sum(np.sin(2 * np.pi * pitch * times) / number for number, pitch in enumerate((140, 280, 420, 560), start=1))
    return (0.2 * hum * np.where(talking, 0.15 + 0.85 * syllables(times), 0.0)).astype(np.float32)


def write_talking_film(
    folder: Path, name: str, faces: Sequence[DrawnFace], cues: Iterable[Cue], seconds: float, **options: object
) -> Path:
    """``name.mp4`` with ``name.srt`` beside it and ``tracks/name.csv``; ``options`` go to :func:`write_film`."""
    suffix = str(options.pop("suffix", ".mp4"))
    film = folder / f"{name}{suffix}"
    write_film(
        film,
        **{"seconds": seconds, "picture": lambda time: draw(faces, time), "samples": voice(faces, seconds), **options},  # type: ignore[arg-type]
    )
    write_srt(film.with_suffix(".srt"), cues)
    (folder / "tracks").mkdir(exist_ok=True)
    write_tracker(folder / "tracks" / f"{name}.csv", faces, seconds)
    return film
