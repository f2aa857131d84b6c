"""A recurrent encoder over utterances of different lengths, without padding."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..ragged import owners_and_positions
from .packing import to_device
from .unimodal_sequences import Sequences


def time_major_order(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How torch wants a packed batch: all first rows, then all second rows, longest utterance first.

    Args:
        lengths: ``(B,)``, none of them 0.

    Returns:
        ``(N,)`` row of each packed row, and ``(max(lengths),)`` how many utterances have a row at each time.
    """
    rank = np.empty(len(lengths), dtype=np.int64)
    rank[np.argsort(-lengths, kind="stable")] = np.arange(len(lengths))
    owners, positions = owners_and_positions(lengths)
    return np.lexsort((rank[owners], positions)), np.bincount(positions)


class RecurrentEncoder(nn.Module):
    """A bidirectional GRU and the mean of its outputs over time.

    Args:
        embed_dim: width D, even: half for each direction.
        layers: number of layers.
        dropout: between layers.
    """

    def __init__(self, embed_dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.gru = nn.GRU(embed_dim, embed_dim // 2, layers, bidirectional=True, dropout=dropout if layers > 1 else 0.0)

    def forward(self, sequences: Sequences) -> Tensor:
        """``(N, D)`` rows of B utterances to ``(B, D)``."""
        rows, lengths = sequences.rows, sequences.lengths
        order, alive = time_major_order(lengths)
        packed = PackedSequence(rows.index_select(0, to_device(order, rows.device)), torch.from_numpy(alive))
        hidden = self.gru(packed)[0].data
        owners = to_device(owners_and_positions(lengths)[0][order], rows.device)
        sums = hidden.new_zeros(len(lengths), hidden.shape[1]).index_add(0, owners, hidden)
        return sums / to_device(lengths, rows.device).to(sums.dtype)[:, None]
