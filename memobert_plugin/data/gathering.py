"""A batch's pieces and frames, copied out of the containers, one utterance after another without padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

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


def gather_frames(rows: npt.NDArray[np.int64], wanted: Mapping[str, FramesWanted]) -> dict[str, Tensor]:
    """Frames of the utterances ``rows`` (B,) under the names of ``wanted``: (frames of all, width) float16.

    All modalities are announced to the system before the first is read. In a worker process the frames are written
    straight into the memory that it shares with the training process, which saves the host copying them there.
    """
    for one in wanted.values():
        if one.reader is not None:
            one.reader.announce(rows, one.lengths * one.width)
    gathered = {}
    for name, one in wanted.items():
        frames = _empty_frames(int(one.lengths.sum()), one.width)
        if one.reader is not None:
            _copy(one.reader, rows, one.lengths * one.width, frames.numpy().reshape(-1))
        gathered[name] = frames
    return gathered


def _copy(reader: IndexedReader, rows: np.ndarray, counts: np.ndarray, flat: np.ndarray) -> None:
    """Fill ``flat`` with the first ``counts`` elements of each item."""
    stop = 0
    firsts = reader.pointers[rows] // reader.data.itemsize
    for first, count in zip(firsts.tolist(), counts.tolist(), strict=True):
        flat[stop : stop + count] = reader.data[first : first + count]
        stop += count


def _empty_frames(count: int, width: int) -> Tensor:
    """Room for frames; in a worker process, in the memory that it shares with the training process."""
    if get_worker_info() is None or not count * width:
        return torch.empty(count, width, dtype=torch.float16)
    storage = torch.UntypedStorage._new_shared(count * width * torch.float16.itemsize)
    return torch.empty(0, dtype=torch.float16).set_(storage, 0, torch.Size((count, width)), (width, 1))
