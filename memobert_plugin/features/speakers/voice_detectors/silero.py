"""Find voice with Silero VAD."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from ....core.errors import UserError, pip_install
from ...media.sound import SAMPLE_RATE
from ..voice import Interval
from . import VOICE_DETECTORS


@dataclass(frozen=True, slots=True)
class SileroOptions:
    """No options: the detector has no flags."""


@VOICE_DETECTORS.register("silero")
class SileroVoice:
    """Silero VAD, a small recurrent network whose package contains the weights.

    Args:
        threshold: probability of speech above which a stretch counts as voice.

    Raises:
        UserError: silero-vad is not installed.
    """

    name: Final = "silero"
    summary: ClassVar = "Silero VAD, a neural network"
    Options: ClassVar = SileroOptions

    @classmethod
    def from_options(cls, options: SileroOptions) -> SileroVoice:
        """Build the detector."""
        return cls()

    def __init__(self, threshold: float = 0.5) -> None:
        import torch

        threads = torch.get_num_threads()
        try:
            import silero_vad
        except ImportError as error:
            raise UserError(f"voice activity by silero: cannot be imported ({error}); {pip_install('faces')}") from None
        finally:
            torch.set_num_threads(threads)  # importing the package sets it to 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the package loads its weights in an old way
            self._network = silero_vad.load_silero_vad()
        self._threshold = threshold
        self.options: dict[str, Any] = {"threshold": threshold, "version": version("silero-vad")}

    def start(self, path: Path) -> None:
        """Begin a film. Nothing has to be prepared."""

    def intervals(self, samples: np.ndarray, start: float = 0.0) -> list[Interval]:
        """Find voiced stretches; every call begins without memory of the one before."""
        import torch
        from silero_vad import get_speech_timestamps

        self._network.reset_states()
        with torch.inference_mode():
            found = get_speech_timestamps(
                torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)),
                self._network,
                threshold=self._threshold,
                sampling_rate=SAMPLE_RATE,
            )
        return [(stretch["start"] / SAMPLE_RATE, stretch["end"] / SAMPLE_RATE) for stretch in found]
