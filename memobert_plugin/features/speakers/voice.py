"""When somebody speaks: by a neural detector, by the sound's energy, or as somebody else wrote down."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from ...core.errors import DefectiveClip, UserError
from ...core.files import regular
from ..media.companion import companion_file
from ..media.sound import SAMPLE_RATE

QUIETEST_DECIBELS: Final = -60.0
"""Relative to full scale; whatever is quieter counts as this."""

_SPEECH_BAND: Final = (300.0, 3000.0)
_FILTER_ORDER: Final = 4


class SoundLevel:
    """Loudness of a stretch of sound around any moment.

    Args:
        samples: float32 ``(N,)`` at 16 kHz.
        start: time of the first sample, in seconds.
        speech_band: only what lies between 300 and 3000 Hz counts: vowels, without hum and hiss.
    """

    def __init__(self, samples: np.ndarray, start: float = 0.0, *, speech_band: bool = False) -> None:
        if speech_band and len(samples):
            from scipy.signal import butter, sosfilt

            band = butter(_FILTER_ORDER, _SPEECH_BAND, "bandpass", fs=SAMPLE_RATE, output="sos")
            samples = sosfilt(band, samples.astype(np.float64))
        self._power = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
        self._start = start

    def __call__(self, times: np.ndarray, width: float) -> np.ndarray:
        """Return the level around each of the moments ``times``.

        Args:
            times: ``(T,)`` seconds; outside the samples there is silence.
            width: seconds around each moment that count.

        Returns:
            ``(T,)`` root mean square in decibels relative to full scale, at least :data:`QUIETEST_DECIBELS`.
        """
        last = len(self._power) - 1
        begins, ends = (
            np.clip(np.rint((times - self._start + side * width / 2) * SAMPLE_RATE), 0, last).astype(np.int64)
            for side in (-1, 1)
        )
        mean = (self._power[ends] - self._power[begins]) / (width * SAMPLE_RATE)
        return 10 * np.log10(np.maximum(mean, 10 ** (QUIETEST_DECIBELS / 10)))


Interval = tuple[float, float]
"""Begin and end in seconds."""


def joined_intervals(intervals: Sequence[Interval], gap: float) -> list[Interval]:
    """Join intervals, sorted by their begin, that overlap or are at most ``gap`` seconds apart."""
    joined: list[Interval] = []
    for begin, end in intervals:
        if joined and begin - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def voiced_share(times: np.ndarray, width: float, intervals: Sequence[Interval]) -> np.ndarray:
    """Share of the ``width`` seconds around each of the moments ``times`` ``(T,)`` that lie in the intervals.

    Args:
        times: ``(T,)`` seconds.
        width: seconds.
        intervals: without overlaps.
    """
    inside = np.zeros(len(times))
    for begin, end in intervals:
        inside += np.maximum(np.minimum(times + width / 2, end) - np.maximum(times - width / 2, begin), 0.0)
    return inside / width


def within_intervals(times: np.ndarray, intervals: Sequence[Interval]) -> np.ndarray:
    """Bool ``(T,)``: which of the moments ``times`` ``(T,)`` lie in one of the intervals."""
    inside = np.zeros(len(times), dtype=bool)
    for begin, end in intervals:
        inside |= (begin <= times) & (times < end)
    return inside


VOICE_ACTIVITIES: Final = ("silero", "energy", "intervals")

_HOP: Final = 0.01
_WIDTH: Final = 0.03
_EVEN: Final = 6.0


class VoiceActivity(Protocol):
    """Says when somebody speaks."""

    @property
    def name(self) -> str: ...
    @property
    def options(self) -> dict[str, Any]:
        """What the intervals depend on."""

    def start(self, path: Path) -> None:
        """Begin a film.

        Raises:
            DefectiveClip: nothing, or nothing readable, is known about this film.
        """

    def intervals(self, samples: np.ndarray, start: float = 0.0) -> list[Interval]:
        """Find voiced stretches in order, without overlaps.

        Args:
            samples: float32 ``(N,)`` at 16 kHz.
            start: the film's time of the first sample, in seconds.

        Returns:
            Seconds relative to the first sample, inside [0, N / 16000].
        """


def load_voice_activity(name: str, *, intervals: Path | None = None) -> VoiceActivity:
    """Build one by its name; torch is imported only for ``silero``.

    Args:
        name: one of :data:`VOICE_ACTIVITIES`.
        intervals: for ``intervals``: a file, or a folder with one per film.

    Raises:
        UserError: an unknown name, ``intervals`` missing or not wanted, or silero-vad is not installed.
    """
    if intervals is not None and name != "intervals":
        raise UserError(f"voice activity by {name}: takes no intervals; give --voice intervals, or leave them out")
    if name == "silero":
        return SileroVoice()
    if name == "energy":
        return EnergyVoice()
    if name == "intervals":
        if intervals is None:
            raise UserError("voice activity by intervals: needs a TSV of begin and end, or a folder with one per film")
        return IntervalsFile(intervals)
    raise UserError(f"voice activity by {name}: unknown; choose {', '.join(VOICE_ACTIVITIES)}")


class SileroVoice:
    """Silero VAD, a small recurrent network whose weights come inside its package.

    Args:
        threshold: probability of speech above which it is speech.

    Raises:
        UserError: silero-vad is not installed.
    """

    name: Final = "silero"

    def __init__(self, threshold: float = 0.5) -> None:
        import torch

        threads = torch.get_num_threads()
        try:
            import silero_vad
        except ImportError as error:
            raise UserError(
                f"voice activity by silero: cannot be imported ({error}); needs `pip install 'memobert-plugin[faces]'`"
            ) from None
        finally:
            torch.set_num_threads(threads)  # the package sets it to 1 for the whole process
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of how the package finds and loads its weights
            self._network = silero_vad.load_silero_vad()
        self._threshold = threshold
        self.options: dict[str, Any] = {"threshold": threshold, "version": version("silero-vad")}

    def start(self, path: Path) -> None:
        """Begin a film; there is nothing to prepare."""

    def intervals(self, samples: np.ndarray, start: float = 0.0) -> list[Interval]:
        """See :meth:`VoiceActivity.intervals`; every call begins without memory of the one before."""
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


class EnergyVoice:
    """Sound near the clip's own loudest level; for quiet rooms and made-up sound, where any sound is speech.

    It is speech from the highest of three levels on: ``least``, ``below_peak`` under the clip's loud moments (its 95th
    percentile), and ``above_floor`` of the way from its quiet moments (10th percentile) to the loud ones. Sound that
    stays within 6 decibels of its loud moments is speech throughout. Against silero-vad on 16 clips of talking heads
    (GRID, HDTF, an interview, a noisy restaurant) 0.88 to 0.99 of a clip's moments agree; music, applause and babble
    are taken for speech.

    Args:
        below_peak: decibels; the vowels and voiced consonants of one utterance lie within about 25.
        above_floor: share; between 0.3 and 0.4 the agreement is best, without it a room's noise in two of the ten GRID
            clips is taken for speech (agreement 0.59 and 0.65).
        least: decibels relative to full scale.
        gap: shorter pauses, in seconds, are closed: stops and breaths between syllables.
        shortest: shorter stretches, in seconds, are dropped: clicks.
    """

    name: Final = "energy"

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
        """Begin a film; there is nothing to prepare."""

    def intervals(self, samples: np.ndarray, start: float = 0.0) -> list[Interval]:
        """See :meth:`VoiceActivity.intervals`; to 10 ms."""
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


class IntervalsFile:
    """Voiced intervals that another tool or a person wrote down, in the film's time.

    Each line holds begin and end in seconds, separated by a tab (what follows another tab is not read: a label); a
    first line without numbers is a header.

    Args:
        path: the file of the only film there is, or a folder of ``.tsv`` files
            (see :func:`.companion.companion_file`).

    Raises:
        UserError: no such file or folder.
    """

    name: Final = "intervals"

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise UserError(
                f"{path}: no such file or folder; give a TSV of begin and end, or a folder with one per film"
            )
        self.options: dict[str, Any] = {}
        self._path = path
        self._file: Path | None = None
        self._stretches: list[Interval] = []

    def start(self, path: Path) -> None:
        """Read the film's file, unless it is the one read last.

        Raises:
            DefectiveClip: the film has none, or one with a row that is not an interval (file and row are named).
        """
        file = companion_file(self._path, path, ".tsv")
        if file != self._file:
            self._file = None
            self._stretches = joined_intervals(sorted(_read_intervals(file)), 0.0)
            self._file = file

    def intervals(self, samples: np.ndarray, start: float = 0.0) -> list[Interval]:
        """See :meth:`VoiceActivity.intervals`; the samples' number is all that is looked at."""
        if self._file is None:
            raise RuntimeError("start() comes before intervals()")
        seconds = len(samples) / SAMPLE_RATE
        inside = ((max(begin - start, 0.0), min(end - start, seconds)) for begin, end in self._stretches)
        return [(begin, end) for begin, end in inside if begin < end]


def _read_intervals(path: Path) -> list[Interval]:
    intervals: list[Interval] = []
    try:
        with regular(path).open(encoding="utf-8-sig", newline="") as file:
            for number, cells in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
                if not cells:
                    continue
                bounds = [_seconds(text) for text in cells[:2]]
                if number == 1 and all(bound is None for bound in bounds):
                    continue
                begin, end = bounds if len(bounds) == 2 else (None, None)
                if begin is None or end is None or end <= begin:
                    raise DefectiveClip(f"{path}, row {number}: not begin and end in seconds, separated by a tab")
                intervals.append((begin, end))
    except FileNotFoundError:
        raise DefectiveClip(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DefectiveClip(f"{path}: cannot be read as a list of intervals ({error})") from None
    return intervals


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
