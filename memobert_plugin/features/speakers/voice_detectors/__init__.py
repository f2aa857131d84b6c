"""Voice detectors: find the stretches of a clip in which somebody speaks.

A detector is one file of this folder, or an entry point of the group ``memobert_plugin.voice_detectors`` in another
package. It is a class with the attributes ``summary`` (one line for ``--voice``) and ``Options`` (a dataclass whose
fields become flags; see :mod:`memobert_plugin.core.flags`), the class method ``from_options(options)``, and the members
of :class:`VoiceDetector`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from ....core.errors import UserError
from ....core.registry import Registry
from ..voice import Interval

VOICE_DETECTORS: Final[Registry[Any]] = Registry("voice detector", __name__, "memobert_plugin.voice_detectors")


class VoiceDetector(Protocol):
    """A finder of voice in sound."""

    @property
    def name(self) -> str: ...
    @property
    def options(self) -> dict[str, Any]:
        """Return the settings that the intervals depend on, for ``extractor.json``."""

    def start(self, path: Path) -> None:
        """Begin a film.

        Raises:
            DefectiveClip: the detector knows nothing about this film, or cannot read what it has.
        """

    def intervals(self, samples: np.ndarray, start: float = 0.0) -> list[Interval]:
        """Find voiced stretches in order, without overlaps.

        Args:
            samples: float32 ``(N,)`` at 16 kHz.
            start: the film's time of the first sample, in seconds.

        Returns:
            Seconds relative to the first sample, inside [0, N / 16000].
        """


def load_voice_detector(name: str, options: Any = None) -> VoiceDetector:
    """Build a voice detector by its name.

    Args:
        name: one of ``VOICE_DETECTORS.names()``.
        options: an instance of the detector's ``Options`` (None: their defaults).

    Raises:
        UserError: an unknown name, options that do not fit, or a package that is not installed.
    """
    detector = VOICE_DETECTORS.get(name)
    made: VoiceDetector = detector.from_options(detector.Options() if options is None else options)
    return made


def best_voice_detector() -> VoiceDetector:
    """Build Silero's network where it is installed, else the detector by energy."""
    try:
        return load_voice_detector("silero")
    except UserError:
        return load_voice_detector("energy")


def listens_alone(name: str) -> bool:
    """Return whether a detector works on any sound, without a file about the film: none of its options is required."""
    fields = dataclasses.fields(VOICE_DETECTORS.get(name).Options)
    return all(
        field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING for field in fields
    )
