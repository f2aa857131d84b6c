"""What callers of the model may give, as utterances."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError
from .utterance import MODALITY_NAMES, Utterance

Clip = str | os.PathLike[str] | np.ndarray | Utterance
"""A path (video, sound, folder of face pictures), a waveform (N,), or an utterance in full."""
Clips = list[Any] | tuple[Any, ...]
"""Several of :data:`Clip`."""


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
    """One utterance, or as many as there are clips in a list.

    Raises:
        UserError: lists of different lengths, or what belongs to one utterance beside a list.
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
        raise UserError(f"{len(clip)} clips and {len(text)} texts; give as many of both")
    if any(given is not None for given in (start, end, visual, acoustic)):
        raise UserError("start, end, visual and acoustic belong to one utterance; give a list of Utterance instead")
    texts = text if text is not None else [""] * len(clip)
    return [one_utterance(one, said, sampling_rate=sampling_rate) for one, said in zip(clip, texts, strict=True)]


def modality_letters(asked: str) -> str:
    """Letters of what may be read, in the model's order.

    Raises:
        UserError: something else than a few of ``l``, ``v`` and ``a``.
    """
    known = "".join(letter for letter in MODALITY_NAMES if letter in asked)
    if not known or len(known) != len(asked):
        raise UserError(f"modalities {asked!r}: give one or more of l (text), v (faces), a (voice), as in 'lva'")
    return known


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
    """An utterance of what was given.

    Raises:
        UserError: a clip of another type.
    """
    if isinstance(clip, Utterance):
        return replace(clip, text=text) if text else clip
    if clip is not None and not isinstance(clip, (str, os.PathLike, np.ndarray)):
        raise UserError(f"a clip cannot be {type(clip).__name__}; give a path, a waveform or an Utterance")
    waveform = clip if isinstance(clip, np.ndarray) else None
    path = None if clip is None or isinstance(clip, np.ndarray) else Path(clip)
    return Utterance(
        path, text, start, end, waveform=waveform, sampling_rate=sampling_rate, visual=visual, acoustic=acoustic
    )
