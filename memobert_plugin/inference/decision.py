"""Put the answer about one utterance together: what a model says of it, with notes on how far to trust that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.names import CLASSES, DIMENSIONS, LABEL_THRESHOLD
from ..evaluation.metrics.calibration import SURE
from ..pages.drawings import time_step
from .prediction import Dimension, ModalityUse, Prediction
from .utterance import MODALITY_NAMES, PLAIN_NAMES, Evidence

if TYPE_CHECKING:
    from ..checkpoints.model_description import ModelDescription

NOT_CALIBRATED = (
    "not calibrated: nobody compared this model's confidence with how often it is right; it may be too high"
)
CONTRADICTING = 0.7
"""Probability of two different answers from which the streams that they come from contradict each other."""


def model_notes(description: ModelDescription) -> tuple[str, ...]:
    """Return the notes that belong to every answer of a model."""
    known = description.calibration is not None or description.target_kind != CLASSES
    notes = (description.note, "" if known else NOT_CALIBRATED)
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
    if description.target_kind != CLASSES:
        return _other_target(evidence, description, probabilities, without)
    confidence = float(probabilities.max())
    threshold = description.calibration.threshold if description.calibration is not None else SURE
    first, last = (description.note,), (contradiction(alone), "" if description.calibration else NOT_CALIBRATED)
    return Prediction(
        **_what_was_read(evidence, description, without),
        label=description.labels[int(probabilities.argmax())],
        probabilities=named(description.labels, probabilities),
        word=word,
        confidence=confidence,
        unsure=confidence < threshold or threshold >= 1 or set(evidence.present) <= set(evidence.unlike),
        notes=tuple(note for note in (*first, *evidence.notes, *last) if note),
    )


def in_words(description: ModelDescription, values: Mapping[str, float]) -> str:
    """Return the answer that a model's values by label stand for: ``sad``, ``sad; anger`` or ``valence 2.10``."""
    if description.target_kind == DIMENSIONS:
        return ", ".join(f"{name} {value:.2f}" for name, value in values.items())
    if description.target_kind == CLASSES:
        return max(values, key=lambda name: values[name])
    return "; ".join(name for name, share in values.items() if share >= LABEL_THRESHOLD) or "none of the labels"


def dimensions_of(description: ModelDescription, values: Mapping[str, float]) -> dict[str, Dimension]:
    """Return numbers by name with their ranges."""
    assert description.target is not None  # the kind comes from it
    ends = zip(values.items(), description.target["ranges"], strict=True)
    return {name: Dimension(value, *map(float, range_)) for (name, value), range_ in ends}


def _other_target(
    evidence: Evidence,
    description: ModelDescription,
    outputs: np.ndarray,
    without: Mapping[str, Mapping[str, float]],
) -> Prediction:
    """Put the answer of a model together that gives several labels or numbers; arguments as of :func:`prediction`."""
    given = named(description.labels, outputs)
    answer: dict[str, Any] = {"probabilities": {}, "label": ""}
    if description.target_kind == DIMENSIONS:
        answer["dimensions"] = dimensions_of(description, given)
    else:
        labels = tuple(name for name, share in given.items() if share >= LABEL_THRESHOLD)
        answer |= {"probabilities": given, "labels": labels, "label": in_words(description, given)}
        answer["confidence"] = float(outputs.max())
    return Prediction(
        **_what_was_read(evidence, description, without),
        unsure=set(evidence.present) <= set(evidence.unlike),
        notes=tuple(note for note in (description.note, *evidence.notes) if note),
        **answer,
    )


def _what_was_read(
    evidence: Evidence, description: ModelDescription, without: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Return the fields of an answer that say what it is about, whatever the model predicts."""
    utterance = evidence.utterance
    return {
        "name": utterance.title,
        "file": utterance.file,
        "modalities": {
            name: _use(evidence, description, letter, without.get(letter)) for letter, name in MODALITY_NAMES.items()
        },
        "text": utterance.text,
        "start": utterance.start,
        "end": utterance.end,
        "text_source": (utterance.text_source or "typed") if utterance.text else "",
        "transcript": utterance.transcript,
    }


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
