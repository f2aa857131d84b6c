"""Read a clip's faces as the face frames that a model was trained on, and small pictures of it for the page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..core.errors import DefectiveClip, UserError
from ..data.frames import ExtractorInfo
from ..features.media.streams import ANY_STREAMS, StreamChoice

if TYPE_CHECKING:
    from ..features.denseface.encoder import FaceEncoder
    from ..features.extraction.clip import ClipFrames, FrontEnd, Region
    from ..features.speakers.face_sources import FaceSource
    from ..features.speakers.voice_detectors import VoiceDetector

PICTURES_SHOWN = 8
"""Pictures of a clip on the page."""
PICTURE_WIDTH = 240
"""About the width of these pictures, in pixels."""
LONGEST_SHOWN = 12.0
"""Seconds of a clip that the page shows if the model reads less."""
_LOOKED_AT = 8
"""Pictures of a folder in which a face is looked for."""
PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm")


def is_pictures(path: Path) -> bool:
    """Tell whether a clip is a picture or a folder of pictures, without sound and without a clock."""
    return path.suffix.lower() in PICTURE_SUFFIXES or path.is_dir()


@dataclass(frozen=True)
class FaceOptions:
    """Sources of faces and of voice activity.

    Attributes:
        tracker: CSV of a face tracker, or a folder with one per film; None: they are found in the pictures.
        voice: ``silero`` or ``energy``; None: the detector of the model's training, else Silero if it is installed.
        weights: another DenseFace than the shipped one, or an ONNX file, for a model trained on its frames.
        streams: the film's streams that the user asked for.
    """

    tracker: Path | None = None
    voice: str | None = None
    weights: Path | None = None
    streams: StreamChoice = ANY_STREAMS


class FaceReader:
    """A reader of faces with the encoder of a model's training.

    Args:
        extractor: the model's description of its face frames; None for a model without faces.
        options: sources of faces and of voice activity.
        device: runs the encoder.
    """

    def __init__(self, extractor: ExtractorInfo | None, options: FaceOptions, device: str = "cpu") -> None:
        self.extractor = extractor
        self._options = options
        self._device = device

    @cached_property
    def obstacle(self) -> str:
        """Return the reason why this model can read no faces of clips; empty if it can."""
        if self.extractor is None:
            return "this model does not read faces"
        from ..features.denseface.encoder import FACE_ENCODERS

        name = self.extractor.name
        if name not in FACE_ENCODERS.names():
            return (
                f"this model's face frames were made by {name!r}, which is not installed (there is "
                f"{', '.join(FACE_ENCODERS.names())}): faces of clips cannot be used with it"
            )
        if self._options.weights is None and not FACE_ENCODERS.get(name).has_weights:
            return (
                f"this model's face frames were made by the user's own {name} network; give its file (--face-weights)"
            )
        if self.extractor.weights_sha256 != self.encoder.info().weights_sha256:
            return f"this model was trained on another {name}'s frames (its sha256 differs); give its weights"
        return ""

    @cached_property
    def encoder(self) -> FaceEncoder:
        """Return the encoder of the model's training, with the shipped weights unless others are given."""
        from ..features.denseface.encoder import FACE_ENCODERS

        assert self.extractor is not None
        return FACE_ENCODERS.get(self.extractor.name).from_info(self.extractor, self._options.weights, self._device)

    @cached_property
    def voice(self) -> VoiceDetector:
        """Return the detector that tells speech from silence."""
        from ..features.speakers.voice_detectors import (
            VOICE_DETECTORS,
            best_voice_detector,
            listens_alone,
            load_voice_detector,
        )

        trained = self.extractor.options.get("voice") if self.extractor is not None else None
        name = self._options.voice or (trained.get("name") if isinstance(trained, dict) else None)
        if name in VOICE_DETECTORS.names() and listens_alone(name):
            return load_voice_detector(name)
        return best_voice_detector()

    @cached_property
    def front_end(self) -> FrontEnd:
        """Return the way from a clip to its face frames, with the settings of the model's training.

        The face is always the speaker's: a corpus of one face per clip may be read by its most frequent face, a clip
        from anywhere may show several.

        Raises:
            UserError: a package that it needs is missing.
        """
        from ..features.extraction.clip import FilmSettings, FrontEnd
        from ..features.speakers.face_sources import FACE_SOURCES, load_face_source

        tracker = self._options.tracker
        if tracker is None:
            source = self._detector()
        else:
            source = load_face_source("tracker", FACE_SOURCES.get("tracker").Options(tracker))
        settings = FilmSettings(
            picture_rate=(self.extractor and self.extractor.frame_rate) or FilmSettings().picture_rate,
            max_seconds=self.max_seconds,
            choice="speaker",
            thumbnails=PICTURES_SHOWN,
            streams=self._options.streams,
        )
        return FrontEnd(source, self.voice, self.encoder, None, settings=settings)

    def _detector(self) -> FaceSource:
        """Return the detector of the model's training if it is installed, else the shipped one."""
        from ..features.speakers.face_sources import FACE_SOURCES, load_face_source

        name = self._trained_source
        if name in FACE_SOURCES.names() and name != "tracker":
            try:
                return load_face_source(name)
            except UserError:
                pass  # other_source says so.
        return load_face_source("litert")

    @property
    def _trained_source(self) -> Any:
        trained = self._trained("faces")
        return trained.get("name") if isinstance(trained, dict) else None

    @property
    def max_seconds(self) -> float:
        """Return the seconds of a clip in which faces are looked for."""
        from ..features.extraction.clip import FilmSettings

        return float(self._trained("max_seconds") or FilmSettings().max_seconds)

    @property
    def other_source(self) -> str:
        """Return a note if faces come from another source than in the model's training; empty if not."""
        name, own = self._trained_source, self.front_end.faces.name
        if name is None or name == own:
            return ""
        return f"faces from {own}: the model was trained on faces from {name}, which may be cut otherwise"

    def _trained(self, name: str) -> Any:
        return self.extractor.options.get(name) if self.extractor is not None else None

    def read(
        self, path: Path, start: float | None, end: float | None, region: Region | None = None
    ) -> tuple[ClipFrames, str]:
        """Read a clip; return it with a remark if its face was not chosen by its voice.

        Raises:
            DefectiveClip: the file cannot be opened, or the clip lies beyond its end.
            UserError: a package that is needed is missing.
        """
        return self.with_some_face(self.front_end.clip(path, start, end, region), self.front_end)

    def with_some_face(self, clip: ClipFrames, front_end: FrontEnd) -> tuple[ClipFrames, str]:
        """Return a clip, with the face seen most often where none is known to speak, and a remark on that."""
        from ..features.speakers.active_speaker import choose_most_frequent

        if clip.visual is not None or not clip.tracks:
            return clip, ""
        reason = clip.choice.reason if clip.choice is not None else ""
        choice = choose_most_frequent(clip.tracks, frames=clip.pictures, settings=front_end.speaker)
        if choice.track is None:
            return clip, ""
        clip.choice = choice
        clip.visual, clip.expression = front_end.expression.encode(choice.track.crops)
        clip.visual_times = choice.track.times
        return clip, f"the face that is seen most often was read ({reason})"

    def of_picture(self, path: Path) -> tuple[np.ndarray, str]:
        """Return the largest face of a picture, cut out, uint8 (1, 64, 64), with a remark if there are several.

        Raises:
            DefectiveClip: it cannot be read, or no face is found in it.
            UserError: a package that is needed is missing.
        """
        from ..features.media.pictures import pictures
        from ..features.speakers.crop import aligned_crop

        picture = next(pictures(path), None)
        if picture is None:
            raise DefectiveClip("cannot be read as a picture")
        self.front_end.faces.start(path)
        found = self.front_end.faces.faces(0.0, picture.rgb)
        if not found:
            raise DefectiveClip(
                "no face was found; give a folder of pictures to have each of them read as a face that was cut out"
            )
        largest = max(found, key=lambda face: face.size)
        remark = f"several faces: of {len(found)} that were seen, the largest was read" if len(found) > 1 else ""
        return aligned_crop(picture.rgb, largest)[None], remark

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Encode faces uint8 (T, 64, 64) to features (T, V) and expression distributions (T, K).

        Raises:
            UserError: the model was not trained on such frames.
        """
        if self.obstacle:
            raise UserError(self.obstacle)
        return self.encoder.encode(crops)


def pictures_with_faces(crops: np.ndarray) -> tuple[int, int] | None:
    """Return in how many of some pictures uint8 (T, 64, 64) the detector finds a face, and their number.

    At most eight are looked at, evenly spaced. None if the detector is not installed.
    """
    from ..features.speakers.face_sources import load_face_source

    try:
        detector = load_face_source("litert")
    except UserError:
        return None
    chosen = crops[np.unique(np.linspace(0, len(crops) - 1, _LOOKED_AT).round().astype(int))]
    found = 0
    for crop in chosen:
        # The detector wants more than 64 pixels and some room around a face.
        larger = np.pad(crop, len(crop) // 4, mode="edge").repeat(3, axis=0).repeat(3, axis=1)
        detector.start(Path())
        found += bool(detector.faces(0.0, np.repeat(larger[..., None], 3, axis=2)))
    return found, len(chosen)


def read_face_pictures(folder: Path) -> np.ndarray:
    """Read a folder of pictures, each of one face cut out, in natural order of their names.

    Returns:
        uint8 (T, 64, 64) grey.

    Raises:
        DefectiveClip: the folder holds no picture, or one that cannot be read.
        UserError: PyAV is missing.
    """
    from ..data.folds import natural_order
    from ..features.media.container import import_av, opened, video_stream
    from ..features.media.geometry import frame_geometry
    from ..features.speakers.crop import CROP_SIZE

    import_av()
    import av

    files = {path.name: path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES}
    if not files:
        raise DefectiveClip(f"{folder}: no pictures ({', '.join(PICTURE_SUFFIXES)})")
    crops = []
    for name in natural_order(files):
        with opened(files[name]) as container:
            stream = video_stream(container)
            try:
                frame = next(container.decode(stream), None) if stream is not None else None
            except av.FFmpegError:
                frame = None
            if frame is None or stream is None:
                raise DefectiveClip(f"{files[name]}: cannot be read as a picture")
            grey = frame.reformat(width=CROP_SIZE, height=CROP_SIZE, format="gray", interpolation="AREA")
            crops.append(frame_geometry(frame, stream).turned(grey.to_ndarray()))
    return np.stack(crops)


def stills(
    path: Path, start: float | None, seconds: float | None, count: int, streams: StreamChoice = ANY_STREAMS
) -> tuple[tuple[float, np.ndarray], ...]:
    """Read some pictures of a film at equal distances: time from the clip's beginning, and uint8 (H, W, 3).

    A film without pictures, or without any that can be decoded, gives none.

    Raises:
        UserError: PyAV is missing.
    """
    from ..features.media.pictures import pictures

    lasts = min(seconds or LONGEST_SHOWN, LONGEST_SHOWN)
    begin = (start or 0.0) + lasts / count / 2
    try:
        found = pictures(path, count / lasts, begin, (start or 0.0) + lasts, streams)
        return tuple((picture.time - (start or 0.0), _shrunk(picture.rgb)) for picture in found)
    except DefectiveClip:
        return ()


def _shrunk(rgb: np.ndarray) -> np.ndarray:
    """Average blocks of a picture, to about :data:`PICTURE_WIDTH` pixels."""
    step = max(1, rgb.shape[1] // PICTURE_WIDTH)
    height, width = (length // step for length in rgb.shape[:2])
    blocks = rgb[: height * step, : width * step].reshape(height, step, width, step, 3)
    return blocks.mean(axis=(1, 3)).round().astype(np.uint8)
