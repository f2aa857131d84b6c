"""Arrays whose rows belong to utterances of different lengths, laid out one utterance after another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def first_rows(lengths: Integers) -> Integers:
    """The row at which each segment begins: (B,) from the segments' lengths (B,)."""
    return np.cumsum(lengths) - lengths


def owners_and_positions(lengths: Integers) -> tuple[Integers, Integers]:
    """For every row the segment it belongs to and its place in there, both (sum of lengths,)."""
    owners = np.repeat(np.arange(len(lengths)), lengths)
    return owners, np.arange(len(owners)) - first_rows(lengths)[owners]
