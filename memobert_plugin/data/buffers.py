"""Reuse memory for the frames of batches, also between worker processes and the training process.

Fresh memory is the largest cost of loading a batch: the system clears each page and maps it, twice where a worker
process writes and the training process reads. Here both map the same buffers before the worker starts. The worker
writes into one of its free buffers and sends its index. The training process reads the frames there; when the last
tensor on them is deleted, the buffer is free again. Without a free buffer that is large enough, fresh memory is taken:
nothing ever waits.
"""

from __future__ import annotations

import itertools
import mmap
import weakref
from collections.abc import Callable, Iterable
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

_ALIGNMENT = 64
"""Bytes: a cache line."""
_ITEM = 2
"""Bytes of a float16."""
_NUMBERS = itertools.count()
_KNOWN: weakref.WeakValueDictionary[int, BufferPool] = weakref.WeakValueDictionary()


class BufferPool:
    """Buffers of one size, made in the training process before its workers start.

    Args:
        workers: worker processes that fill buffers; 0 if the training process does.
        buffers: number for each worker.
        size: bytes of a buffer. Only written pages take memory.
    """

    def __init__(self, workers: int, buffers: int, size: int) -> None:
        self.workers, self.size = workers, size
        self.number = next(_NUMBERS)
        self._buffers = _mapped(max(workers, 1) * buffers, size)
        self._taken = np.frombuffer(mmap.mmap(-1, max(len(self._buffers), 1)), np.uint8)
        _KNOWN[self.number] = self

    def take(self, size: int) -> Buffer | None:
        """Return a free buffer of this process with at least ``size`` bytes, or None."""
        worker = get_worker_info()
        if not 0 < size <= self.size or (worker is None) != (self.workers == 0):
            return None
        buffers = len(self._buffers) // max(self.workers, 1)
        first = 0 if worker is None else worker.id * buffers
        free = np.flatnonzero(self._taken[first : first + buffers] == 0)
        if not len(free):
            return None
        index = first + int(free[0])
        self._taken[index] = 1
        return Buffer(self, index, to_send=worker is not None)

    def frames(self, index: int) -> npt.NDArray[np.float16]:
        """Return all of a buffer as an array (size / 2,)."""
        return np.frombuffer(self._buffers[index], np.float16)

    def opened(self, index: int) -> Tensor:
        """Return all of a taken buffer, (size / 2,) float16; it is free when the last tensor on it is deleted."""
        frames = self.frames(index)
        release = weakref.finalize(frames, self._taken.__setitem__, index, 0)
        release.atexit = False
        return torch.from_numpy(frames)

    def __reduce__(self) -> tuple[type[BufferPool], tuple[int, int, int]]:
        """Pickle without buffers: a process that was not forked from this one does not share its memory."""
        return type(self), (self.workers, 0, 0)


class Buffer:
    """A buffer while a batch is written into it, array after array.

    Args:
        pool: the buffer's pool.
        index: its number in the pool.
        to_send: True if another process reads it.
    """

    def __init__(self, pool: BufferPool, index: int, *, to_send: bool) -> None:
        self._number, self._index, self._frames = pool.number, index, pool.frames(index)
        self._base = None if to_send else pool.opened(index)
        self._end = 0

    def write(self, count: int, width: int, fill: Callable[[npt.NDArray[np.float16]], None]) -> Tensor:
        """Write the next frames of the batch and return them, (count, width) float16, or what arrives as them.

        Args:
            count: number of frames.
            width: numbers per frame.
            fill: writes the frames into a flat array.
        """
        first = self._end
        fill(self._frames[first : first + count * width])
        self._end += _padded(count * width)
        if self._base is None:
            return cast(Tensor, SentFrames(self, first, count, width))  # as which it arrives
        return self._base[first : first + count * width].view(count, width)

    def __reduce__(self) -> tuple[Callable[[int, int], Tensor], tuple[int, int]]:
        return _open, (self._number, self._index)


class SentFrames:
    """A stand-in for frames in a batch sent to the training process, where it arrives as their tensor."""

    def __init__(self, buffer: Buffer, first: int, count: int, width: int) -> None:
        self._place = (buffer, first, count, width)

    def __reduce__(self) -> tuple[Callable[[Tensor, int, int, int], Tensor], tuple[Buffer, int, int, int]]:
        return _frames_at, self._place


def _mapped(buffers: int, size: int) -> list[mmap.mmap]:
    """Map memory that forked processes share; none where the system does not overcommit."""
    if not size:
        return []
    try:
        return [mmap.mmap(-1, size) for _ in range(buffers)]
    except OSError:
        return []


def bytes_for(elements: Iterable[int]) -> int:
    """Return the bytes of a buffer for arrays of these numbers of float16."""
    return _ITEM * sum(map(_padded, elements))


def _padded(elements: int) -> int:
    return -(-elements * _ITEM // _ALIGNMENT) * _ALIGNMENT // _ITEM


def _open(number: int, index: int) -> Tensor:
    return _KNOWN[number].opened(index)


def _frames_at(buffer: Tensor, first: int, count: int, width: int) -> Tensor:
    return buffer[first : first + count * width].view(count, width)
