"""A batch's pieces and frames, copied out of the containers, one utterance after another without padding."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from .buffers import BufferPool, bytes_for
from .indexed import IndexedReader


@dataclass(frozen=True)
class FramesWanted:
    """What is read of one modality for a batch of B utterances.

    Attributes:
        reader: the container; None when the corpus lacks the modality.
        lengths: (B,) frames of each utterance, from its beginning; 0 everywhere without a container.
        width: numbers per frame.
    """

    reader: IndexedReader | None
    lengths: npt.NDArray[np.int64]
    width: int


def gather_pieces(
    reader: IndexedReader, rows: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], dtype: npt.DTypeLike
) -> np.ndarray:
    """The first ``lengths`` (B,) pieces, or word starts, of the utterances ``rows`` (B,): (pieces of all,)."""
    flat = np.empty(int(lengths.sum()), dtype)
    _copy(reader, rows, lengths, flat)
    return flat


def gather_frames(
    rows: npt.NDArray[np.int64], wanted: Mapping[str, FramesWanted], pool: BufferPool | None = None
) -> dict[str, Tensor]:
    """Frames of the utterances ``rows`` (B,) under the names of ``wanted``: (frames of all, width) float16.

    All modalities are announced to the system before the first is read. They go into a free buffer of ``pool``; where
    there is none, into fresh memory, in a worker process that which it shares with the training process.
    """
    for one in wanted.values():
        if one.reader is not None:
            one.reader.announce(rows, one.lengths * one.width)
    buffer = pool.take(bytes_for(int(one.lengths.sum()) * one.width for one in wanted.values())) if pool else None
    write = buffer.write if buffer is not None else _write_fresh
    return {
        name: write(int(one.lengths.sum()), one.width, functools.partial(_copy_all, one, rows))
        for name, one in wanted.items()
    }


def _copy_all(wanted: FramesWanted, rows: np.ndarray, flat: np.ndarray) -> None:
    if wanted.reader is not None:
        _copy(wanted.reader, rows, wanted.lengths * wanted.width, flat)


def _copy(reader: IndexedReader, rows: np.ndarray, counts: np.ndarray, flat: np.ndarray) -> None:
    """Fill ``flat`` with the first ``counts`` elements of each item."""
    stop = 0
    firsts = reader.pointers[rows] // reader.data.itemsize
    for first, count in zip(firsts.tolist(), counts.tolist(), strict=True):
        flat[stop : stop + count] = reader.data[first : first + count]
        stop += count


def _write_fresh(count: int, width: int, fill: Callable[[npt.NDArray[np.float16]], None]) -> Tensor:
    """As :meth:`.buffer_pool.Buffer.write`. What a worker process shares at once, the host need not copy."""
    if get_worker_info() is None or not count * width:
        frames = torch.empty(count, width, dtype=torch.float16)
    else:
        storage = torch.UntypedStorage._new_shared(count * width * torch.float16.itemsize)
        frames = torch.empty(0, dtype=torch.float16).set_(storage, 0, torch.Size((count, width)), (width, 1))
    fill(frames.numpy().reshape(-1))
    return frames


class SentArray:
    """Stands for a tensor in a batch that is sent to the training process, where it arrives as that tensor.

    Args:
        array: its numbers, of any shape and type that torch knows.
    """

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array

    def __reduce__(self) -> tuple[Callable[[npt.NDArray[Any]], Tensor], tuple[npt.NDArray[Any]]]:
        return torch.from_numpy, (self._array,)


def as_small_tensor(array: np.ndarray) -> Tensor:
    """A tensor on ``array``, of its shape and type; in a worker process what arrives as such a tensor."""
    return torch.from_numpy(array) if get_worker_info() is None else cast(Tensor, SentArray(array))
