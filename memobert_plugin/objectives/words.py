"""What one pre-training update masks: its objective, words of the text, spans of visual or acoustic frames.

Every draw is a function of (seed, update, utterance): masks change with each update, do not depend on the rest of the
batch, on ranks or on workers, and need no state. A batch is packed: flat arrays over the utterances, and their lengths.
Words are masked here, frames in :mod:`~memobert_plugin.objectives.frames` (the paper's section 2.2).
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from ..core.errors import UserError
from ..core.ragged import Integers, owners_and_positions
from ..core.rng import Stream, integers, uniform
from .draws import Fate, draw_fates, select_at_least_one
from .frames import FRAME_MASKING, MaskedFrames, mask_frames

__all__ = [
    "FRAME_MASKING",
    "OBJECTIVES",
    "WORD_MASKING",
    "MaskedFrames",
    "MaskedText",
    "draw_objective",
    "mask_frames",
    "mask_text",
]

OBJECTIVES = ("wwmlm", "mvfr", "mvfc", "mafr")
WORD_MASKING = ("whole_word", "piece")


class _Draw(IntEnum):
    """The counter at which each kind of draw of an utterance begins."""

    SELECTED = 0 << 32
    GUARANTEED = 1 << 32
    FATE = 2 << 32
    REPLACEMENT = 3 << 32


@dataclass(frozen=True)
class MaskedText:
    """The pieces to predict, and what the model sees in their place.

    Attributes:
        targets: (n,) rows of the flat ``ids``, ascending.
        replacements: (n,) ids to put there: ``[MASK]``, a random piece, or the piece that stood there.
    """

    targets: Integers
    replacements: Integers


def draw_objective(seed: int, update: int, ratios: Mapping[str, float]) -> str:
    """The objective of one update, the same on every rank and for every micro-batch of it.

    Args:
        seed: the run's seed.
        update: the number of the update.
        ratios: weights by objective (those not given count 0); the paper's are wwmlm 2, mvfr 1, mvfc 1, mafr 1.

    Raises:
        UserError: an unknown objective, a negative weight, or no positive one.
    """
    unknown = [name for name in ratios if name not in OBJECTIVES]
    if unknown:
        raise UserError(f"objective {unknown[0]!r} is unknown; choose from {', '.join(OBJECTIVES)}")
    if not all(0 <= ratio < np.inf for ratio in ratios.values()):
        raise UserError(f"objective ratios must be finite and not negative, not {dict(ratios)}")
    drawable = [name for name in OBJECTIVES if ratios.get(name, 0) > 0]
    if not drawable:
        raise UserError("every objective has ratio 0; leave at least one above 0")
    limits = np.cumsum([ratios[name] for name in drawable])
    point = float(uniform(seed, update, Stream.OBJECTIVE, 0, 0)) * limits[-1]
    return drawable[int(np.searchsorted(limits[:-1], point, side="right"))]


def mask_text(
    ids: npt.NDArray[np.integer],
    word_start: npt.NDArray[np.integer],
    lengths: npt.NDArray[np.integer],
    uids: npt.NDArray[np.uint64],
    *,
    seed: int,
    update: int,
    mode: str,
    probability: float,
    mask_index: int,
    replacement_range: tuple[int, int],
    special_ids: Collection[int],
) -> MaskedText:
    """Choose the pieces to predict: whole words, or single pieces (the paper's ablation).

    A word (a piece) is chosen with the given probability; an utterance in which none was gets one, drawn uniformly. Of
    the chosen, 80 % become ``[MASK]`` in all pieces, 10 % a random piece for each piece, 10 % stay.

    Args:
        ids: (pieces of all utterances,) without ``[CLS]`` and ``[SEP]``.
        word_start: as ``ids``, 1 where a whitespace word begins; a first piece always begins one.
        lengths: (B,) pieces per utterance; one of length 0 has no targets.
        uids: (B,) utterance identities.
        seed: the run's seed.
        update: the number of the update.
        mode: one of ``WORD_MASKING``.
        probability: of each word or piece to be chosen; the paper's is 0.15.
        mask_index: the id of ``[MASK]``.
        replacement_range: (first, last + 1) of the ids from which random pieces are drawn, all equally likely.
        special_ids: ids that are never predicted and never drawn.

    Raises:
        UserError: an unknown mode, a probability outside (0, 1], no id left to draw from.
    """
    if mode not in WORD_MASKING:
        raise UserError(f"word masking {mode!r} is unknown; choose from {', '.join(WORD_MASKING)}")
    if not 0 < probability <= 1:
        raise UserError(f"the share of words to mask must be above 0 and at most 1, not {probability}")
    pieces = np.asarray(lengths, dtype=np.int64)
    draw_uniform = functools.partial(uniform, seed, update, Stream.TEXT_MASK)
    owner, position = owners_and_positions(pieces)
    special = np.array(sorted(special_ids), dtype=np.int64)
    maskable = ~np.isin(ids, special)

    begins = (position == 0) | (word_start != 0) | (mode == "piece")
    unit_of_piece = np.cumsum(begins) - 1
    unit_owner = owner[begins]
    candidates = np.flatnonzero(np.bincount(unit_of_piece[maskable], minlength=len(unit_owner)))
    candidates_per_utterance = np.bincount(unit_owner[candidates], minlength=len(pieces))
    index = owners_and_positions(candidates_per_utterance)[1]
    chosen = select_at_least_one(
        selected=draw_uniform(uids[unit_owner[candidates]], _Draw.SELECTED + index) < probability,
        lengths=candidates_per_utterance,
        fallback=integers(seed, update, Stream.TEXT_MASK, uids, _Draw.GUARANTEED, candidates_per_utterance),
    )
    fate_of_unit = np.full(len(unit_owner), -1)
    fate_of_unit[candidates[chosen]] = draw_fates(
        draw_uniform(uids[unit_owner[candidates[chosen]]], _Draw.FATE + index[chosen])
    )
    fate = fate_of_unit[unit_of_piece]

    targets = np.flatnonzero((fate >= 0) & maskable)
    fate = fate[targets]
    replacements = ids[targets].astype(np.int64)
    replacements[fate == Fate.MASKED] = mask_index
    replaced = np.flatnonzero(fate == Fate.REPLACED)
    rows = targets[replaced]
    replacements[replaced] = _pieces_at(
        draw_uniform(uids[owner[rows]], _Draw.REPLACEMENT + position[rows]), replacement_range, special
    )
    return MaskedText(targets, replacements)


def _pieces_at(points: npt.NDArray[np.float64], id_range: tuple[int, int], special: Integers) -> Integers:
    """The ids at ``points`` in [0, 1) of the ascending list of the ids in ``id_range`` that are not special."""
    first, end = id_range
    skipped = np.unique(special[(special >= first) & (special < end)])
    allowed = end - first - len(skipped)
    if allowed < 1:
        raise UserError(
            f"no piece is left to replace others with among the ids {first} to {end - 1}; take a larger vocabulary"
        )
    rank = (points * allowed).astype(np.int64)
    return first + rank + np.searchsorted(skipped - first - np.arange(len(skipped)), rank, side="right")
