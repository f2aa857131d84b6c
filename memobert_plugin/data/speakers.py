"""Mean speech frames of speakers, which are subtracted from the frames that a network reads."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import UserError
from .frames import LARGEST_HALF, frame_file, read_frames
from .manifest import ManifestRow

_MANY_CLIPS, _CLIPS_OF_AVERAGE = 20, 4.0
"""Seven emotions of RAVDESS by regressions on Whisper's frames, each of 16 actors left out: UAR 74 with the average
voice; with the mean of 1, 4, 8, 20, 60 clips alone 14, 72, 77, 79, 82; with four of the average 74, 76, 79, 79, 82."""


class SpeakerSums:
    """Sums of frames by speaker, for the mean frame of each; frames beyond float16 cannot be used and do not count."""

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray] = {}
        self._counts: Counter[str] = Counter()
        self._clips: Counter[str] = Counter()

    def add(self, speaker: str, frames: np.ndarray) -> None:
        """Add frames (T, D)."""
        if frames.size and np.abs(frames).max() <= LARGEST_HALF:
            self._clips[speaker] += 1
            self._counts[speaker] += len(frames)
            self._sums[speaker] = self._sums.get(speaker, 0.0) + frames.sum(axis=0, dtype=np.float64)

    def average(self) -> np.ndarray | None:
        """Return the average of the speakers' mean frames (D,) float64; None without frames."""
        own = [total / self._counts[speaker] for speaker, total in self._sums.items()]
        return np.mean(own, axis=0) if own else None

    def means(self, average: np.ndarray) -> dict[str, np.ndarray]:
        """Return the mean frame (D,) float64 of every speaker with frames.

        Speakers of few clips are completed by the average voice (D,), as if nearly four clips more were of it at one
        clip, and none from twenty on: the mean of one clip alone takes its emotion away with the voice.
        """
        found = {}
        for speaker, total in self._sums.items():
            clips = self._clips[speaker]
            more = _CLIPS_OF_AVERAGE * max(0.0, 1 - clips / _MANY_CLIPS)
            found[speaker] = (clips * total / self._counts[speaker] + more * average) / (clips + more)
        return found


@dataclass(frozen=True, slots=True)
class SpeakerMeans:
    """The mean speech frame (D,) float32 of each speaker, and the average of these means, for rows without a speaker.

    What a voice and its microphone add to every frame is taken away with the mean, as speech recognition does it.
    """

    by_speaker: Mapping[str, np.ndarray]
    average: np.ndarray

    def subtracted(self, frames: np.ndarray, speaker: str) -> np.ndarray:
        """Return frames (T, D) less the mean of their speaker, float32; unchanged if they have another D."""
        if frames.shape[1:] != self.average.shape:
            return frames
        return frames.astype(np.float32) - self.by_speaker.get(speaker, self.average)


def speaker_means(rows: Iterable[ManifestRow], folder: Path, dim: int | None) -> SpeakerMeans:
    """Return the means over all frames of each speaker's rows, of few rows completed by the average voice (see
    :meth:`SpeakerSums.means`); frames that cannot be used do not count.

    Args:
        rows: with their speakers.
        folder: of the frames.
        dim: numbers of a frame; None: those of the first.

    Raises:
        UserError: no row has both a speaker and frames.
    """
    sums = SpeakerSums()
    for row in rows:
        with contextlib.suppress(UserError):
            found = read_frames(frame_file(folder, row.id)) if row.speaker else None
            if found is None or not found.frames.size or found.frames.shape[1] != (dim or found.frames.shape[1]):
                continue
            dim = found.frames.shape[1]
            sums.add(row.speaker, found.frames)
    average = sums.average()
    if average is None:
        raise UserError("--center-speakers: no row has both a speaker and speech frames; fill the column speaker")
    means = {speaker: mean.astype(np.float32) for speaker, mean in sums.means(average).items()}
    return SpeakerMeans(means, average.astype(np.float32))
