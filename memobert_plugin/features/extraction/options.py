"""A front end described by plain values, so that every process that works on a job builds the same one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..encoders.base import SpeechOptions, build_speech
from ..media.streams import ANY_STREAMS, StreamChoice
from ..speakers.face_sources import load_face_source
from ..speakers.voice_detectors import load_voice_detector

if TYPE_CHECKING:
    from .clip import FaceChoice, FrontEnd


@dataclass(frozen=True, slots=True)
class FrontEndOptions:
    """The parts of a front end."""

    faces: str = "mediapipe"
    face_options: Any = None
    """The face source's ``Options``; None: their defaults."""
    face_weights: Path | None = None
    """Of DenseFace; None for those in this package."""
    voice: str = "silero"
    voice_options: Any = None
    """The voice detector's ``Options``; None: their defaults."""
    choice: FaceChoice = "speaker"
    picture_rate: float = 10.0
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
    import torch

    from ..denseface.encoder import DenseFace
    from .clip import FilmSettings, FrontEnd

    torch.set_num_threads(options.threads)
    speech = None if options.speech is None else build_speech(replace(options.speech, device=options.device))
    if options.face_weights is None:
        denseface = DenseFace.from_shipped(options.device)
    else:
        denseface = DenseFace.from_file(options.face_weights, options.device)
    return FrontEnd(
        load_face_source(options.faces, options.face_options),
        load_voice_detector(options.voice, options.voice_options),
        denseface,
        speech,
        settings=FilmSettings(
            picture_rate=options.picture_rate,
            choice=options.choice,
            thumbnails=options.thumbnails,
            streams=options.streams,
        ),
    )
