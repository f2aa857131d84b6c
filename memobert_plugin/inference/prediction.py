"""The answer about one utterance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation.metrics.calibration import SURE
from ..pages.drawings import time_step
from .utterance import MODALITY_NAMES, PLAIN_NAMES, Evidence

if TYPE_CHECKING:
    from ..checkpoints.model_description import ModelDescription
    from ..features.extraction.transcription import Transcript


@dataclass(frozen=True)
class ModalityUse:
    """The part of one modality in an answer.

    Attributes:
        present: True if it was read.
        frames: number of word pieces or frames that were read.
        found: number of those that there were; more than ``frames`` if the model reads only the beginning.
        seconds: length of the clip's part that the frames cover; None for text.
        reason: the reason why it was not read.
        without: probabilities of the emotions without this modality; None if that was not asked for, or if nothing
            else was read.
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
        name: the utterance's name.
        label: the most probable emotion.
        probabilities: of every emotion, at the temperature of the model's calibration; they add up to 1.
        confidence: the probability of the label.
        unsure: True if the label is right in less than 60 % of such cases: the confidence is below the threshold of the
            model's calibration, or below 60 % for a model without one, or nothing that was read is like the training.
        modalities: the part of ``text``, ``visual`` and ``acoustic`` in it.
        text: the text as given, or as transcribed.
        text_source: ``typed``, ``subtitles``, ``manifest`` or ``transcribed``; empty without text.
        transcript: the recogniser of transcribed words, and how sure they are.
        start: beginning of the utterance in its file, in seconds.
        end: end of the utterance in its file, in seconds.
        word: the most likely word of the whole vocabulary at the mask (prompted models).
        notes: remarks to read before relying on the answer.
    """

    name: str
    label: str
    probabilities: Mapping[str, float]
    modalities: Mapping[str, ModalityUse]
    text: str = ""
    start: float | None = None
    end: float | None = None
    word: str | None = None
    confidence: float = 0.0
    unsure: bool = False
    notes: tuple[str, ...] = field(default=())
    text_source: str = ""
    transcript: Transcript | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON line."""
        return {
            "id": self.name,
            "start": self.start,
            "end": self.end,
            "text": self.text,
            "text_source": self.text_source or None,
            "transcript": None if self.transcript is None else asdict(self.transcript),
            "label": self.label,
            "confidence": self.confidence,
            "unsure": self.unsure,
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
    """The transformer's last layer for one utterance, D numbers for each piece and frame.

    Attributes:
        pieces: the text's pieces, ``[CLS]`` first and ``[SEP]`` last.
        text: (n, D) float32, one for each piece.
        visual: (T, D) float32.
        visual_times: (T,) seconds from the clip's beginning.
        acoustic: (A, D) float32.
        acoustic_times: (A,) seconds at which each speech frame begins.
    """

    pieces: tuple[str, ...]
    text: np.ndarray
    visual: np.ndarray
    visual_times: np.ndarray
    acoustic: np.ndarray
    acoustic_times: np.ndarray


NOT_CALIBRATED = (
    "not calibrated: nobody compared this model's confidence with how often it is right; it may be too high"
)
CONTRADICTING = 0.7
"""Probability of two different answers from which the streams that they come from contradict each other."""


def model_notes(description: ModelDescription) -> tuple[str, ...]:
    """Return the notes that belong to every answer of a model."""
    notes = (description.note, "" if description.calibration is not None else NOT_CALIBRATED)
    return tuple(note for note in notes if note)


def contradiction(alone: Mapping[str, Mapping[str, float]]) -> str:
    """Return a note if single modalities give different answers, each with much confidence; empty if not.

    Args:
        alone: probabilities of the emotions from each modality alone, by its letter.
    """
    answers = sorted(
        [(share, label, letter) for letter, shares in alone.items() for label, share in shares.items()], reverse=True
    )
    for share, label, letter in answers[1:]:
        most, first, of_first = answers[0]
        if label != first and letter != of_first and share >= CONTRADICTING:
            return (
                f"streams contradict each other: {PLAIN_NAMES[of_first]} alone: {first} ({most:.0%}), "
                f"{PLAIN_NAMES[letter]} alone: {label} ({share:.0%})"
            )
    return ""


def named(labels: Sequence[str], probabilities: np.ndarray) -> dict[str, float]:
    """Return probabilities (C,) by emotion."""
    return dict(zip(labels, probabilities.tolist(), strict=True))


def prediction(
    evidence: Evidence,
    description: ModelDescription,
    probabilities: np.ndarray,
    word: str | None,
    without: Mapping[str, Mapping[str, float]],
    alone: Mapping[str, Mapping[str, float]],
) -> Prediction:
    """Put the answer about one utterance together.

    Args:
        evidence: the parts that were read.
        description: the model's.
        probabilities: (C,) of the emotions.
        word: the most likely word at the mask; None for a finetuned model.
        without: probabilities without each modality, by its letter.
        alone: probabilities from each modality alone, by its letter; empty if they were not asked for.
    """
    confidence = float(probabilities.max())
    threshold = description.calibration.threshold if description.calibration is not None else SURE
    first, last = (description.note,), (contradiction(alone), "" if description.calibration else NOT_CALIBRATED)
    return Prediction(
        name=evidence.utterance.title,
        label=description.labels[int(probabilities.argmax())],
        probabilities=named(description.labels, probabilities),
        modalities={
            name: _use(evidence, description, letter, without.get(letter)) for letter, name in MODALITY_NAMES.items()
        },
        text=evidence.utterance.text,
        start=evidence.utterance.start,
        end=evidence.utterance.end,
        word=word,
        confidence=confidence,
        unsure=confidence < threshold or threshold >= 1 or set(evidence.present) <= set(evidence.unlike),
        notes=tuple(note for note in (*first, *evidence.notes, *last) if note),
        text_source=(evidence.utterance.text_source or "typed") if evidence.utterance.text else "",
        transcript=evidence.utterance.transcript,
    )


def _use(
    evidence: Evidence, description: ModelDescription, letter: str, without: Mapping[str, float] | None
) -> ModalityUse:
    if letter not in evidence.present:
        return ModalityUse(False, reason=evidence.absent.get(letter, ""))
    limits = description.limits
    frames, times, limit = {
        "l": (evidence.pieces, None, limits["pieces"]),
        "v": (evidence.visual, evidence.visual_times, limits["visual_frames"]),
        "a": (evidence.acoustic, evidence.acoustic_times, limits["acoustic_frames"]),
    }[letter]
    found = 0 if frames is None else len(frames)
    seconds = None if times is None else covered_seconds(times, min(found, limit))
    return ModalityUse(True, min(found, limit), found, seconds, without=without)


def covered_seconds(times: np.ndarray, count: int) -> float:
    """Return the seconds of a clip that the first ``count`` frames cover, from the times (T,) at which they begin."""
    return round(float(times[count - 1] - times[0]) + time_step(times), 3)
