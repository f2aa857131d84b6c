"""A front end described by plain values, so that every process that works on a job builds the same one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..encoders.base import Normalize, load_encoder
from ..speakers.face_sources import load_face_source
from ..speakers.voice_detectors import load_voice_detector

if TYPE_CHECKING:
    from .clip import FaceChoice, FrontEnd


@dataclass(frozen=True, slots=True)
class FrontEndOptions:
    """What a front end is made of."""

    faces: str = "mediapipe"
    face_options: Any = None
    """The face source's ``Options``; None: their defaults."""
    face_weights: Path | None = None
    """DenseFace's; None: those that come with the package."""
    voice: str = "silero"
    voice_options: Any = None
    """The voice detector's ``Options``; None: their defaults."""
    choice: FaceChoice = "speaker"
    picture_rate: float = 10.0
    """Pictures per second."""
    encoder: str | None = "logmel"
    """Of the sound; None leaves it out."""
    weights: Path | None = None
    normalize: Normalize | None = None
    pool: int = 3
    acoustic_seconds: float = 10.0
    """The sound of longer clips is cut here."""
    device: str = "cpu"
    threads: int = 1
    """Of each process; another number may change the last digits of a frame."""
    thumbnails: int = 0
    """Small pictures of a clip that are kept."""


@cache
def build_front_end(options: FrontEndOptions) -> FrontEnd:
    """Build the front end, once in each process.

    Raises:
        UserError: options that do not go together, missing weights or packages.
    """
    import torch

    from ..denseface.encoder import DenseFace
    from .acoustic import AcousticSettings
    from .clip import FilmSettings, FrontEnd

    torch.set_num_threads(options.threads)
    acoustic = None
    if options.encoder is not None:
        acoustic = load_encoder(
            options.encoder, weights=options.weights, normalize=options.normalize, device=options.device
        )
    if options.face_weights is None:
        denseface = DenseFace.from_shipped(options.device)
    else:
        denseface = DenseFace.from_file(options.face_weights, options.device)
    return FrontEnd(
        load_face_source(options.faces, options.face_options),
        load_voice_detector(options.voice, options.voice_options),
        denseface,
        acoustic,
        acoustic_settings=AcousticSettings(pool=options.pool, max_seconds=options.acoustic_seconds),
        settings=FilmSettings(picture_rate=options.picture_rate, choice=options.choice, thumbnails=options.thumbnails),
    )
