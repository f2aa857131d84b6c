"""Random numbers as a function of (seed, update, stream, utterance, counter), without any state.

A draw for an utterance therefore does not depend on the batch, the rank, the worker or earlier updates, and a resumed
run has nothing to restore. SplitMix64 (Steele, Lea and Flood, 2014) absorbs the five numbers one after another: as many
steps along its Weyl sequence as the number says, then its finaliser.
"""

from __future__ import annotations

import functools
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

_GOLDEN_GAMMA = np.uint64(0x9E37_79B9_7F4A_7C15)
_FINALISER = (
    (np.uint64(30), np.uint64(0xBF58_476D_1CE4_E5B9)),
    (np.uint64(27), np.uint64(0x94D0_49BB_1331_11EB)),
)
_LAST_SHIFT = np.uint64(31)


class Stream(IntEnum):
    """Purposes of random numbers. The values determine every run's draws: add new ones, never renumber."""

    OBJECTIVE = 1
    TEXT_MASK = 2
    VISUAL_MASK = 3
    ACOUSTIC_MASK = 4
    MODALITY_MIXTURE = 5
    TRAIN_FRACTION = 6
    VALID_SHARE = 7
    PICTURE_AUGMENTATION = 8
    PICTURE_REPEATS = 9
    FRAME_DROPOUT = 10
    STREAM_MIXING = 11
    UNLABELLED = 12


def uniform(seed: int, update: int, stream: int, uid: npt.ArrayLike, counter: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Draw numbers in [0, 1) with 53 random bits each, in the shape that ``uid`` and ``counter`` broadcast to.

    Args:
        seed: the run's seed, any integer.
        update: the number of the update, or any other integer that must change the draw.
        stream: a :class:`Stream`.
        uid: 64-bit utterance identities.
        counter: which of the utterance's draws, >= 0.
    """
    utterances = _absorb(_run_state(seed, update, int(stream)), np.atleast_1d(np.asarray(uid, dtype=np.uint64)))
    bits = _absorb(utterances, np.atleast_1d(np.asarray(counter, dtype=np.uint64)))
    numbers = (bits >> np.uint64(11)) * 2.0**-53
    return numbers.reshape(np.broadcast_shapes(np.shape(uid), np.shape(counter)))


def integers(
    seed: int, update: int, stream: int, uid: npt.ArrayLike, counter: npt.ArrayLike, high: npt.ArrayLike
) -> npt.NDArray[np.int64]:
    """Draw integers from ``range(high)``, equally likely to within ``high / 2**53``; ``high`` >= 1 broadcasts too."""
    numbers = uniform(seed, update, stream, uid, counter) * np.asarray(high)
    return np.asarray(numbers).astype(np.int64)


@functools.lru_cache(maxsize=256)
def _run_state(seed: int, update: int, stream: int) -> Words:
    state = np.zeros(1, dtype=np.uint64)
    for number in (seed, update, stream):
        state = _absorb(state, np.array([int(number) & 0xFFFF_FFFF_FFFF_FFFF], dtype=np.uint64))
    return state


def _absorb(state: Words, word: Words) -> Words:
    mixed = word * _GOLDEN_GAMMA + _GOLDEN_GAMMA + state
    for shift, factor in _FINALISER:
        mixed ^= mixed >> shift
        mixed *= factor
    mixed ^= mixed >> _LAST_SHIFT
    return mixed
