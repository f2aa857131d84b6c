"""Index arithmetic for ragged arrays: the rows of utterances of different lengths, one utterance after another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def first_rows(lengths: Integers) -> Integers:
    """Return the first row of each segment, ``(B,)``, from the segments' lengths ``(B,)``."""
    return np.cumsum(lengths) - lengths


def owners_and_positions(lengths: Integers) -> tuple[Integers, Integers]:
    """Return each row's segment and its position in that segment, both ``(sum(lengths),)``."""
    owners = np.repeat(np.arange(len(lengths)), lengths)
    return owners, np.arange(len(owners)) - first_rows(lengths)[owners]
