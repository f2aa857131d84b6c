"""Join the faces of consecutive pictures to tracks, across gaps but not across cuts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .crop import aligned_crop
from .face import Face, overlap

_EVEN_CONTRAST: Final = 8.0

_MOUTH: Final = (slice(42, 60), slice(17, 47))
_UPPER_FACE: Final = (slice(12, 36), slice(12, 52))
_FARTHEST_SHIFT: Final = 2


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of the grey levels of two crops, in [-1, 1]; 0 if one of them is even."""
    first, second = (crop.astype(np.float64) - crop.mean() for crop in (one, other))
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale > 0 else 0.0


def mouth_motion(before: np.ndarray, now: np.ndarray) -> float:
    """Return how much more the mouth's region changed than the upper face, from one crop to the next.

    The crops are first shifted against each other by up to 2 pixels so that the upper face (brows to nose) agrees best:
    what is left there is noise, light and the head's turning, which the mouth's region has as well. Both changes are
    mean absolute differences as a share of the earlier crop's contrast, which makes light and dark pictures and skins
    comparable.

    Args:
        before: uint8 ``(64, 64)``.
        now: uint8 ``(64, 64)``.

    Returns:
        Mouth minus upper face; around 0 and below for a still mouth.
    """
    first, second = before.astype(np.float32), now.astype(np.float32)
    contrast = max(float(first.std()), _EVEN_CONTRAST)
    changes = _changes(first, second, _UPPER_FACE)
    best = np.unravel_index(int(np.argmin(changes)), changes.shape)
    down, across = (int(index) - _FARTHEST_SHIFT for index in best)
    rows, columns = _MOUTH
    moved = second[rows.start + down : rows.stop + down, columns.start + across : columns.stop + across]
    mouth = float(np.abs(moved - first[_MOUTH]).mean())
    return (mouth - float(changes[best])) / contrast


def _changes(before: np.ndarray, now: np.ndarray, region: tuple[slice, slice]) -> np.ndarray:
    """Return the change of a region (2 S + 1, 2 S + 1) by the pixels that it is shifted down and across."""
    rows, columns = (slice(side.start - _FARTHEST_SHIFT, side.stop + _FARTHEST_SHIFT) for side in region)
    shifted = sliding_window_view(now[rows, columns], before[region].shape)
    changes: np.ndarray = np.abs(shifted - before[region]).mean(axis=(2, 3))
    return changes


_THUMBNAIL: Final = (18, 32)
_EVEN: Final = 8.0
_ALWAYS: Final = 0.5
_SUDDEN: Final = 0.12
_TIMES_THE_LARGEST: Final = 6.0
_RECENT: Final = 5
_FEWEST_RECENT: Final = 3


def thumbnail(rgb: np.ndarray) -> np.ndarray:
    """Return float32 ``(18, 32, 3)``: the colours of a picture ``(H, W, 3)`` averaged over a grid."""
    height, width = rgb.shape[:2]
    by_rows, by_columns = max(1, height // 180), max(1, width // 320)
    thinned = rgb[::by_rows, ::by_columns].astype(np.float32)
    rows, columns = (
        np.linspace(0, length, count, endpoint=False).astype(int)
        for length, count in zip(thinned.shape, _THUMBNAIL, strict=False)
    )
    sums = np.add.reduceat(np.add.reduceat(thinned, rows, axis=0), columns, axis=1)
    counts = np.diff(rows, append=len(thinned))[:, None] * np.diff(columns, append=thinned.shape[1])[None, :]
    return sums / np.maximum(counts, 1)[..., None]


class CutFinder:
    """Compares each picture with the one before.

    The change of two pictures is the mean absolute difference of their thumbnails over the greater of their contrasts.
    A change above 0.5 is a cut, and so is one above 0.12 that is six times the largest of the five before it. At 10
    pictures per second the changes inside the 16 films of talking heads this was looked at (a waving hand, turning
    heads) reach 0.35 and, above 0.12, 3.8 times the largest before; between any two different films they are 0.85 and
    more, between speakers recorded in one studio 0.15 and more, ten times the largest before and more.
    """

    def __init__(self, small: Callable[[np.ndarray], np.ndarray] = thumbnail) -> None:
        self._small = small
        self._before: np.ndarray | None = None
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def add(self, rgb: np.ndarray) -> bool:
        """Take the next picture, uint8 ``(H, W, 3)``, and return whether a new shot begins with it."""
        before, now = self._before, self._small(rgb)
        self._before = now
        if before is None:
            return False
        change = float(np.abs(now - before).mean()) / max(float(before.std()), float(now.std()), _EVEN)
        cut = change > _ALWAYS or (
            change > _SUDDEN and len(self._recent) >= _FEWEST_RECENT and change > _TIMES_THE_LARGEST * max(self._recent)
        )
        if cut:
            self._recent.clear()
        else:
            self._recent.append(change)
        return cut


@dataclass(frozen=True, slots=True, eq=False)
class FaceTrack:
    """One person's faces in a clip, in the order of time; T of them."""

    number: int
    """Counts from 0 in the order of first appearance."""
    times: np.ndarray
    """(T,) seconds, as given."""
    boxes: np.ndarray
    """(T, 4) left, top, right, bottom in pixels."""
    crops: np.ndarray
    """uint8 (T, 64, 64), see :func:`.crop.aligned_crop`."""
    mouth_opening: np.ndarray
    """(T,) see :attr:`.face.Face.mouth_opening`; NaN where unknown."""
    mouth_motion: np.ndarray
    """(T,) see :func:`.likeness.mouth_motion`; NaN for the first picture and after a gap."""

    def chosen(self, pictures: np.ndarray) -> FaceTrack:
        """Return the track with only some of its pictures, given as bool ``(T,)``."""
        return FaceTrack(
            self.number,
            *(
                values[pictures]
                for values in (self.times, self.boxes, self.crops, self.mouth_opening, self.mouth_motion)
            ),
        )


@dataclass(slots=True)
class _Growing:
    number: int
    identity: int | None
    times: list[float] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    crops: list[np.ndarray] = field(default_factory=list)
    motion: list[float] = field(default_factory=list)
    last_picture: int = -1
    before_cut: bool = False


class TrackBuilder:
    """Joins faces to tracks, picture by picture; keeps crops and numbers, never a whole picture.

    Faces that carry an identity of their source are joined by it. Others go, best match first, to the track whose last
    box is near: overlapping by 0.2, or with centres nearer than half a face, and of a size within a factor of 1.6. At
    10 pictures per second the boxes of one talking head overlap by 0.58 and more from picture to picture (17 faces in
    16 films). After a cut (:class:`CutFinder`) another person may stand in the same place: a match must then look
    the same as well, as it does after a camera's flash (correlation of the crops 0.8; between the faces of different
    films at most 0.73, from one picture to the next of one face 0.9 and more in the median).

    Args:
        longest_gap: a track whose face was not seen for longer, in seconds, has ended; it does not bound tracks with
            an identity.
        motion: :func:`mouth_motion`, or the same with a memory.
        small: :func:`thumbnail`, or the same with a memory.
    """

    def __init__(
        self,
        longest_gap: float = 0.6,
        motion: Callable[[np.ndarray, np.ndarray], float] = mouth_motion,
        small: Callable[[np.ndarray], np.ndarray] = thumbnail,
    ) -> None:
        self._longest_gap, self._motion = longest_gap, motion
        self._tracks: list[_Growing] = []
        self._live: list[_Growing] = []
        self._cuts = CutFinder(small)
        self._pictures = 0

    def add(self, time: float, rgb: np.ndarray, faces: Sequence[Face]) -> None:
        """Take the faces of the next picture.

        Args:
            time: seconds, later than the picture before.
            rgb: uint8 ``(H, W, 3)``.
            faces: what was found in it.
        """
        if self._cuts.add(rgb):
            for track in self._live:
                track.before_cut = True
        self._live = [
            track
            for track in self._live
            if track.identity is not None or time - track.times[-1] <= self._longest_gap + _ROUNDING
        ]
        crops = [aligned_crop(rgb, face) if face.crop is None else face.crop for face in faces]
        for index, match in self._matches(faces, crops):
            track = match or self._begun(faces[index])
            follows = track.last_picture == self._pictures - 1 and not track.before_cut and track.crops
            track.motion.append(self._motion(track.crops[-1], crops[index]) if follows else float("nan"))
            track.times.append(time)
            track.faces.append(faces[index])
            track.crops.append(crops[index])
            track.last_picture, track.before_cut = self._pictures, False
        self._pictures += 1

    def finish(self) -> list[FaceTrack]:
        """Return the tracks in the order of first appearance."""
        return [
            FaceTrack(
                number=track.number,
                times=np.array(track.times),
                boxes=np.array([face.box for face in track.faces]),
                crops=np.stack(track.crops),
                mouth_opening=np.array([face.mouth_opening for face in track.faces]),
                mouth_motion=np.array(track.motion),
            )
            for track in self._tracks
        ]

    def _begun(self, face: Face) -> _Growing:
        track = _Growing(len(self._tracks), face.track)
        self._tracks.append(track)
        self._live.append(track)
        return track

    def _matches(self, faces: Sequence[Face], crops: Sequence[np.ndarray]) -> list[tuple[int, _Growing | None]]:
        """Return the track of every face, None for a new one."""
        pairs = []
        for index, face in enumerate(faces):
            for track in self._live:
                score = self._score(track, face, crops[index])
                if score > 0.0:
                    pairs.append((-score, index, track.number, track))
        matched: dict[int, _Growing | None] = {}
        taken: set[int] = set()
        for _, index, number, track in sorted(pairs, key=lambda pair: pair[:3]):
            if index not in matched and number not in taken:
                matched[index] = track
                taken.add(number)
        return [(index, matched.get(index)) for index in range(len(faces))]

    def _score(self, track: _Growing, face: Face, crop: np.ndarray) -> float:
        if face.track is not None or track.identity is not None:
            return 2.0 if face.track == track.identity else 0.0
        if track.before_cut and likeness(track.crops[-1], crop) < _ALIKE:
            return 0.0
        return _nearness(track.faces[-1], face)


_ROUNDING: Final = 1e-6
_LEAST_OVERLAP: Final = 0.2
_FURTHEST_CENTRE: Final = 0.5
_LARGEST_GROWTH: Final = 1.6
_ALIKE: Final = 0.8


def _nearness(before: Face, now: Face) -> float:
    """Return a value in (0, 1], 1 for equal boxes; 0 for faces too far apart or too different in size."""
    sizes = sorted((before.size, now.size))
    if sizes[0] <= 0.0 or sizes[1] > _LARGEST_GROWTH * sizes[0]:
        return 0.0
    shared = overlap(before.box, now.box)
    distance = float(np.hypot(*np.subtract(before.centre, now.centre))) / sizes[1]
    if shared < _LEAST_OVERLAP and distance > _FURTHEST_CENTRE:
        return 0.0
    return (1.0 + shared - min(distance, 1.0)) / 2 + 1e-6
