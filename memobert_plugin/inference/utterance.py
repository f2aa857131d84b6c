"""What is asked about and what was found in it: one utterance before and after its media were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

MODALITY_NAMES = {"l": "text", "v": "visual", "a": "acoustic"}
"""The letters of modality cases, in the order of the model's input."""


@dataclass(frozen=True)
class Utterance:
    """One utterance to be read; any of its parts may be missing, but not all.

    Attributes:
        clip: a video or sound file, or a folder of pictures that show one face each.
        text: what is said.
        start: where the utterance begins in the file, in seconds (None: at its beginning).
        end: where it ends (None: at the file's end).
        region: the half of the picture to look at, ``left`` or ``right``; None: all of it.
        sound: a file whose sound is read instead of the clip's, in the same time.
        waveform: samples (N,), used instead of the file's sound.
        sampling_rate: of ``waveform``, per second.
        visual: ready face frames (T, V), used instead of the file's faces.
        expression: their expression distributions (T, K), shown on the page.
        acoustic: ready speech frames (A, D), used instead of any sound.
        name: what results call it (default: the file's name).
    """

    clip: Path | None = None
    text: str = ""
    start: float | None = None
    end: float | None = None
    region: Literal["left", "right"] | None = None
    sound: Path | None = None
    waveform: np.ndarray | None = None
    sampling_rate: int = 16_000
    visual: np.ndarray | None = None
    expression: np.ndarray | None = None
    acoustic: np.ndarray | None = None
    name: str = ""

    @property
    def title(self) -> str:
        """The name, or what stands for it."""
        file = self.clip or self.sound
        return self.name or (file.name if file is not None else "utterance")


@dataclass(frozen=True)
class Preview:
    """What a person is shown of a clip.

    Attributes:
        samples: float32 (N,) at 16 kHz, or None without sound.
        voiced: (begin, end) of the stretches with speech, in seconds from the clip's beginning; None: not looked for.
        pictures: (time, rgb uint8 (H, W, 3)) of the clip, or the faces that were read.
        faces: the crops that the visual encoder saw, uint8 (T, 64, 64), one for each visual frame.
    """

    samples: np.ndarray | None = None
    voiced: tuple[tuple[float, float], ...] | None = None
    pictures: tuple[tuple[float, np.ndarray], ...] = ()
    faces: np.ndarray | None = None


@dataclass(frozen=True)
class Evidence:
    """What was found in an utterance, as the model takes it.

    Attributes:
        utterance: what was asked about.
        pieces: (n,) int64 rows of the dictionary, no special symbols.
        word_start: (n,) uint8, 1 where a word begins.
        visual: (T, V) float16, or None without faces.
        acoustic: (A, D) float16, or None without sound.
        expression: (T, K) float32 with the faces, where the visual encoder gives it.
        visual_times: (T,) seconds from the clip's beginning.
        acoustic_times: (A,) where each speech frame begins.
        absent: why a modality (by its letter) is not there.
        notes: what a reader of the answer should know.
        seconds: duration of the clip, where known.
        preview: for the page.
    """

    utterance: Utterance
    pieces: np.ndarray
    word_start: np.ndarray
    visual: np.ndarray | None = None
    acoustic: np.ndarray | None = None
    expression: np.ndarray | None = None
    visual_times: np.ndarray | None = None
    acoustic_times: np.ndarray | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float | None = None
    preview: Preview = Preview()

    @classmethod
    def nothing(cls, utterance: Utterance) -> Evidence:
        """Evidence without anything, for a template that is asked about by itself."""
        return cls(utterance, np.zeros(0, np.int64), np.zeros(0, np.uint8))

    @property
    def present(self) -> str:
        """The modality case: letters of what is there."""
        lengths = {"l": len(self.pieces), "v": _length(self.visual), "a": _length(self.acoustic)}
        return "".join(letter for letter, length in lengths.items() if length)

    def limited_to(self, modalities: str, reason: str) -> Evidence:
        """The same without the modalities that are not named, ``reason`` being why."""
        dropped = {letter: reason for letter in self.present if letter not in modalities}
        empty = self.pieces[:0]
        return replace(
            self,
            pieces=self.pieces if "l" in modalities else empty,
            word_start=self.word_start if "l" in modalities else self.word_start[:0],
            visual=self.visual if "v" in modalities else None,
            acoustic=self.acoustic if "a" in modalities else None,
            absent={**self.absent, **dropped},
        )

    def first_seconds(self, seconds: float) -> Evidence:
        """The same with only the frames that begin before ``seconds``; the text stays whole."""
        return replace(
            self,
            visual=_before(self.visual, self.visual_times, seconds),
            acoustic=_before(self.acoustic, self.acoustic_times, seconds),
        )


def _length(array: np.ndarray | None) -> int:
    return 0 if array is None else len(array)


def _before(frames: np.ndarray | None, times: np.ndarray | None, seconds: float) -> np.ndarray | None:
    if frames is None or times is None:
        return frames
    return frames[: int(np.searchsorted(times, seconds))]
