"""What the masking of words and of frames share: what becomes of a chosen unit, and that at least one is chosen."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from ..core.ragged import Integers, first_rows


class Fate(IntEnum):
    """What the model sees in place of a target: BERT's 80 % / 10 % / 10 % (Devlin et al., 2019)."""

    MASKED = 0
    REPLACED = 1
    KEPT = 2


MASKED_BELOW, REPLACED_BELOW = 0.8, 0.9


def draw_fates(points: npt.NDArray[np.float64]) -> Integers:
    """The :class:`Fate` of each unit from uniform ``points`` in [0, 1)."""
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
