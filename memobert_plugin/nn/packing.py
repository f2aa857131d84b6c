"""Lay out a batch without padding: the row of each piece and frame.

Text pieces, visual frames and acoustic frames of a batch arrive as three flat arrays. They are brought into one packed
sequence, utterance after utterance in the order text, visual, acoustic (MEmoBERT, section 2). Everything but attention
then runs on ``(N, D)`` with no padded position. All indices are made on the CPU from the lengths alone, so that nothing
waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.ragged import first_rows, owners_and_positions

MODALITIES = ("text", "visual", "acoustic")
"""The order of modalities in the packed sequence."""


def to_device(indices: np.ndarray, device: torch.device) -> Tensor:
    """Return an index array as an int64 tensor on ``device``, without waiting for the device."""
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
        starts = first_rows(lengths)
        order = np.empty(int(lengths.sum()), dtype=np.int64)
        first_source_row = 0
        for modality in range(3):
            target_rows = cls._packed_rows(per_modality, starts, modality)
            order[target_rows] = np.arange(first_source_row, first_source_row + len(target_rows))
            first_source_row += len(target_rows)
        return cls(per_modality, lengths, starts, order)

    @staticmethod
    def _packed_rows(per_modality: np.ndarray, starts: np.ndarray, modality: int) -> np.ndarray:
        utterance, position = owners_and_positions(per_modality[modality])
        return (starts + per_modality[:modality].sum(axis=0))[utterance] + position

    def packed_rows(self, modality: int) -> np.ndarray:
        """Return the packed row of every row of a modality's flat array (an index of :data:`MODALITIES`)."""
        return self._packed_rows(self.modality_lengths, self.starts, modality)
