"""Find voice by the sound's energy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from ...media.sound import SAMPLE_RATE
from ..voice import Interval, SoundLevel, joined_intervals
from . import VOICE_DETECTORS

_HOP: Final = 0.01
_WIDTH: Final = 0.03
_EVEN: Final = 6.0


@dataclass(frozen=True, slots=True)
class EnergyOptions:
    """No options: the detector has no flags."""


@VOICE_DETECTORS.register("energy")
class EnergyVoice:
    """Sound near the clip's own loudest level. For quiet rooms and made-up sound, where any sound is speech.

    A moment is voiced if its level reaches the highest of three thresholds: ``least``; ``below_peak`` under the clip's
    loud moments (the 95th percentile of the level); and ``above_floor`` of the way from its quiet moments (the 10th
    percentile) to its loud ones. Sound that stays within 6 decibels of its loud moments is voiced throughout. Compared
    with silero-vad on 16 clips of talking heads (GRID, HDTF, an interview, a noisy restaurant), 0.88 to 0.99 of a
    clip's moments agree. Music, applause and babble count as voice.

    Args:
        below_peak: decibels. The vowels and voiced consonants of one utterance lie within about 25.
        above_floor: share. The agreement is best between 0.3 and 0.4; with 0 a room's noise counts as voice in two of
            the ten GRID clips (agreement 0.59 and 0.65).
        least: decibels relative to full scale.
        gap: shorter pauses, in seconds, are closed: stops and breaths between syllables.
        shortest: shorter stretches, in seconds, are dropped: clicks.
    """

    name: Final = "energy"
    summary: ClassVar = "any loud sound, for quiet recordings"
    Options: ClassVar = EnergyOptions

    @classmethod
    def from_options(cls, options: EnergyOptions) -> EnergyVoice:
        """Build the detector."""
        return cls()

    def __init__(
        self,
        *,
        below_peak: float = 25.0,
        above_floor: float = 0.3,
        least: float = -50.0,
        gap: float = 0.2,
        shortest: float = 0.1,
    ) -> None:
        self.options: dict[str, Any] = {
            "below_peak": below_peak,
            "above_floor": above_floor,
            "least": least,
            "gap": gap,
            "shortest": shortest,
        }
        self._below_peak, self._above_floor, self._least = below_peak, above_floor, least
        self._gap, self._shortest = gap, shortest

    def start(self, path: Path) -> None:
        """Begin a film. Nothing has to be prepared."""

    def intervals(self, samples: np.ndarray, start: float = 0.0) -> list[Interval]:
        """Find voiced stretches, to 10 ms."""
        moments = np.arange(len(samples) // round(_HOP * SAMPLE_RATE))
        if not len(moments):
            return []
        levels = SoundLevel(samples)((moments + 0.5) * _HOP, _WIDTH)
        floor, peak = np.percentile(levels, (10, 95)).tolist()
        wanted = max(peak - self._below_peak, floor + self._above_floor * (peak - floor))
        voiced = levels >= max(self._least, min(wanted, peak - _EVEN))
        edges = np.flatnonzero(np.diff(np.concatenate([[False], voiced, [False]])))
        stretches = [(float(begin * _HOP), float(end * _HOP)) for begin, end in edges.reshape(-1, 2)]
        joined = joined_intervals(stretches, self._gap)
        return [(begin, end) for begin, end in joined if end - begin >= self._shortest]
