"""Count how often a face is taken for the speaker, rightly and wrongly, on real clips and on voice-over made of them.

    MEMOBERT_TEST_DATA=FOLDER python scripts/reliability/who_speaks.py [--fit FILE]

The folder ``talking_heads`` of the data holds ten GRID clips, four HDTF clips, an interview of two people and a man in
a restaurant. They are cut into pieces of three or four seconds. A piece with its own sound is a film in which the face
speaks. A piece with another film's sound is a film in which it does not: voice-over. So are the interview's left man
while he listens, a still picture, and a still picture that sways and shimmers. "before" takes every mouth that moves
while there is voice; "after" also asks whether it moves with this sound.

``--fit`` fits the map from sound to mouth anew and writes it. Then the table has two more columns: each half of the
GRID and HDTF clips judged with a map fitted to the other half. The shipped map was fitted to all of them, so that only
the interview and the restaurant are new to it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np

from memobert_plugin.features.media.pictures import Picture, pictures
from memobert_plugin.features.media.sound import SAMPLE_RATE, read_clip
from memobert_plugin.features.speakers import lip_sync
from memobert_plugin.features.speakers.active_speaker import SpeakerSettings, choose_speaker, speaker_over_time
from memobert_plugin.features.speakers.face_sources import FaceSource, load_face_source
from memobert_plugin.features.speakers.tracks import FaceTrack, TrackBuilder
from memobert_plugin.features.speakers.voice import Interval, within_intervals
from memobert_plugin.features.speakers.voice_detectors import load_voice_detector

RATE, FIT_RATE = 10.0, 25.0
PIECE = 4.0
BANDS = 20
LAGS = np.round(np.arange(-0.2, 0.21, 0.04), 2)
SHRINKAGE = 1000.0
CHANGES_WEIGHT = 0.5
LISTENS = (11.2, 14.9)
"""Seconds of the interview in which only the man on the right talks."""
TURNS = {"left": (0.0, 9.0), "right": (9.5, 15.0)}


@dataclass(frozen=True, eq=False)
class Piece:
    """Faces and a sound of the same seconds."""

    clip: str
    kind: str
    talks: bool
    tracks: list[FaceTrack]
    """The one that talks first."""
    samples: np.ndarray
    voiced: list[Interval]

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    def under(self, other: Piece) -> Piece:
        """Return these faces with the other piece's sound, as long as the shorter of the two."""
        seconds = min(self.seconds, other.seconds)
        return replace(
            self,
            talks=False,
            tracks=[track.chosen(track.times < seconds) for track in self.tracks],
            samples=other.samples[: round(seconds * SAMPLE_RATE)],
            voiced=[(begin, min(end, seconds)) for begin, end in other.voiced if begin < seconds],
        )


@dataclass(frozen=True, eq=False)
class Clip:
    """A film: its faces from left to right, sound and voice."""

    name: str
    folder: str
    tracks: list[FaceTrack]
    fit_tracks: list[FaceTrack]
    samples: np.ndarray
    voiced: list[Interval]
    first: Picture

    def piece(self, faces: list[FaceTrack], begin: float, end: float, talks: bool = True, kind: str = "") -> Piece:
        """Cut out some seconds; ``faces`` are those in the picture, the one that talks first."""
        seen = [face.chosen((face.times >= begin - 1e-6) & (face.times < end - 1e-6)) for face in faces]
        moved = [replace(face, times=face.times - begin) for face in seen]
        voiced = [(max(a, begin) - begin, min(b, end) - begin) for a, b in self.voiced if min(b, end) > max(a, begin)]
        samples = self.samples[round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        return Piece(self.name, kind or self.folder, talks, moved, samples, voiced)


def follow(source: FaceSource, shown: Sequence[Picture]) -> list[FaceTrack]:
    """Return the faces of some pictures over time, from left to right, without glimpses."""
    builder = TrackBuilder()
    for picture in shown:
        builder.add(picture.time, picture.rgb, source.faces(picture.time, picture.rgb))
    tracks = [track for track in builder.finish() if 2 * len(track.times) > len(shown)]
    return sorted(tracks, key=lambda track: track.boxes[0, 0])


def read_clips(folder: Path, source: FaceSource, *, for_fit: bool) -> Iterator[Clip]:
    """Read all clips; with ``for_fit`` also the faces of GRID and HDTF 25 times a second."""
    voice = load_voice_detector("silero")
    for path in sorted(folder.glob("*/*.mp*")):
        shown = list(pictures(path, RATE))
        samples = read_clip(path)
        fit = for_fit and path.parent.name != "visualvoice"
        fit_tracks = follow(source, list(pictures(path, FIT_RATE))) if fit else []
        yield Clip(
            path.stem, path.parent.name, follow(source, shown), fit_tracks, samples, voice.intervals(samples), shown[0]
        )
        print(f"read {path.name}", file=sys.stderr)


def cut(clip: Clip) -> Iterator[Piece]:
    """Yield a clip's pieces."""
    if clip.name == "interview":
        left, right = clip.tracks
        for faces, (begin, end) in (([left, right], TURNS["left"]), ([right, left], TURNS["right"])):
            for first in np.arange(begin, end - 2.0, 3.0):
                yield clip.piece(faces, first, min(first + 3.0, end), kind="two faces")
        yield clip.piece([left], *LISTENS, talks=False, kind="listens")
        return
    seconds = len(clip.samples) / SAMPLE_RATE
    count = max(1, round(seconds / PIECE))
    for index in range(count):
        yield clip.piece(clip.tracks, index * seconds / count, (index + 1) * seconds / count)


def still(clip: Clip, source: FaceSource, sways: bool) -> Piece:
    """Make a film of a clip's first picture; if it sways, with shifts of up to 4 pixels and noise of 2 grey levels."""
    noise = np.random.default_rng(0)
    shown = []
    for step in range(round(min(PIECE, len(clip.samples) / SAMPLE_RATE) * RATE)):
        rgb = clip.first.rgb
        if sways:
            shift = (round(2 * np.sin(step * 0.9)), round(4 * np.sin(step * 0.6)))
            moved = np.roll(rgb, shift, axis=(0, 1))
            rgb = np.clip(moved + noise.normal(0, 2, rgb.shape), 0, 255).astype(np.uint8)
        shown.append(Picture(step / RATE, rgb))
    whole = replace(clip, tracks=follow(source, shown))
    return whole.piece(whole.tracks, 0.0, len(shown) / RATE, talks=False, kind="sways" if sways else "still")


def fit(clips: Sequence[Clip]) -> lip_sync.OpeningMap:
    """Fit the map by ridge regression of the log opening, and of its change over 0.1 s, on log-mel bands around."""
    squares = np.eye(BANDS * len(LAGS)) * SHRINKAGE
    products = np.zeros(len(squares))
    for clip in clips:
        track = clip.fit_tracks[0]
        bands = lip_sync.mel_bands(clip.samples, clip.voiced, BANDS)

        def around(times: np.ndarray, bands: np.ndarray = bands) -> np.ndarray:
            places = np.rint((times[:, None] + LAGS) * lip_sync.RATE).astype(int)
            return bands[np.clip(places, 0, len(bands) - 1)].reshape(len(times), -1)

        opening = lip_sync.log_opening(track.mouth_opening)
        known = within_intervals(track.times, clip.voiced) & ~np.isnan(opening)
        opening = (opening - opening[known].mean()) / opening[known].std()
        before = track.times - 0.1
        change = opening - np.interp(before, track.times[~np.isnan(opening)], opening[~np.isnan(opening)])
        inputs, differences = around(track.times), around(track.times) - around(before)
        centred = inputs[known] - inputs[known].mean(axis=0)
        squares += centred.T @ centred + CHANGES_WEIGHT * differences[known].T @ differences[known]
        products += centred.T @ opening[known] + CHANGES_WEIGHT * differences[known].T @ change[known]
    weights = np.linalg.solve(squares, products).reshape(len(LAGS), BANDS)
    return lip_sync.OpeningMap(LAGS, np.round(weights, 4))


def is_taken(film: Piece, settings: SpeakerSettings, opening_map: lip_sync.OpeningMap) -> bool:
    """Return whether a face is taken for the speaker: of films in which one talks, the right one."""
    with patch.object(lip_sync, "shipped_map", lambda: opening_map):
        taken = choose_speaker(
            film.tracks,
            film.voiced,
            clip_seconds=film.seconds,
            frames=len(film.tracks[0].times),
            samples=film.samples,
            settings=settings,
        ).track
    return taken is film.tracks[0] if film.talks else taken is not None


def films_of(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Yield every piece with its own sound and with that of each talking piece of other clips."""
    talking = [piece for piece in pieces if piece.talks]
    for piece in pieces:
        if piece.talks or piece.kind == "listens":
            yield piece
        yield from (piece.under(other) for other in talking if other.clip != piece.clip)


def write_map(path: Path, opening_map: lip_sync.OpeningMap) -> None:
    """Write a map as JSON, a row of weights per line."""
    rows = ",\n  ".join(json.dumps([float(weight) for weight in row]) for row in opening_map.weights)
    made = "the mouths and voices of 10 GRID and 4 HDTF clips (CC BY 4.0) by scripts/reliability/who_speaks.py --fit"
    lags = json.dumps([float(lag) for lag in opening_map.lags])
    path.write_text(f'{{"fitted_to": "{made}",\n "lags": {lags},\n "weights": [\n  {rows}]}}\n', encoding="utf-8")


def report(films: Sequence[Piece], maps: dict[str, dict[str, lip_sync.OpeningMap]]) -> None:
    """Print counts of films whose face is taken, before and after; ``maps`` has a column's map for each clip."""
    settings = SpeakerSettings()
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * (2 + len(maps)))
    for film in films:
        row = counts["own voice" if film.talks else "another's voice", film.kind]
        row[0] += 1
        row[1] += is_taken(film, replace(settings, most_shifted=1.0, most_shifted_among=1.0), lip_sync.shipped_map())
        for column, by_clip in enumerate(maps.values(), start=2):
            row[column] += is_taken(film, settings, by_clip.get(film.clip, lip_sync.shipped_map()))
    print(f"| voice | face | films | taken before | {' | '.join(maps)} |")
    print("|---" * (4 + len(maps)) + "|")
    for (voice, kind), row in sorted(counts.items(), reverse=True):
        print(f"| {voice} | {kind} | {' | '.join(map(str, row))} |")
    for voice in ("own voice", "another's voice"):
        sums = np.sum([row for (name, _), row in counts.items() if name == voice], axis=0)
        print(f"| {voice} | all | {' | '.join(map(str, sums))} |")


def interview_seconds(clip: Clip) -> float:
    """Return in how many of the interview's first 17 s the speaker is told: left for 9 s, then right."""
    left, right = clip.tracks
    spans = speaker_over_time(
        clip.tracks, clip.voiced, clip_seconds=len(clip.samples) / SAMPLE_RATE, samples=clip.samples
    )
    truth = [(span, (left if span.begin < 9.0 else right).number) for span in spans if span.end <= 17.0]
    return sum(span.end - span.begin for span, number in truth if span.track == number)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=Path, metavar="FILE", help="fit the map from sound to mouth and write it here")
    options = parser.parse_args()
    folder = Path(os.environ.get("MEMOBERT_TEST_DATA", ""), "talking_heads")
    if not folder.is_dir():
        parser.error(f"{folder}: no such folder; set MEMOBERT_TEST_DATA to the folder that holds talking_heads")
    source = load_face_source("litert")
    clips = list(read_clips(folder, source, for_fit=options.fit is not None))
    maps: dict[str, dict[str, lip_sync.OpeningMap]] = {"taken after": {}}
    if options.fit is not None:
        known = [clip for clip in clips if clip.fit_tracks]
        write_map(options.fit, fit(known))
        whole = {clip.name: fit(known) for clip in clips}
        by_other_half = dict(whole)
        for half in (known[::2], known[1::2]):
            fitted = fit([clip for clip in known if clip not in half])
            by_other_half.update({clip.name: fitted for clip in half})
        maps = {"taken after": whole, "after, map of the other half": by_other_half}
    pieces = [piece for clip in clips for piece in cut(clip)]
    pieces += [still(clip, source, sways) for clip in clips[:: len(clips) // 5] for sways in (False, True)]
    report(list(films_of(pieces)), maps)
    interview = next(clip for clip in clips if clip.name == "interview")
    print(f"\nthe interview's speaker, told every half second: {interview_seconds(interview):g} of 17 s right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
