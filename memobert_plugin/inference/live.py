"""Answer along a film while it comes: once a second, from its last seconds.

Windows overlap, but each picture is searched for faces and each face is encoded once. A thread reads the next second
and finds its faces meanwhile. The answers are those of the same windows of the same film when it is read as a file.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import DefectiveClip
from ..core.names import PICTURE_RATE
from ..features.media.live import STREAMABLE, Held, LiveFilm
from ..features.media.streams import ANY_STREAMS, StreamChoice
from ..features.speakers.crop import aligned_crop
from ..features.speakers.tracks import TrackBuilder, mouth_motion, thumbnail
from .prediction import Prediction
from .reading import ClipReader
from .utterance import Evidence, Utterance

if TYPE_CHECKING:
    from ..features.denseface.encoder import FaceEncoder
    from ..features.extraction.clip import FrontEnd
    from ..features.speakers.face import Face
    from ..features.speakers.face_sources import FaceSource
    from .predictor import MEmoBERT

STEP = 1.0
"""Seconds from one answer to the next."""
WINDOW = 4.0
"""Seconds that an answer looks back, unless another length is asked for."""
_SHORTEST_REST = 0.4
"""Seconds; a shorter rest at the end gets no answer of its own."""
_FACES_KEPT = 4096
"""Encoded faces that are kept: those of a minute with several people."""


@dataclass(frozen=True)
class Moment:
    """The answer of a moment.

    Attributes:
        start: beginning of the window, in seconds of the film.
        end: its end, the moment.
        prediction: the answer; None if there is none.
        error: the reason why there is none.
        lag: seconds of work from the arrival of the window's last picture and sound to the answer.
    """

    start: float
    end: float
    prediction: Prediction | None
    error: str
    lag: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON line."""
        if self.prediction is not None:
            return {**self.prediction.to_dict(), "lag": round(self.lag, 3)}
        return {"id": _name(self.end), "start": self.start, "end": self.end, "error": self.error, "lag": self.lag}


def _name(end: float) -> str:
    return f"{end:.1f} s"


def follow(
    model: MEmoBERT,
    source: str,
    *,
    window: float = WINDOW,
    modalities: str | None = None,
    streams: StreamChoice = ANY_STREAMS,
) -> Iterator[Moment]:
    """Answer once a second while a film comes.

    Args:
        model: the model.
        source: a file, ``-``, a camera's device, or ``FORMAT:DEVICE``.
        window: whole seconds that each answer looks back; the first ones look back to the beginning.
        modalities: letters of those that may be read.
        streams: the film's streams to read.

    Raises:
        DefectiveClip: the source cannot be opened.
        UserError: a fault that concerns every answer.
    """
    faces = model.reader.faces
    rate = (faces.extractor and faces.extractor.frame_rate) or PICTURE_RATE
    with LiveFilm(source, window, rate, streams) as film:
        reader = LiveReader(model.reader, film)
        if "v" in (modalities or model.description.trained_on):
            reader.look_at_pictures()
        for held in film.seconds(STEP):
            if held.ended and held.came < _SHORTEST_REST:
                if held.end < _SHORTEST_REST:
                    raise DefectiveClip(f"{source}: no picture and no sound could be read{STREAMABLE}")
                return
            arrived = time.monotonic()
            start = max(0.0, held.end - window)
            if held.ended:  # whole windows begin at whole seconds, and so does the last one
                start = max(0.0, held.end - held.came + STEP - window)
            asked = Utterance(Path(source), start=start, end=held.end, name=_name(held.end))
            if model.reader.words is not None and held.sound is not None and held.sound.end > start:
                asked = replace(asked, waveform=held.sound.between(start, held.end))
            reader.held = held
            prediction, error = None, ""
            try:
                (prediction,) = model.decide([reader.read(asked, modalities)], compare=True)
            except DefectiveClip as defect:
                error = str(defect).removeprefix(f"{asked.title}: ")
            yield Moment(start, held.end, prediction, error, time.monotonic() - arrived)


class LiveReader(ClipReader):
    """A reader of windows of a film that is being read.

    Args:
        reader: reads files for the same model.
        film: the film.

    Attributes:
        held: the seconds of it that are read.
    """

    held: Held

    def __init__(self, reader: ClipReader, film: LiveFilm) -> None:
        self.__dict__.update(reader.__dict__)
        self._film = film
        self._front_end: FrontEnd | None = None

    def look_at_pictures(self) -> None:
        """Search each picture for faces as it comes, instead of all of a second when the answer is due."""
        if self._film.pictures is not None and not self.faces.obstacle:
            find = self._live_front_end().faces.faces
            self._film.pictures.look = lambda picture: find(picture.time, picture.rgb)

    def _live_front_end(self) -> FrontEnd:
        """Return the way from pictures to face frames, with the work on each picture and face kept."""
        from ..features.extraction.clip import FrontEnd

        if self._front_end is None:
            of_files = self.faces.front_end
            ahead = round(STEP * of_files.settings.picture_rate) + 2
            source: Any = _KeptPictures(of_files.faces, self._film.most_pictures + ahead)
            encoder: Any = _KeptFaces(of_files.expression)
            self._front_end = FrontEnd(
                source, of_files.voice, encoder, None, settings=replace(of_files.settings, thumbnails=0)
            )
            # Windows overlap: what follows from the same pictures and faces is not computed again.
            most = self._film.most_pictures
            self._front_end.new_tracks = partial(
                TrackBuilder, motion=_Remembering(mouth_motion, 8 * most), small=_Remembering(thumbnail, most)
            )
        return self._front_end

    def _read_files(self, evidence: Evidence, wanted: str) -> Evidence:
        """Read faces and sound of the window."""
        given, sound = evidence.utterance, self.held.sound
        assert given.start is not None and given.end is not None
        samples = None
        if "v" in wanted:
            evidence = self._read_live_faces(evidence, given.start, given.end)
            samples = evidence.preview.samples
        if "a" in wanted and given.waveform is None:
            if self.speech.obstacle:
                return evidence.lacking("a", self.speech.obstacle)
            try:
                if sound is None:
                    raise DefectiveClip("no audio stream")
                samples = sound.between(given.start, given.end) if samples is None else samples
            except DefectiveClip as defect:
                return evidence.lacking("a", str(defect))
            evidence = self._with_sound(evidence, samples)
        return evidence

    def _read_live_faces(self, evidence: Evidence, start: float, end: float) -> Evidence:
        if self.faces.obstacle:
            return evidence.lacking("v", self.faces.obstacle)
        front_end = self._live_front_end()
        clip = front_end.window(evidence.utterance.title, start, end, self.held.pictures, self.held.sound)
        clip, remark = self.faces.with_some_face(clip, front_end)
        return self._with_faces(evidence, clip, remark)


class _Remembering:
    """A function of arrays that remembers its last results, by the arrays' identity.

    Args:
        function: of arrays that nobody changes.
        most: results that are kept.
    """

    def __init__(self, function: Callable[..., Any], most: int) -> None:
        self._function, self._most = function, most
        self._known: OrderedDict[tuple[int, ...], tuple[tuple[np.ndarray, ...], Any]] = OrderedDict()

    def __call__(self, *arrays: np.ndarray) -> Any:
        key = tuple(map(id, arrays))  # of arrays that are kept, so that no other one gets the same
        if key not in self._known:
            self._known[key] = (arrays, self._function(*arrays))
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        return self._known[key][1]


class _KeptPictures:
    """A face source that remembers the faces of the pictures that are still held."""

    def __init__(self, source: FaceSource, most: int) -> None:
        self._source = source
        self._of_picture = _Remembering(self._cut_out, most)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def _cut_out(self, rgb: np.ndarray) -> list[Face]:
        found = self._source.faces(0.0, rgb)
        return [replace(face, crop=aligned_crop(rgb, face)) for face in found]

    def faces(self, time: float, rgb: np.ndarray, left_edge: int = 0) -> list[Face]:
        """Return the faces of a picture, which are looked for once; detectors ask for no time."""
        faces: list[Face] = self._of_picture(rgb)
        return faces

    def start(self, path: Path, offset_seconds: float = 0.0) -> None:
        """Begin a window."""
        self._source.start(path, offset_seconds)


class _KeptFaces:
    """A face encoder that remembers the frames of the faces it has seen."""

    def __init__(self, encoder: FaceEncoder) -> None:
        self._encoder = encoder
        self._known: OrderedDict[bytes, tuple[np.ndarray, np.ndarray]] = OrderedDict()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return features and expressions of faces uint8 (T, 64, 64); those that are known are not computed again."""
        keys = [crop.tobytes() for crop in crops]
        new = [place for place, key in enumerate(keys) if key not in self._known]
        if new:
            features, expressions = self._encoder.encode(crops[new])
            for place, feature, expression in zip(new, features, expressions, strict=True):
                self._known[keys[place]] = (feature, expression)
        found = [self._known[key] for key in keys]
        while len(self._known) > _FACES_KEPT:
            self._known.popitem(last=False)
        return np.stack([one for one, _ in found]), np.stack([one for _, one in found])
