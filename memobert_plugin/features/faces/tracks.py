"""Who is who over time: faces of consecutive pictures joined to tracks, across gaps but not across cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from .crop import aligned_crop
from .cuts import CutFinder
from .face import Face
from .likeness import likeness, mouth_motion
from .overlap import overlap


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
    16 films). After a cut (:class:`.cuts.CutFinder`) another person may stand in the same place: a match must then look
    the same as well, as it does after a camera's flash (correlation of the crops 0.8; between the faces of different
    films at most 0.73, from one picture to the next of one face 0.9 and more in the median).

    Args:
        longest_gap: a track whose face was not seen for longer, in seconds, has ended; it does not bound tracks with
            an identity.
    """

    def __init__(self, longest_gap: float = 0.6) -> None:
        self._longest_gap = longest_gap
        self._tracks: list[_Growing] = []
        self._live: list[_Growing] = []
        self._cuts = CutFinder()
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
        crops = [aligned_crop(rgb, face) for face in faces]
        for index, match in self._matches(faces, crops):
            track = match or self._begun(faces[index])
            follows = track.last_picture == self._pictures - 1 and not track.before_cut and track.crops
            track.motion.append(mouth_motion(track.crops[-1], crops[index]) if follows else float("nan"))
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
        """For every face its track, None for a new one."""
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
    """In (0, 1], 1 where the boxes are equal; 0 where the faces are too far apart or too different in size."""
    sizes = sorted((before.size, now.size))
    if sizes[0] <= 0.0 or sizes[1] > _LARGEST_GROWTH * sizes[0]:
        return 0.0
    shared = overlap(before.box, now.box)
    distance = float(np.hypot(*np.subtract(before.centre, now.centre))) / sizes[1]
    if shared < _LEAST_OVERLAP and distance > _FURTHEST_CENTRE:
        return 0.0
    return (1.0 + shared - min(distance, 1.0)) / 2 + 1e-6
