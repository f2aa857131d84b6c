"""Span masking: choose the face or speech frames that an objective hides (MEmoBERT, section 2.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from ..core.errors import UserError
from ..core.ragged import Integers, first_rows, owners_and_positions
from .draws import Draws, Fate, draw_fates, select_at_least_one

REFERENCE_SPAN = 3
"""The reference's span length in frames, which its rule fixes."""
REFERENCE_MARGIN = 4
"""The reference draws span starts from range(N - 4)."""


class _Draw(IntEnum):
    """First counter of each kind of draw of frames."""

    NUMBER = 0 << 32
    ORDER = 1 << 32
    SINGLE = 2 << 32
    FATE = 3 << 32
    SOURCE = 4 << 32
    REMAINDER = 5 << 32


@dataclass(frozen=True)
class MaskedFrames:
    """The frames to predict, and what the model sees in their place; all are rows of the flat frames.

    Attributes:
        targets: (n,) ascending; those neither masked nor replaced are shown as they are.
        masked: rows that show the learned mask vector, ascending.
        replaced: rows that show another frame of the clip, ascending.
        sources: as ``replaced``, the rows whose original frames are shown there.
    """

    targets: Integers
    masked: Integers
    replaced: Integers
    sources: Integers


@dataclass(frozen=True)
class _Spans:
    """Spans of frames, ordered by utterance and start.

    Attributes:
        owner: (S,) the utterance.
        start: (S,) the first frame, counted inside the clip.
        length: (S,) frames.
        starts: (S,) a span of this length may start at range(``starts``) when it replaces this one.
        fate: (S,) of all its frames.
    """

    owner: Integers
    start: Integers
    length: Integers
    starts: Integers
    fate: Integers


def mask_frames(
    lengths: npt.NDArray[np.integer],
    draws: Draws,
    *,
    mode: str,
    ratio: float,
    span_length: int,
) -> MaskedFrames:
    """Choose the frames of one modality to predict.

    ``span`` takes n = floor(ratio N + u) of N frames, u uniform, at least one, cut into spans of ``span_length`` and
    one of the remainder, in any order and with any gaps, all arrangements equally likely. ``random`` takes each frame
    independently, at least one: the paper's ablation. Of these spans (frames) 80 % show the mask vector, 10 % another
    stretch of the same clip, equally long (their own where the clip has no other), 10 % stay.

    ``span_reference`` is the rule of the reference implementation: int(ratio N / 3) spans of 3 with distinct starts
    from range(N - 4), which may overlap; in 80 % of the utterances they show the mask vector, in 10 % other stretches
    of the clip, and in 10 % the only target is a single frame, which shows the mask vector. The only target of a clip
    too short for a span is a single frame too; it always shows the mask vector. The rule's ratios are 0.20 for visual
    and 0.15 for acoustic frames.

    Args:
        lengths: (B,) frames per utterance; one of length 0 has no targets.
        draws: the random numbers of their utterances.
        mode: one of ``FRAME_MASKING``.
        ratio: the share of frames to predict; the paper's is 0.15.
        span_length: frames per span, of ``span``; 3 in the paper.

    Raises:
        UserError: an unknown mode, a ratio outside (0, 1], a span length below 1 or, for ``span_reference``, not 3.
    """
    if mode not in FRAME_MASKING:
        raise UserError(f"frame masking {mode!r} is unknown; choose from {', '.join(FRAME_MASKING)}")
    if not 0 < ratio <= 1:
        raise UserError(f"the share of frames to mask must be above 0 and at most 1, not {ratio}")
    if span_length < 1:
        raise UserError(f"the span length must be at least 1 frame, not {span_length}")
    frames = np.asarray(lengths, dtype=np.int64)
    spans = _RULES[mode](frames, draws, ratio, span_length)

    others = spans.starts - 1
    source = draws.integers(spans.owner, _Draw.SOURCE + spans.start, np.maximum(others, 1))
    source += (source >= spans.start) & (others > 0)
    span, offset = owners_and_positions(spans.length)
    begin = first_rows(frames)[spans.owner]
    # Spans of the reference may overlap: a frame then belongs to the first.
    targets, first = np.unique((begin + spans.start)[span] + offset, return_index=True)
    span, offset = span[first], offset[first]
    fate = spans.fate[span]
    replaced = fate == Fate.REPLACED
    return MaskedFrames(
        targets=targets,
        masked=targets[fate == Fate.MASKED],
        replaced=targets[replaced],
        sources=((begin + source)[span] + offset)[replaced],
    )


def _spans(lengths: Integers, draws: Draws, ratio: float, span_length: int) -> _Spans:
    everyone = np.arange(len(lengths))
    frames = np.floor(ratio * lengths + draws.uniform(everyone, _Draw.NUMBER)).astype(np.int64)
    frames = np.minimum(np.maximum(frames, 1), lengths)
    number = -(-frames // span_length)
    remainder = frames % span_length
    # A clip is a sequence of spans and of single frames left alone: the spans' places in it are a random subset.
    owner, place = draws.choose(number, lengths - frames + number, _Draw.ORDER)
    first_span = first_rows(number)
    order = np.arange(len(owner)) - first_span[owner]
    length = np.full(len(owner), span_length)
    cut = np.flatnonzero(remainder)
    shorter = draws.integers(cut, _Draw.REMAINDER, number[cut])
    length[first_span[cut] + shorter] = remainder[cut]
    frames_before = first_rows(length) - first_rows(frames)[owner]
    start = place - order + frames_before
    fate = draw_fates(draws.uniform(owner, _Draw.FATE + order))
    return _Spans(owner, start, length, lengths[owner] - length + 1, fate)


def _reference_spans(lengths: Integers, draws: Draws, ratio: float, span_length: int) -> _Spans:
    if span_length != REFERENCE_SPAN:
        raise UserError(f"span_reference masks spans of {REFERENCE_SPAN} frames, not {span_length}; use span instead")
    everyone = np.arange(len(lengths))
    starts = np.maximum(lengths - REFERENCE_MARGIN, 0)
    number = np.minimum((lengths * ratio / REFERENCE_SPAN).astype(np.int64), starts)
    fate = draw_fates(draws.uniform(everyone, _Draw.FATE))
    # Clips too short for a span have one target, and so has a tenth of the others. It always shows the mask vector.
    single = (number < 1) | (fate == Fate.KEPT)
    fate[single] = Fate.MASKED
    owner, start = draws.choose(np.where(single, lengths > 0, number), np.where(single, lengths, starts), _Draw.ORDER)
    length = np.where(single, 1, REFERENCE_SPAN)[owner]
    return _Spans(owner, start, length, np.where(single, lengths, starts)[owner], fate[owner])


def _single_frames(lengths: Integers, draws: Draws, ratio: float, span_length: int) -> _Spans:
    owner, position = owners_and_positions(lengths)
    chosen = select_at_least_one(
        selected=draws.uniform(owner, _Draw.ORDER + position) < ratio,
        lengths=lengths,
        fallback=draws.integers(np.arange(len(lengths)), _Draw.SINGLE, lengths),
    )
    owner, position = owner[chosen], position[chosen]
    fate = draw_fates(draws.uniform(owner, _Draw.FATE + position))
    return _Spans(owner, position, np.ones_like(owner), lengths[owner], fate)


_RULES: dict[str, Callable[[Integers, Draws, float, int], _Spans]] = {
    "span": _spans,
    "span_reference": _reference_spans,
    "random": _single_frames,
}

FRAME_MASKING = tuple(_RULES)
