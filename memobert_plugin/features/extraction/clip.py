"""Make frames from a clip, or from a film's lines: the speaker's face ten times a second, and the sound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from ...core.collector import starting_up
from ...core.errors import DefectiveClip
from ...core.names import PICTURE_RATE, FaceChoice
from ...core.stopwatch import Stopwatch
from ...data.frames import ExtractorInfo
from ..denseface.encoder import FACE_ENCODERS, FaceEncoder
from ..encoders.base import PooledEncoder, SpeechOptions, build_speech
from ..media.container import media_facts
from ..media.live import HeldPictures, HeldSound
from ..media.pictures import PICTURES_VERSION, Picture, PictureReader
from ..media.sound import SoundReader
from ..media.streams import ANY_STREAMS, StreamChoice
from ..media.subtitles import Line
from ..media.thumbnails import Thumbnail, thumbnail, thumbnail_places
from ..speakers.active_speaker import SpeakerChoice, SpeakerSettings, choose_most_frequent, choose_speaker
from ..speakers.face_sources import FaceSource, load_face_source
from ..speakers.tracks import FaceTrack, TrackBuilder
from ..speakers.voice_detectors import VoiceDetector, load_voice_detector

NO_VIDEO: Final = "no video stream"
NO_AUDIO: Final = "no audio stream"

Region = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class FilmSettings:
    """Rate and length of the pictures that are read, and the choice of the face."""

    picture_rate: float = PICTURE_RATE
    """Pictures per second."""
    max_seconds: float = 60.0
    """Longer clips are cut here."""
    choice: FaceChoice = "speaker"
    thumbnails: int = 0
    """Small pictures of a clip that are kept, for a person to look at."""
    streams: StreamChoice = ANY_STREAMS
    """Of films with several: those that the user asked for."""


@dataclass(slots=True)
class ClipFrames:
    """Frames of one clip and the evidence for them: T pictures show the chosen face, A acoustic frames."""

    start: float
    """Seconds from the film's beginning."""
    seconds: float
    """Length of the clip."""
    visual: np.ndarray | None = None
    """float32 (T, D) of the chosen face."""
    expression: np.ndarray | None = None
    """float32 (T, K), rows sum to 1."""
    visual_times: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(T,) seconds from the clip's beginning."""
    acoustic: np.ndarray | None = None
    """float32 (A, D)."""
    samples: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """float32 (N,), 16 kHz."""
    voiced: list[tuple[float, float]] = field(default_factory=list)
    """Seconds from the clip's beginning."""
    pictures: int = 0
    """Number of pictures that were read."""
    tracks: list[FaceTrack] = field(default_factory=list)
    """Every face over time."""
    choice: SpeakerChoice | None = None
    streams: str = ""
    """Streams that were read, where the film has several."""
    dropped: str = ""
    """Reason for not keeping a film's utterance; empty if it is kept."""
    defective: bool = False
    """True if the reason is a fault of the file."""
    thumbnails: list[Thumbnail] = field(default_factory=list)


class FrontEnd:
    """The readers and encoders between a film and the frames of its utterances.

    Args:
        faces: finds the faces of a picture.
        voice: finds the intervals of speech.
        expression: encodes faces to visual frames.
        speech: encodes sound to acoustic frames; None leaves them out.
        speaker: when a face counts as the speaker's.
        settings: rate and length of what is read.
    """

    def __init__(
        self,
        faces: FaceSource,
        voice: VoiceDetector,
        expression: FaceEncoder,
        speech: PooledEncoder | None,
        *,
        speaker: SpeakerSettings | None = None,
        settings: FilmSettings | None = None,
    ) -> None:
        self.faces, self.voice, self.expression, self.speech = faces, voice, expression, speech
        self.speaker = speaker or SpeakerSettings()
        self.settings = settings or FilmSettings()
        if hasattr(faces, "streams"):
            faces.streams = self.settings.streams
        self.new_tracks: Callable[[], TrackBuilder] = TrackBuilder
        self.stopwatch = Stopwatch()

    def clip(
        self, path: Path, start: float | None = None, end: float | None = None, region: Region | None = None
    ) -> ClipFrames:
        """Read one clip of a media file; a missing stream leaves its modality out, and ``dropped`` says so.

        Args:
            path: the file.
            start: start of the clip in seconds (None: of the file).
            end: end of the clip (None: of the file); clips longer than ``settings.max_seconds`` are cut.
            region: the half of the picture to read; None for all of it.

        Raises:
            DefectiveClip: the file cannot be opened, or the clip starts after its end.
        """
        facts = media_facts(path, self.settings.streams)
        begin = start or 0.0
        finish = begin + self.settings.max_seconds
        for known in (end, facts.duration):
            finish = finish if known is None else min(finish, known)
        if finish <= begin:
            raise DefectiveClip(f"{path}: the clip starts at {begin:g} s, the file ends at {facts.duration or 0.0:g} s")
        with ExitStack() as stack:
            rate = self.settings.picture_rate
            streams = self.settings.streams
            pictures = stack.enter_context(PictureReader(path, rate, streams)) if facts.has_video else None
            sound = stack.enter_context(SoundReader(path, streams)) if facts.has_audio else None
            found = self._clip(path, begin, finish, pictures, sound, region, complete=True)
            found.streams = facts.remark
            return found

    def window(
        self, name: str, start: float, end: float, pictures: HeldPictures | None, sound: HeldSound | None
    ) -> ClipFrames:
        """Read a window of pictures and sound that are in memory."""
        return self._clip(Path(name), start, end, pictures, sound, complete=True)

    def film(self, path: Path, lines: Iterable[Line]) -> Iterator[ClipFrames]:
        """Read a film's lines in one pass; they are in order of time and do not overlap. Dropped lines get no frames.

        Raises:
            DefectiveClip: the film cannot be opened, or has no pictures or no sound.
        """
        streams = self.settings.streams
        with PictureReader(path, self.settings.picture_rate, streams) as pictures, SoundReader(path, streams) as sound:
            for line in lines:
                yield self._clip(path, line.start, line.end, pictures, sound)

    def visual_info(self) -> ExtractorInfo:
        """Describe the visual frames, for ``extractor.json``."""
        made = self.expression.info()
        options = {
            **made.options,
            "faces": {"name": self.faces.name, **self.faces.options},
            "choice": self.settings.choice,
        }
        if self.settings.choice == "speaker":
            options["voice"] = {"name": self.voice.name, **self.voice.options}
            options["speaker"] = self.speaker.options()
        options["max_seconds"] = self.settings.max_seconds
        version = "; ".join(filter(None, (made.version, self.faces.version, PICTURES_VERSION)))
        return replace(made, options=options, frame_rate=self.settings.picture_rate, version=version)

    def acoustic_info(self) -> ExtractorInfo | None:
        """Describe the acoustic frames; None where there are none."""
        return None if self.speech is None else self.speech.info()

    def _clip(
        self,
        path: Path,
        start: float,
        end: float,
        pictures: PictureReader | HeldPictures | None,
        sound: SoundReader | HeldSound | None,
        region: Region | None = None,
        complete: bool = False,
    ) -> ClipFrames:
        clip = ClipFrames(start, end - start)
        with _defects_noted(clip):
            if sound is None:
                raise DefectiveClip(f"{path}: {NO_AUDIO}")
            with self.stopwatch.stage("decoding sound"):
                clip.samples = sound.between(start, end)
        if complete or not clip.dropped:
            with _defects_noted(clip):
                if pictures is None:
                    raise DefectiveClip(f"{path}: {NO_VIDEO}")
                self._see(clip, path, pictures, region)
        if len(clip.samples) and (complete or not clip.dropped):
            self._hear(clip)
        return clip

    def _see(self, clip: ClipFrames, path: Path, pictures: PictureReader | HeldPictures, region: Region | None) -> None:
        """Find the faces, choose one and encode it."""
        rate = self.settings.picture_rate
        builder = self.new_tracks()
        wanted = thumbnail_places(round(clip.seconds * rate), self.settings.thumbnails)
        self.faces.start(path, clip.start)
        for picture in self.stopwatch.items(
            "decoding pictures", pictures.between(clip.start, clip.start + clip.seconds)
        ):
            time, (left_edge, rgb) = picture.time - clip.start, _part(picture, region)
            with self.stopwatch.stage("faces"):
                builder.add(time, rgb, self.faces.faces(time, rgb, left_edge))
            if clip.pictures in wanted:
                clip.thumbnails.append(thumbnail(time, rgb))
            clip.pictures += 1
        if not clip.pictures:
            raise DefectiveClip(f"{path}: no pictures from {clip.start:.2f} s on")
        with self.stopwatch.stage("faces"):
            clip.tracks = builder.finish()
        with self.stopwatch.stage("speaker"):
            clip.choice = self._choose(clip, path)
        track = clip.choice.track
        if track is None:
            _drop(clip, clip.choice.reason, defective=False)
            return
        with self.stopwatch.stage("expression"):
            clip.visual, clip.expression = self.expression.encode(track.crops)
        clip.visual_times = track.times

    def _choose(self, clip: ClipFrames, path: Path) -> SpeakerChoice:
        if len(clip.samples):
            self.voice.start(path)
            clip.voiced = self.voice.intervals(clip.samples, clip.start)
        if self.settings.choice == "most_frequent":
            return choose_most_frequent(clip.tracks, frames=clip.pictures, settings=self.speaker)
        return choose_speaker(
            clip.tracks,
            clip.voiced,
            clip_seconds=clip.seconds,
            frames=clip.pictures,
            samples=clip.samples if len(clip.samples) else None,
            settings=self.speaker,
        )

    def _hear(self, clip: ClipFrames) -> None:
        """Encode the sound."""
        if self.speech is None:
            return
        with _defects_noted(clip), self.stopwatch.stage("acoustic"):
            clip.acoustic = self.speech.encode(clip.samples)


@dataclass(frozen=True, slots=True)
class FrontEndOptions:
    """A front end as plain values, from which every process that works on a job builds the same one."""

    faces: str = "litert"
    face_options: Any = None
    """The face source's ``Options``; None: their defaults."""
    face_encoder: str = "denseface"
    face_encoder_options: Any = None
    """The face encoder's ``Options``; None: their defaults."""
    voice: str = "silero"
    voice_options: Any = None
    """The voice detector's ``Options``; None: their defaults."""
    choice: FaceChoice = "speaker"
    picture_rate: float = PICTURE_RATE
    """Pictures per second."""
    speech: SpeechOptions | None = field(default_factory=SpeechOptions)
    """None leaves the sound out."""
    device: str = "cpu"
    threads: int = 1
    """Of each process; another number may change the last digits of a frame."""
    thumbnails: int = 0
    """Small pictures of a clip to keep."""
    streams: StreamChoice = ANY_STREAMS
    """Of films with several: those that the user asked for."""


@cache
def build_front_end(options: FrontEndOptions) -> FrontEnd:
    """Build the front end, once in each process.

    Raises:
        UserError: options that do not go together, missing weights or packages.
    """
    with starting_up():
        return _built(options)


def _built(options: FrontEndOptions) -> FrontEnd:
    import torch

    torch.set_num_threads(options.threads)
    speech = None if options.speech is None else build_speech(replace(options.speech, device=options.device))
    faces = FACE_ENCODERS.get(options.face_encoder)
    face_options = faces.Options() if options.face_encoder_options is None else options.face_encoder_options
    return FrontEnd(
        load_face_source(options.faces, options.face_options),
        load_voice_detector(options.voice, options.voice_options),
        faces.from_options(face_options, options.device),
        speech,
        settings=FilmSettings(
            picture_rate=options.picture_rate,
            choice=options.choice,
            thumbnails=options.thumbnails,
            streams=options.streams,
        ),
    )


@contextmanager
def _defects_noted(clip: ClipFrames) -> Iterator[None]:
    try:
        yield
    except DefectiveClip as defect:
        _drop(clip, str(defect))


def _drop(clip: ClipFrames, reason: str, defective: bool = True) -> None:
    """Keep the first reason for dropping a clip."""
    if not clip.dropped:
        clip.dropped, clip.defective = reason, defective


def _part(picture: Picture, region: Region | None) -> tuple[int, np.ndarray]:
    """Return the left edge, in pixels, of the wanted part of a picture, and that part."""
    middle = picture.rgb.shape[1] // 2
    if region is None:
        return 0, picture.rgb
    if region == "left":
        return 0, np.ascontiguousarray(picture.rgb[:, :middle])
    return middle, np.ascontiguousarray(picture.rgb[:, middle:])
