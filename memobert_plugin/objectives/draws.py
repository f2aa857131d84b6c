"""Random choices that objectives share: numbers per utterance, fates of chosen units, pieces to draw from.

Every draw is a function of (seed, update, utterance): masks change with each update, do not depend on the rest of the
batch, on ranks or on workers, and need no state. A batch is packed: flat arrays over the utterances, and their lengths.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from ..core.ragged import Integers, first_rows
from ..core.rng import integers, uniform


class Fate(IntEnum):
    """Treatment of a target in the input: BERT's 80 % / 10 % / 10 % (Devlin et al., 2019)."""

    MASKED = 0
    REPLACED = 1
    KEPT = 2


MASKED_BELOW, REPLACED_BELOW = 0.8, 0.9
_NO_TEXT = re.compile(r"\[.+\]|<.+>|madeupword\d{4}")
"""Pieces that no text holds: ``[CLS]``, ``[unused7]``, ``<s>``, ``<0x0A>``, and the rows that fairseq pads with."""


def ordinary_pieces(symbols: Sequence[str]) -> Integers:
    """Return the rows of a dictionary that may replace a piece, ascending: no special pieces, no ``[unused…]``."""
    return np.array([row for row, symbol in enumerate(symbols) if not _NO_TEXT.fullmatch(symbol)], dtype=np.int64)


def draw_fates(points: npt.NDArray[np.float64]) -> Integers:
    """Return the :class:`Fate` of each unit from uniform ``points`` in [0, 1)."""
    return (points >= MASKED_BELOW).astype(np.int64) + (points >= REPLACED_BELOW)


def select_at_least_one(
    selected: npt.NDArray[np.bool_], lengths: Integers, fallback: Integers
) -> npt.NDArray[np.bool_]:
    """Add to a selection the ``fallback`` of each segment in which nothing is selected.

    Args:
        selected: (sum of ``lengths``,) the units of all segments.
        lengths: (B,) units per segment; those of length 0 stay empty.
        fallback: (B,) the place inside each segment of the unit to add.
    """
    begin = first_rows(lengths)
    before = np.concatenate([[0], np.cumsum(selected)])
    missed = (lengths > 0) & (before[begin + lengths] == before[begin])
    completed = selected.copy()
    completed[(begin + fallback)[missed]] = True
    return completed


@dataclass(frozen=True)
class Draws:
    """Random numbers of a batch's utterances for one update.

    Attributes:
        seed: the run's seed.
        update: the number of the update.
        stream: keeps the draws of different purposes apart (:class:`~memobert_plugin.core.rng.Stream`).
        uids: (B,) utterance identities.
    """

    seed: int
    update: int
    stream: int
    uids: npt.NDArray[np.uint64]

    def uniform(self, owner: Integers, counter: Integers | int) -> npt.NDArray[np.float64]:
        """Return numbers in [0, 1) of the utterances ``owner``; each counter of an utterance gives another number."""
        return uniform(self.seed, self.update, self.stream, self.uids[owner], counter)

    def integers(self, owner: Integers, counter: Integers | int, high: Integers) -> Integers:
        """Return integers from range(``high``)."""
        return integers(self.seed, self.update, self.stream, self.uids[owner], counter, high)

    def choose(self, numbers: Integers, populations: Integers, counter: int) -> tuple[Integers, Integers]:
        """Choose ``numbers`` distinct elements of range(``populations``) per utterance, every subset equally likely.

        Each candidate has one random key, from ``counter`` on, so that a batch is drawn at once, padded to its largest
        population. Returns the utterance and the element of every choice, ascending.
        """
        candidates = np.arange(int(populations.max(initial=0)))
        keys = self.uniform(np.arange(len(self.uids))[:, None], counter + candidates)
        keys[candidates >= populations[:, None]] = np.inf
        chosen = np.zeros(keys.shape, dtype=bool)
        np.put_along_axis(chosen, np.argsort(keys, axis=1), candidates < numbers[:, None], axis=1)
        owner, element = np.nonzero(chosen)
        return owner, element
