"""Mean pooling: average each modality over time, concatenate the three averages, classify."""

from __future__ import annotations

import torch
from torch import Tensor

from memobert_plugin.comparators.base import ComparatorConfig, EmotionNetwork, Sequences, comparator
from memobert_plugin.core.ragged import owners_and_positions
from memobert_plugin.nn.packing import to_device


def mean(sequences: Sequences) -> Tensor:
    """Average the ``(N, D)`` rows of each of B utterances: ``(B, D)``."""
    rows, lengths = sequences.rows, sequences.lengths
    owners = to_device(owners_and_positions(lengths)[0], rows.device)
    sums = rows.new_zeros(len(lengths), rows.shape[1]).index_add(0, owners, rows)
    return sums / to_device(lengths, rows.device).to(rows.dtype)[:, None]


@comparator("mean_pooling", "Mean pooling", ComparatorConfig)
class MeanPooling(EmotionNetwork):
    """Averages over time, without any model of order."""

    def __init__(
        self, config: ComparatorConfig, vocabulary: int, visual_dim: int, acoustic_dim: int, labels: int
    ) -> None:
        super().__init__(config, vocabulary, visual_dim, acoustic_dim, labels, 3 * config.encoder_embed_dim)

    def fuse(self, text: Sequences, visual: Sequences, acoustic: Sequences) -> Tensor:
        """Return ``(B, 3D)``: text, visual, acoustic."""
        return torch.cat([mean(text), mean(visual), mean(acoustic)], dim=1)
