"""Repeat factor sampling: pictures of rare expressions come several times per epoch (Gupta et al., CVPR 2019)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .counter_rng import Stream, uniform


def repeat_factors(majorities: npt.NDArray[np.int64], rarer_than: float) -> npt.NDArray[np.float64]:
    """How often each picture comes in an epoch, on average.

    Args:
        majorities: ``(N,)`` the majority's expression, -1 where there is none.
        rarer_than: share t of the pictures with a majority; an expression with the share f is repeated
            ``max(1, sqrt(t / f))`` times.

    Returns:
        ``(N,)``, at least 1; 1 where there is no majority.
    """
    counts = np.bincount(majorities[majorities >= 0])
    shares = counts / max(1, counts.sum())
    factors = np.sqrt(rarer_than / shares, where=shares > 0, out=np.ones_like(shares))
    return np.append(np.maximum(1.0, factors), 1.0)[majorities]


def draw_repeats(factors: npt.NDArray[np.float64], seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """How often each picture comes in this epoch: ``(N,)`` whole numbers with the means ``factors``, each the next
    lower or higher one, as a function of (seed, epoch, picture).
    """
    draws = uniform(seed, epoch, Stream.PICTURE_REPEATS, np.arange(len(factors), dtype=np.uint64), 0)
    return np.floor(factors + draws).astype(np.int64)
