"""The answer about one utterance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ModalityUse:
    """What an answer rests on in one modality.

    Attributes:
        present: whether it was read.
        frames: word pieces or frames that were read.
        found: how many there were; more than ``frames`` where the model reads only the beginning.
        seconds: stretch of the clip that the frames cover; None for text.
        reason: why it is absent.
        without: probabilities of the emotions when this modality is left out; None where that was not asked for, or
            where nothing else is there.
    """

    present: bool
    frames: int = 0
    found: int = 0
    seconds: float | None = None
    reason: str = ""
    without: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Prediction:
    """The answer about one utterance.

    Attributes:
        name: of the utterance.
        label: the most probable emotion.
        probabilities: of every emotion; they add up to 1.
        modalities: for ``text``, ``visual`` and ``acoustic`` what was read.
        text: as given.
        start: of the utterance in its file, in seconds.
        end: likewise.
        word: the word that the model itself would put at the mask, of its whole vocabulary (prompted models).
        notes: what to know before relying on the answer.
    """

    name: str
    label: str
    probabilities: Mapping[str, float]
    modalities: Mapping[str, ModalityUse]
    text: str = ""
    start: float | None = None
    end: float | None = None
    word: str | None = None
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON line."""
        return {
            "id": self.name,
            "start": self.start,
            "end": self.end,
            "text": self.text,
            "label": self.label,
            "probabilities": dict(self.probabilities),
            "word": self.word,
            "modalities": {
                name: {
                    "present": use.present,
                    "frames": use.frames,
                    "found": use.found,
                    "seconds": use.seconds,
                    "reason": use.reason,
                    "without": None if use.without is None else dict(use.without),
                }
                for name, use in self.modalities.items()
            },
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Encoding:
    """Contextual embeddings of one utterance, D numbers each: the last layer of the transformer.

    Attributes:
        pieces: the text's pieces, ``[CLS]`` first and ``[SEP]`` last.
        text: (n, D) float32, one for each piece.
        visual: (T, D) float32.
        visual_times: (T,) seconds from the clip's beginning.
        acoustic: (A, D) float32.
        acoustic_times: (A,) where each speech frame begins.
    """

    pieces: tuple[str, ...]
    text: np.ndarray
    visual: np.ndarray
    visual_times: np.ndarray
    acoustic: np.ndarray
    acoustic_times: np.ndarray
