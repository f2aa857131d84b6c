"""One utterance before its media are read (:class:`Utterance`) and after (:class:`Evidence`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..core.errors import UserError
from ..core.names import counted
from .faces import is_pictures

if TYPE_CHECKING:
    from ..features.extraction.transcription import Transcript

MODALITY_NAMES = {"l": "text", "v": "visual", "a": "acoustic"}
"""The letters of modality cases, in the order of the model's input."""

PLAIN_NAMES = {"l": "text", "v": "faces", "a": "sound"}
"""The modalities in messages."""


@dataclass(frozen=True)
class Utterance:
    """One utterance to be read; any of its parts may be missing, but not all.

    Attributes:
        clip: a film, a sound file, a picture, or a folder of pictures that show one face each.
        text: the words that are said.
        text_source: where they come from: ``typed``, ``subtitles``, ``manifest`` or ``transcribed``; empty: typed.
        transcript: the recogniser of transcribed words, and how sure they are.
        start: beginning of the utterance in the file, in seconds (None: the file's beginning).
        end: end of the utterance (None: the file's end).
        region: the half of the picture to look at, ``left`` or ``right`` (None: all of it).
        sound: a file whose sound is read instead of the clip's, at the same times.
        waveform: samples (N,) of these times alone, used instead of the file's sound.
        sampling_rate: samples of ``waveform`` per second.
        visual: ready face frames (T, V), used instead of the file's faces.
        expression: their expression distributions (T, K), shown on the page.
        acoustic: ready speech frames (A, D), used instead of any sound.
        name: its name in results (default: the file's name).
        speaker: who speaks; a model of frames less their speaker's mean takes it over all utterances of this name.
        voice_mean: that mean (D,), where it is known; no other is then taken.

    Paths may be strings.
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
    text_source: str = ""
    transcript: Transcript | None = None
    speaker: str = ""
    voice_mean: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("clip", "sound"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(path))

    @property
    def has_sound(self) -> bool:
        """Return whether there may be sound: a waveform, or a file other than pictures."""
        file = self.sound or self.clip
        return self.waveform is not None or (file is not None and not is_pictures(file))

    @property
    def file(self) -> str:
        """Return the path of the clip, else of the sound file; empty without a file."""
        return str(self.clip or self.sound or "")

    @property
    def title(self) -> str:
        """Return the name, else the file's name."""
        file = self.clip or self.sound
        return self.name or (file.name if file is not None else "utterance")


Clip = str | os.PathLike[str] | np.ndarray | Utterance
"""A path (film, sound file, picture or folder of face pictures), a waveform (N,), or an utterance in full."""
Clips = list[Any] | tuple[Any, ...]
"""Several of :data:`Clip`."""


@dataclass(frozen=True)
class Preview:
    """Sound and pictures of a clip for the page.

    Attributes:
        samples: float32 (N,) at 16 kHz, or None without sound.
        voiced: (begin, end) of the stretches with speech, in seconds from the clip's beginning; None: not looked for.
        pictures: (time, rgb uint8 (H, W, 3)) of the clip.
        faces: the crops that the visual encoder read, uint8 (T, 64, 64), one for each visual frame.
    """

    samples: np.ndarray | None = None
    voiced: tuple[tuple[float, float], ...] | None = None
    pictures: tuple[tuple[float, np.ndarray], ...] = ()
    faces: np.ndarray | None = None


@dataclass(frozen=True)
class Evidence:
    """The parts of an utterance as the model takes them.

    Attributes:
        utterance: the utterance that was read.
        pieces: (n,) int64 rows of the dictionary, no special symbols.
        word_start: (n,) uint8, 1 where a word begins.
        visual: (T, V) float16, or None without faces.
        acoustic: (A, D) float16, or None without sound.
        expression: (T, K) float32 with the faces, where the visual encoder gives it.
        visual_times: (T,) seconds from the clip's beginning.
        acoustic_times: (A,) seconds at which each speech frame begins.
        absent: for each modality (by its letter) that was not read, the reason.
        notes: remarks for the reader of the answer.
        seconds: duration of the clip, where known.
        preview: for the page.
        unlike: letters of the modalities that are unlike anything in a training, such as sound without speech.
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
    unlike: str = ""

    @classmethod
    def nothing(cls, utterance: Utterance) -> Evidence:
        """Return evidence without any modality, to read a template alone."""
        return cls(utterance, np.zeros(0, np.int64), np.zeros(0, np.uint8))

    @property
    def present(self) -> str:
        """Return the modality case: letters of the modalities that were read."""
        lengths = {"l": len(self.pieces), "v": _length(self.visual), "a": _length(self.acoustic)}
        return "".join(letter for letter, length in lengths.items() if length)

    def noted(self, note: str, unlike: str = "") -> Evidence:
        """Return the same with one note more, and the letter of a modality that is unlike a training's."""
        return replace(self, notes=(*self.notes, note), unlike=self.unlike + unlike)

    def lacking(self, letter: str, reason: str) -> Evidence:
        """Return the same with the reason why a modality was not read."""
        return replace(self, absent={**self.absent, letter: reason})

    def limited_to(self, modalities: str) -> Evidence:
        """Return the same with these modalities only."""
        empty = self.pieces[:0]
        return replace(
            self,
            pieces=self.pieces if "l" in modalities else empty,
            word_start=self.word_start if "l" in modalities else self.word_start[:0],
            visual=self.visual if "v" in modalities else None,
            acoustic=self.acoustic if "a" in modalities else None,
        )

    def first_seconds(self, seconds: float) -> Evidence:
        """Return the same with only the frames that begin before ``seconds``; the text stays whole."""
        return replace(
            self,
            visual=_before(self.visual, self.visual_times, seconds),
            acoustic=_before(self.acoustic, self.acoustic_times, seconds),
        )


def utterances(
    clip: Clip | Clips | None,
    text: str | Sequence[str] | None,
    *,
    start: float | None = None,
    end: float | None = None,
    sampling_rate: int = 16_000,
    visual: np.ndarray | None = None,
    acoustic: np.ndarray | None = None,
) -> list[Utterance]:
    """Make one utterance, or one for each clip of a list.

    Raises:
        UserError: lists of different lengths, or arguments that belong to one utterance beside a list.
    """
    if not isinstance(clip, (list, tuple)):
        if text is not None and not isinstance(text, str):
            raise UserError("a list of texts for one clip; give one text, or lists of both")
        one = one_utterance(
            clip, text or "", start=start, end=end, sampling_rate=sampling_rate, visual=visual, acoustic=acoustic
        )
        return [one]
    if isinstance(text, str):
        raise UserError("one text for a list of clips; give a list of texts, or None")
    if text is not None and len(text) != len(clip):
        raise UserError(f"{counted(len(clip), 'clip')} and {counted(len(text), 'text')}; give as many of both")
    if any(given is not None for given in (start, end, visual, acoustic)):
        raise UserError("start, end, visual and acoustic belong to one utterance; give a list of Utterance instead")
    texts = text if text is not None else [""] * len(clip)
    return [one_utterance(one, said, sampling_rate=sampling_rate) for one, said in zip(clip, texts, strict=True)]


def one_utterance(
    clip: Clip | None,
    text: str,
    *,
    start: float | None = None,
    end: float | None = None,
    sampling_rate: int = 16_000,
    visual: np.ndarray | None = None,
    acoustic: np.ndarray | None = None,
) -> Utterance:
    """Make an utterance of a caller's arguments.

    Raises:
        UserError: a clip of another type.
    """
    if isinstance(clip, Utterance):
        return replace(clip, text=text) if text else clip
    if clip is not None and not isinstance(clip, (str, os.PathLike, np.ndarray)):
        raise UserError(f"a clip cannot be {type(clip).__name__}; give a path, a waveform or an Utterance")
    waveform = _between(clip, start, end, sampling_rate) if isinstance(clip, np.ndarray) else None
    path = None if clip is None or isinstance(clip, np.ndarray) else Path(clip)
    return Utterance(
        path, text, start, end, waveform=waveform, sampling_rate=sampling_rate, visual=visual, acoustic=acoustic
    )


def _between(waveform: np.ndarray, start: float | None, end: float | None, rate: int) -> np.ndarray:
    """Return the samples of some seconds of a waveform (N,)."""
    if start is None and end is None:
        return waveform
    first, lasts = start or 0.0, len(waveform) / rate if rate > 0 else 0.0
    last = lasts if end is None else min(end, lasts)
    if not 0 <= first < last:
        raise UserError(f"start {first:g}, end {last:g}: give seconds within the waveform, which lasts {lasts:g} s")
    return waveform[round(first * rate) : round(last * rate)]


def modality_letters(given: str) -> str:
    """Check letters of modalities and put them in the model's order.

    Raises:
        UserError: other letters than ``l``, ``v`` and ``a``, one twice, or none.
    """
    known = "".join(letter for letter in MODALITY_NAMES if letter in given)
    if not known or len(known) != len(given):
        raise UserError(f"modalities {given!r}: give one or more of l (text), v (faces), a (voice), as in 'lva'")
    return known


def _length(array: np.ndarray | None) -> int:
    return 0 if array is None else len(array)


def _before(frames: np.ndarray | None, times: np.ndarray | None, seconds: float) -> np.ndarray | None:
    if frames is None or times is None:
        return frames
    return frames[: int(np.searchsorted(times, seconds))]
