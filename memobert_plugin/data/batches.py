"""Build batches for the network: pieces and frames of a data-bin, special pieces and prompt, no padding."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from ..core.ragged import owners_and_positions
from ..core.rng import Stream, uniform
from .buffers import BufferPool, bytes_for
from .indexed import IndexedReader, taken
from .prompts import PromptPieces, assemble_prompts, ends_sentence
from .vocabulary import UNK


@dataclass(frozen=True)
class Limits:
    """Numbers of pieces and frames read from the start of an utterance; [CLS], [SEP] and the prompt do not count."""

    pieces: int
    visual_frames: int
    acoustic_frames: int


@dataclass(frozen=True)
class NetworkInput:
    """B utterances as the network reads them.

    Attributes:
        net_input: arguments of the network's ``forward``, but for the head and its rows.
        mask_rows: (B,) row of each utterance's ``[MASK]`` in the text; empty without a prompt.
        piece_lengths: (B,) pieces of each text that were kept, prompt and special pieces not counted.
        more: the same utterances with further prompts.
    """

    net_input: dict[str, Any]
    mask_rows: npt.NDArray[np.int64]
    piece_lengths: npt.NDArray[np.int64]
    more: tuple[NetworkInput, ...] = ()

    def __len__(self) -> int:
        """Return the number of pieces and frames together."""
        lengths = (self.net_input[f"{name}_lengths"] for name in ("text", "visual", "acoustic"))
        return int(sum(array.sum() for array in lengths))


class InputBuilder:
    """Put the pieces and frames of utterances together as the network reads them.

    Args:
        symbols: of the dictionary, in row order.
    """

    def __init__(self, symbols: Sequence[str]) -> None:
        self._sentence_end = ends_sentence(symbols)
        self._period = symbols.index(".") if "." in symbols else UNK

    def build(
        self,
        pieces: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        visual: Tensor,
        acoustic: Tensor,
        prompt: PromptPieces | None,
        as_tensor: Callable[[npt.NDArray[np.int64]], Tensor] = torch.from_numpy,
    ) -> NetworkInput:
        """Build the input of a batch.

        Args:
            pieces: (pieces of all texts,) without special pieces.
            lengths: (3, B) pieces, face frames and speech frames of each utterance.
            visual: (face frames of all, V) of any float type.
            acoustic: (speech frames of all, A).
            prompt: appended to every text; None for none.
            as_tensor: makes the text's tensor.
        """
        piece_lengths, visual_lengths, acoustic_lengths = lengths
        text = assemble_prompts(pieces, piece_lengths, self._sentence_end, self._period, prompt)
        net_input = {
            "text": as_tensor(text.ids),
            "text_lengths": text.lengths,
            "visual": visual,
            "visual_lengths": visual_lengths,
            "acoustic": acoustic,
            "acoustic_lengths": acoustic_lengths,
        }
        return NetworkInput(net_input, text.mask_rows, piece_lengths)

    def from_arrays(
        self,
        texts: Sequence[npt.NDArray[np.integer]],
        visual: Sequence[np.ndarray | None],
        acoustic: Sequence[np.ndarray | None],
        *,
        limits: Limits,
        dims: tuple[int, int],
        prompt: PromptPieces | None,
        device: torch.device,
    ) -> NetworkInput:
        """Build the input of B utterances that are in memory, cut to ``limits``.

        Args:
            texts: the pieces of each, without special pieces.
            visual: the face frames (T, V) of each; None leaves the modality out (see :func:`zero_frame`).
            acoustic: the speech frames (A, D) of each; None leaves the modality out.
            limits: how much of each is read.
            dims: V and D.
            prompt: appended to every text; None for none.
            device: of the tensors.
        """
        parts = [
            _joined(texts, limits.pieces, np.empty(0, np.int64)),
            _joined(visual, limits.visual_frames, np.empty((0, dims[0]), np.float16)),
            _joined(acoustic, limits.acoustic_frames, np.empty((0, dims[1]), np.float16)),
        ]
        (pieces, visual_frames, acoustic_frames), lengths = zip(*parts, strict=True)
        return self.build(
            pieces,
            np.stack(lengths),
            torch.from_numpy(visual_frames).to(device),
            torch.from_numpy(acoustic_frames).to(device),
            prompt,
            lambda ids: torch.from_numpy(ids).to(device),
        )


def zero_frame(dim: int) -> npt.NDArray[np.float16]:
    """Return the one frame (1, ``dim``) that the authors' code shows for an utterance without faces or speech."""
    return np.zeros((1, dim), np.float16)


def _joined(
    arrays: Sequence[np.ndarray | None], limit: int, empty: np.ndarray
) -> tuple[np.ndarray, npt.NDArray[np.int64]]:
    """Concatenate the first ``limit`` rows of each array, of at least the type of ``empty``; return their numbers."""
    kept = [empty if array is None else array[:limit] for array in arrays]
    return np.concatenate([empty, *kept]), np.array([len(array) for array in kept], dtype=np.int64)


@dataclass(frozen=True)
class FramesWanted:
    """The frames of one modality to be read for a batch of B utterances.

    Attributes:
        rows: (B,) the utterances whose frames are read.
        reader: the container; None when the corpus lacks the modality.
        lengths: (B,) frames of each utterance, from its beginning; 0 everywhere without a container.
        width: numbers per frame.
        stand_ins: (B,) frames after those of the container; 0 nearly always.
        stand_in: (width,) the numbers of such a frame.
    """

    rows: npt.NDArray[np.int64]
    reader: IndexedReader | None
    lengths: npt.NDArray[np.int64]
    width: int
    stand_ins: npt.NDArray[np.int64] | None = None
    stand_in: npt.NDArray[np.float16] | None = None

    @property
    def frames(self) -> int:
        """Return the number of frames of all utterances."""
        return int(self.lengths.sum()) + (0 if self.stand_ins is None else int(self.stand_ins.sum()))

    @functools.cached_property
    def begins(self) -> npt.NDArray[np.int64]:
        """Return (B,) where the utterances begin in the container."""
        assert self.reader is not None
        return taken(self.reader.pointers, self.rows)


def gather_pieces(
    reader: IndexedReader, rows: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], dtype: npt.DTypeLike
) -> np.ndarray:
    """Read the first ``lengths`` (B,) pieces, or word starts, of the utterances ``rows`` (B,): (pieces of all,)."""
    flat = np.empty(int(lengths.sum()), reader.data.dtype)
    reader.read(taken(reader.pointers, rows), lengths, flat)
    return flat.astype(dtype, copy=False)


def gather_frames(wanted: Mapping[str, FramesWanted], pool: BufferPool | None = None) -> dict[str, Tensor]:
    """Read frames of utterances under the names of ``wanted``: (frames of all, width) float16.

    The system is told of all modalities before the first is read. Frames go into a free buffer of ``pool``. Without
    one they go into fresh memory, in a worker process into memory that it shares with the training process.
    """
    for one in wanted.values():
        if one.reader is not None:
            one.reader.announce(one.begins, one.lengths * one.width)
    buffer = pool.take(bytes_for(one.frames * one.width for one in wanted.values())) if pool else None
    write = buffer.write if buffer is not None else _write_fresh
    return {name: write(one.frames, one.width, functools.partial(_copy_all, one)) for name, one in wanted.items()}


def _copy_all(wanted: FramesWanted, flat: np.ndarray) -> None:
    if wanted.reader is None:
        return
    lengths, stand_ins = wanted.lengths, wanted.stand_ins
    if stand_ins is None or not stand_ins.any():
        wanted.reader.read(wanted.begins, lengths * wanted.width, flat)
        return
    frames = flat.reshape(-1, wanted.width)
    utterance, position = owners_and_positions(lengths + stand_ins)
    stored = position < lengths[utterance]
    own = np.empty(int(lengths.sum()) * wanted.width, flat.dtype)
    wanted.reader.read(wanted.begins, lengths * wanted.width, own)
    frames[stored], frames[~stored] = own.reshape(-1, wanted.width), wanted.stand_in


def _write_fresh(count: int, width: int, fill: Callable[[npt.NDArray[np.float16]], None]) -> Tensor:
    """Write as :meth:`.buffers.Buffer.write` does; a worker takes shared memory at once, which saves a copy."""
    if get_worker_info() is None or not count * width:
        frames = torch.empty(count, width, dtype=torch.float16)
    else:
        storage = torch.UntypedStorage._new_shared(count * width * torch.float16.itemsize)
        frames = torch.empty(0, dtype=torch.float16).set_(storage, 0, torch.Size((count, width)), (width, 1))
    fill(frames.numpy().reshape(-1))
    return frames


def without_some_frames(
    net_input: Mapping[str, Any], uids: npt.NDArray[np.uint64], seed: int, update: int, most: float
) -> dict[str, Any]:
    """Leave out face and speech frames of a batch at random: a share of each utterance's, itself drawn up to ``most``.

    The draws follow from seed, update and utterance alone. At least one frame of a stream stays.

    Args:
        net_input: arguments of the network; they stay as they are.
        uids: (B,) utterance identities.
        seed: the run's seed.
        update: the number of the update.
        most: the largest share, below 1.
    """
    found = dict(net_input)
    for stream, name in enumerate(("visual", "acoustic")):
        lengths = net_input[f"{name}_lengths"]
        owner, position = owners_and_positions(lengths)
        if not len(owner):
            continue
        share = most * uniform(seed, update, Stream.FRAME_DROPOUT, uids, stream)
        points = uniform(seed, update, Stream.FRAME_DROPOUT, uids[owner], (stream + 1 << 32) + position)
        # The frame of the largest number stays whatever the share.
        largest = np.zeros(len(uids))
        np.maximum.at(largest, owner, points)
        kept = np.flatnonzero((points >= share[owner]) | (points == largest[owner]))
        frames = net_input[name]
        found[name] = frames.index_select(0, torch.from_numpy(kept).to(frames.device, non_blocking=True))
        found[f"{name}_lengths"] = np.bincount(owner[kept], minlength=len(lengths))
    return found


class SentArray:
    """A stand-in for a tensor in a batch sent to the training process, where it arrives as that tensor.

    Args:
        array: its numbers, of any shape and type that torch knows.
    """

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array

    def __reduce__(self) -> tuple[Callable[[npt.NDArray[Any]], Tensor], tuple[npt.NDArray[Any]]]:
        return torch.from_numpy, (self._array,)


def as_small_tensor(array: np.ndarray) -> Tensor:
    """Return a tensor on ``array``, of its shape and type; in a worker process what arrives as such a tensor."""
    return torch.from_numpy(array) if get_worker_info() is None else cast(Tensor, SentArray(array))
