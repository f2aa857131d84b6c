"""From probabilities to an answer that says what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .prediction import ModalityUse, Prediction
from .utterance import MODALITY_NAMES, Evidence

if TYPE_CHECKING:
    from ..checkpoints.model_description import ModelDescription


def named(labels: Sequence[str], probabilities: np.ndarray) -> dict[str, float]:
    """Probabilities (C,) by emotion."""
    return dict(zip(labels, probabilities.tolist(), strict=True))


def prediction(
    evidence: Evidence,
    description: ModelDescription,
    probabilities: np.ndarray,
    word: str | None,
    without: Mapping[str, Mapping[str, float]],
) -> Prediction:
    """The answer about one utterance.

    Args:
        evidence: what was found in it.
        description: of the model.
        probabilities: (C,) of the emotions.
        word: the most likely word at the mask; None for a finetuned model.
        without: probabilities without each modality, by its letter.
    """
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
        notes=evidence.notes,
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
    """How much of a clip the first ``count`` frames cover, from the times (T,) at which frames begin."""
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.1
    return round(float(times[count - 1] - times[0]) + step, 3)
