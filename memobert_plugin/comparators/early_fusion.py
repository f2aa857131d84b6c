"""Early fusion: each modality encoded on its own, the three vectors concatenated and classified."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..core.errors import UserError
from ..core.ragged import owners_and_positions
from ..nn.packing import to_device
from .base import ComparatorConfig, EmotionNetwork, Sequences, comparator


def time_major_order(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the row order of a ``PackedSequence``: all first rows, then all second rows, longest utterance first.

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
        """Encode the ``(N, D)`` rows of B utterances as ``(B, D)``."""
        rows, lengths = sequences.rows, sequences.lengths
        order, alive = time_major_order(lengths)
        packed = PackedSequence(rows.index_select(0, to_device(order, rows.device)), torch.from_numpy(alive))
        hidden = self.gru(packed)[0].data
        owners = to_device(owners_and_positions(lengths)[0][order], rows.device)
        sums = hidden.new_zeros(len(lengths), hidden.shape[1]).index_add(0, owners, hidden)
        return sums / to_device(lengths, rows.device).to(sums.dtype)[:, None]


@dataclass
class EarlyFusionConfig(ComparatorConfig):
    """A small recurrent encoder per modality."""

    encoder_layers: int = field(default=1, metadata={"help": "layers of each modality's bidirectional GRU"})
    dropout: float = field(
        default=0.3, metadata={"help": "dropout on embeddings, between recurrent layers and on the classifier's input"}
    )


@comparator("early_fusion", "Early fusion", EarlyFusionConfig)
class EarlyFusion(EmotionNetwork):
    """A bidirectional GRU per modality, averaged over time; nothing passes between modalities before the classifier."""

    def __init__(
        self, config: EarlyFusionConfig, vocabulary: int, visual_dim: int, acoustic_dim: int, labels: int
    ) -> None:
        width = config.encoder_embed_dim
        if config.encoder_layers < 1:
            raise UserError(f"--encoder-layers {config.encoder_layers}: give one layer or more")
        super().__init__(config, vocabulary, visual_dim, acoustic_dim, labels, 3 * width)
        self.text_encoder, self.visual_encoder, self.acoustic_encoder = (
            RecurrentEncoder(width, config.encoder_layers, config.dropout) for _ in range(3)
        )

    def fuse(self, text: Sequences, visual: Sequences, acoustic: Sequences) -> Tensor:
        """Return ``(B, 3D)``: text, visual, acoustic."""
        encoded = [self.text_encoder(text), self.visual_encoder(visual), self.acoustic_encoder(acoustic)]
        return torch.cat(encoded, dim=1)
