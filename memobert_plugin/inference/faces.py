"""A clip's faces as the frames that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import UserError
from ..data.frames import ExtractorInfo
from ..features.media.streams import ANY_STREAMS, StreamChoice

if TYPE_CHECKING:
    from ..features.denseface.encoder import DenseFace
    from ..features.extraction.clip import ClipFrames, FrontEnd, Region
    from ..features.speakers.voice_detectors import VoiceDetector

DENSEFACE = "denseface"
"""What the shipped visual encoder calls itself beside its frames."""
PICTURES_SHOWN = 8
"""Pictures of a clip that are kept for the page."""
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm")


@dataclass(frozen=True)
class FaceOptions:
    """Where faces and voice activity come from.

    Attributes:
        tracker: CSV of a face tracker, or a folder with one per film; None: found here, by MediaPipe.
        voice: ``silero`` or ``energy``; None: what the model's frames were chosen with, else Silero where it is
            installed.
        weights: of another DenseFace than the shipped one, for a model that was trained on its frames.
        streams: of films with several: those that the user asked for.
    """

    tracker: Path | None = None
    voice: str | None = None
    weights: Path | None = None
    streams: StreamChoice = ANY_STREAMS


class FaceReader:
    """Reads faces with the shipped encoder, where a model was trained on its frames.

    Args:
        extractor: what the model's description says of its face frames; None for a model without faces.
        options: where faces and voice activity come from.
        device: where the encoder runs.
    """

    def __init__(self, extractor: ExtractorInfo | None, options: FaceOptions, device: str = "cpu") -> None:
        self.extractor = extractor
        self._options = options
        self._device = device

    @cached_property
    def obstacle(self) -> str:
        """Why faces of clips cannot be read at all; empty where they can."""
        if self.extractor is None:
            return "this model does not read faces"
        if self.extractor.name != DENSEFACE:
            return (
                f"this model's face frames were made by {self.extractor.name!r}, not by this package's {DENSEFACE}: "
                "faces of clips cannot be used with it"
            )
        if self.extractor.weights_sha256 != self.encoder.info().weights_sha256:
            return f"this model was trained on another {DENSEFACE}'s frames (its sha256 differs); give its weights"
        return ""

    @cached_property
    def encoder(self) -> DenseFace:
        """DenseFace, the shipped one unless others' weights are given."""
        from ..features.denseface.encoder import DenseFace

        weights = self._options.weights
        return DenseFace.from_shipped(self._device) if weights is None else DenseFace.from_file(weights, self._device)

    @cached_property
    def voice(self) -> VoiceDetector:
        """Tells speech from silence."""
        from ..features.speakers.voice_detectors import VOICE_DETECTORS, listens_alone, load_voice_detector

        trained = self.extractor.options.get("voice") if self.extractor is not None else None
        name = self._options.voice or (trained.get("name") if isinstance(trained, dict) else None)
        if name in VOICE_DETECTORS.names() and listens_alone(name):
            return load_voice_detector(name)
        try:
            return load_voice_detector("silero")
        except UserError:
            return load_voice_detector("energy")

    @cached_property
    def front_end(self) -> FrontEnd:
        """Everything from a clip to its face frames, with the settings of the model's training but for whose face.

        Raises:
            UserError: a package that it needs is missing.
        """
        from ..features.extraction.clip import FilmSettings, FrontEnd
        from ..features.speakers.face_sources import FACE_SOURCES, load_face_source

        tracker = self._options.tracker
        if tracker is None:
            source = load_face_source("mediapipe")
        else:
            source = load_face_source("tracker", FACE_SOURCES.get("tracker").Options(tracker))
        trained: dict[str, Any] = self.extractor.options if self.extractor is not None else {}
        # A corpus of one face per clip may be read by its most frequent face; a clip from anywhere may show several.
        settings = FilmSettings(
            picture_rate=(self.extractor and self.extractor.frame_rate) or FilmSettings().picture_rate,
            max_seconds=float(trained.get("max_seconds", FilmSettings().max_seconds)),
            choice="speaker",
            thumbnails=PICTURES_SHOWN,
            streams=self._options.streams,
        )
        return FrontEnd(source, self.voice, self.encoder, None, settings=settings)

    def read(
        self, path: Path, start: float | None, end: float | None, region: Region | None = None
    ) -> tuple[ClipFrames, str]:
        """Look at a clip; also how its face was chosen where that was not by its voice.

        Raises:
            DefectiveClip: the file cannot be opened, or the clip lies beyond its end.
            UserError: a package that is needed is missing.
        """
        from ..features.speakers.active_speaker import choose_most_frequent

        clip = self.front_end.clip(path, start, end, region)
        if clip.visual is not None or not clip.tracks:
            return clip, ""
        reason = clip.choice.reason if clip.choice is not None else ""
        choice = choose_most_frequent(clip.tracks, frames=clip.pictures, settings=self.front_end.speaker)
        if choice.track is None:
            return clip, ""
        clip.choice = choice
        clip.visual, clip.expression = self.encoder.encode(choice.track.crops)
        clip.visual_times = choice.track.times
        return clip, f"the face that is seen most often was read ({reason})"

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Faces uint8 (T, 64, 64) to features (T, V) and expression distributions (T, K).

        Raises:
            UserError: the model was not trained on such frames.
        """
        if self.obstacle:
            raise UserError(self.obstacle)
        return self.encoder.encode(crops)


def read_face_pictures(folder: Path) -> np.ndarray:
    """Read a folder of pictures, each of one face cut out, in natural order of their names.

    Returns:
        uint8 (T, 64, 64) grey.

    Raises:
        DefectiveClip: the folder holds no picture, or one that cannot be read.
        UserError: PyAV is missing.
    """
    from ..core.errors import DefectiveClip
    from ..data.folds import natural_order
    from ..features.media.container import import_av, opened, video_stream
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
            if frame is None:
                raise DefectiveClip(f"{files[name]}: cannot be read as a picture")
            grey = frame.reformat(width=CROP_SIZE, height=CROP_SIZE, format="gray", interpolation="AREA")
            crops.append(grey.to_ndarray())
    return np.stack(crops)
