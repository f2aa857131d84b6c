"""Compare two face sources on real clips: faces found, strongest expression, the interview's speaker, processor time.

    MEMOBERT_TEST_DATA=FOLDER python scripts/benchmark/face_sources.py [--first mediapipe] [--second litert]

The folder ``talking_heads`` of the data holds sixteen clips with seventeen faces. Ten pictures a second go through both
sources in turn. A face of the second source counts as one of the first if their boxes overlap by 0.3; both are cut out
and shown to the shipped DenseFace. Processor time is that of all threads of this process.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "reliability"))
from who_speaks import RATE, Clip, interview_seconds

from memobert_plugin.features.denseface.encoder import FACE_ENCODERS, FaceEncoder
from memobert_plugin.features.media.pictures import Picture, pictures
from memobert_plugin.features.media.sound import read_clip
from memobert_plugin.features.speakers.crop import aligned_crop
from memobert_plugin.features.speakers.face import Face, same_face
from memobert_plugin.features.speakers.face_sources import FaceSource, load_face_source
from memobert_plugin.features.speakers.tracks import FaceTrack, TrackBuilder
from memobert_plugin.features.speakers.voice_detectors import load_voice_detector


@dataclass
class Row:
    """Counts of one clip, or of all; pairs are of the first and the second source."""

    pictures: int = 0
    with_faces: np.ndarray = field(default_factory=lambda: np.zeros(2, dtype=int))
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(2))
    in_both: int = 0
    same_expression: int = 0
    distances: list[float] = field(default_factory=list)
    """Of eyes and mouth, as shares of the distance between the eyes."""

    def add(self, other: Row) -> None:
        """Add another clip's counts."""
        self.pictures += other.pictures
        self.with_faces += other.with_faces
        self.seconds += other.seconds
        self.in_both += other.in_both
        self.same_expression += other.same_expression
        self.distances += other.distances

    def cells(self) -> list[str]:
        """Return the row's cells."""
        milliseconds = (f"{1000 * seconds / self.pictures:.1f}" for seconds in self.seconds)
        agreeing = f"{self.same_expression / max(1, self.in_both):.1%}"
        apart = f"{float(np.nanmedian(self.distances)):.1%}"
        return [str(self.pictures), *map(str, self.with_faces), str(self.in_both), agreeing, apart, *milliseconds]


def look(sources: Sequence[FaceSource], shown: Sequence[Picture]) -> tuple[list[list[list[Face]]], np.ndarray]:
    """Return each source's faces of all pictures, and its processor seconds."""
    found: list[list[list[Face]]] = [[] for _ in sources]
    seconds = np.zeros(len(sources))
    for picture in shown:
        for index, source in enumerate(sources):
            begun = time.process_time()
            found[index].append(source.faces(picture.time, picture.rgb))
            seconds[index] += time.process_time() - begun
    return found, seconds


def compare(found: list[list[list[Face]]], shown: Sequence[Picture], encoder: FaceEncoder) -> Row:
    """Return a clip's counts but for the time."""
    row = Row(pictures=len(shown), with_faces=np.array([sum(map(bool, faces)) for faces in found]))
    crops: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for picture, firsts, seconds in zip(shown, *found, strict=True):
        for first in firsts:
            for second in (face for face in seconds if same_face(first.box, face.box)):
                crops[0].append(aligned_crop(picture.rgb, first))
                crops[1].append(aligned_crop(picture.rgb, second))
                row.distances.append(distance(first, second))
    if crops[0]:
        expressions = [encoder.encode(np.stack(some))[1].argmax(axis=1) for some in crops]
        row.in_both = len(crops[0])
        row.same_expression = int((expressions[0] == expressions[1]).sum())
    return row


def distance(first: Face, second: Face) -> float:
    """Return the mean distance of eyes, corners of the mouth and lips over that between the eyes; NaN where unknown."""
    if first.eyes is None or first.mouth is None or second.eyes is None or second.mouth is None:
        return float("nan")
    apart = np.concatenate([first.eyes - second.eyes, first.mouth - second.mouth])
    return float(np.linalg.norm(apart, axis=1).mean() / np.linalg.norm(first.eyes[1] - first.eyes[0]))


def tracks(faces: Sequence[list[Face]], shown: Sequence[Picture]) -> list[FaceTrack]:
    """Join faces to tracks, from left to right, without glimpses."""
    builder = TrackBuilder()
    for picture, some in zip(shown, faces, strict=True):
        builder.add(picture.time, picture.rgb, some)
    long = [track for track in builder.finish() if 2 * len(track.times) > len(shown)]
    return sorted(long, key=lambda track: track.boxes[0, 0])


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", default="mediapipe", help="a face source (default: %(default)s)")
    parser.add_argument("--second", default="litert", help="another one (default: %(default)s)")
    options = parser.parse_args()
    folder = Path(os.environ.get("MEMOBERT_TEST_DATA", ""), "talking_heads")
    if not folder.is_dir():
        parser.error(f"{folder}: no such folder; set MEMOBERT_TEST_DATA to the folder that holds talking_heads")
    torch.set_num_threads(1)
    names = (options.first, options.second)
    sources = [load_face_source(name) for name in names]
    encoder = FACE_ENCODERS.get("denseface")
    denseface, voice = encoder.from_options(encoder.Options(), "cpu"), load_voice_detector("silero")
    total = Row()
    print("| clip | pictures | with faces: " + " | ".join(names) + " | faces of both | same expression | apart | "
          + " | ".join(f"{name}, ms" for name in names) + " |\n" + "|---" * 9 + "|")  # fmt: skip
    for path in sorted(folder.glob("*/*.mp*")):
        shown = list(pictures(path, RATE))
        found, seconds = look(sources, shown)
        row = compare(found, shown, denseface)
        row.seconds = seconds
        total.add(row)
        print(f"| {path.stem} | {' | '.join(row.cells())} |", flush=True)
        if path.stem == "interview":
            samples = read_clip(path)
            voiced = voice.intervals(samples)
            clips = [Clip(path.stem, "", tracks(some, shown), [], samples, voiced, shown[0]) for some in found]
    print(f"| all | {' | '.join(total.cells())} |\n")
    for name, clip in zip(names, clips, strict=True):
        print(f"the interview's speaker by {name}: right in {interview_seconds(clip):g} of 17 s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
