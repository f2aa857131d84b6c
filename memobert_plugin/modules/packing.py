"""A batch without padding: where each utterance's tokens stand, and how attention sees them.

Text pieces, visual frames and acoustic frames of a batch arrive as three flat arrays. They are brought into one packed
sequence, utterance after
utterance in the order text, visual, acoustic (MEmoBERT, section 2). Everything but attention then runs on ``(N, D)``
with no padded position.
All indices are made on the host from the lengths alone, so that nothing waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def starts_of(lengths: np.ndarray) -> np.ndarray:
    """First row of every utterance in a flat array. Shapes: ``(B,)`` to ``(B,)`` int64."""
    starts = np.zeros(len(lengths), dtype=np.int64)
    np.cumsum(lengths[:-1], out=starts[1:])
    return starts


def ragged_arange(lengths: np.ndarray) -> np.ndarray:
    """``0..length-1`` for each utterance in turn: the positions of a flat array. Shape ``(sum(lengths),)`` int64."""
    return np.arange(int(lengths.sum()), dtype=np.int64) - np.repeat(starts_of(lengths), lengths)


def to_device(indices: np.ndarray, device: torch.device) -> Tensor:
    """A host index array as an int64 tensor on ``device``; the copy does not wait for the device."""
    tensor = torch.from_numpy(np.ascontiguousarray(indices, dtype=np.int64))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True)
class PackedLayout:
    """Row bookkeeping of one packed batch; B utterances, N tokens and frames together.

    Attributes:
        modality_lengths: ``(3, B)`` pieces, visual frames and acoustic frames per utterance.
        lengths: ``(B,)`` their sums.
        starts: ``(B,)`` first packed row of each utterance.
        order: ``(N,)`` for each packed row, its row in ``cat(text, visual, acoustic)``.
    """

    modality_lengths: np.ndarray
    lengths: np.ndarray
    starts: np.ndarray
    order: np.ndarray

    @classmethod
    def from_lengths(cls, text: np.ndarray, visual: np.ndarray, acoustic: np.ndarray) -> PackedLayout:
        """Lay out a batch from its three ``(B,)`` length arrays."""
        per_modality = np.stack([text, visual, acoustic]).astype(np.int64)
        lengths = per_modality.sum(axis=0)
        starts = starts_of(lengths)
        order = np.empty(int(lengths.sum()), dtype=np.int64)
        first_source_row = 0
        for modality in range(3):
            target_rows = cls._packed_rows(per_modality, starts, modality)
            order[target_rows] = np.arange(first_source_row, first_source_row + len(target_rows))
            first_source_row += len(target_rows)
        return cls(per_modality, lengths, starts, order)

    @staticmethod
    def _packed_rows(per_modality: np.ndarray, starts: np.ndarray, modality: int) -> np.ndarray:
        own = per_modality[modality]
        return np.repeat(starts + per_modality[:modality].sum(axis=0), own) + ragged_arange(own)

    def packed_rows(self, modality: int) -> np.ndarray:
        """Packed row of every row of a modality's flat array (0 text, 1 visual, 2 acoustic)."""
        return self._packed_rows(self.modality_lengths, self.starts, modality)


@dataclass(frozen=True)
class AttentionPlan:
    """How packed rows become the ``(B, L)`` rectangle that attention needs, and back.

    Attributes:
        shape: ``(B, Q, L)``: utterances, most queries and most keys of any of them.
        key_slots: ``(N,)`` slot of each packed row in the flattened ``(B * L)`` rectangle, or None when all utterances
            have length L.
        key_mask: ``(B, 1, 1, L)`` True at real keys, or None when there is nothing to leave out.
        query_rows: packed rows that ask, or None for all of them.
        query_slots: slot of each asking row in ``(B * Q)``, or None when the rectangle is full.
    """

    shape: tuple[int, int, int]
    key_slots: Tensor | None
    key_mask: Tensor | None
    query_rows: Tensor | None = None
    query_slots: Tensor | None = None

    @classmethod
    def for_all(cls, layout: PackedLayout, device: torch.device) -> AttentionPlan:
        """Every position of every utterance asks."""
        batch, longest = len(layout.lengths), int(layout.lengths.max())
        if int(layout.lengths.min()) == longest:
            return cls((batch, longest, longest), None, None)
        slots = to_device(np.repeat(np.arange(batch) * longest, layout.lengths) + ragged_arange(layout.lengths), device)
        real = to_device(layout.lengths, device)[:, None] > torch.arange(longest, device=device)
        return cls((batch, longest, longest), slots, real[:, None, None, :], None, slots)

    def asking(self, layout: PackedLayout, rows: np.ndarray, device: torch.device) -> AttentionPlan:
        """The same keys, asked only by the packed ``rows`` (ascending): what the last layer needs for a head that reads
        them.
        """
        batch, _, longest = self.shape
        utterance = np.searchsorted(layout.starts, rows, side="right") - 1
        asked = np.bincount(utterance, minlength=batch)
        most = int(asked.max())
        slots = None if int(asked.min()) == most else to_device(utterance * most + ragged_arange(asked), device)
        return AttentionPlan((batch, most, longest), self.key_slots, self.key_mask, to_device(rows, device), slots)


def to_rectangle(packed: Tensor, slots: Tensor | None, batch: int, longest: int) -> Tensor:
    """Packed rows ``(N, D)`` to ``(B, L, D)``, zeros where an utterance is shorter."""
    if slots is None:
        return packed.view(batch, longest, packed.shape[-1])
    rectangle = packed.new_zeros(batch * longest, packed.shape[-1])
    return rectangle.index_copy(0, slots, packed).view(batch, longest, packed.shape[-1])


def from_rectangle(rectangle: Tensor, slots: Tensor | None) -> Tensor:
    """``(B, L, D)`` back to packed rows ``(N, D)``."""
    flat = rectangle.reshape(-1, rectangle.shape[-1])
    return flat if slots is None else flat.index_select(0, slots)
