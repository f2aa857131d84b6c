"""Early fusion: each modality encoded on its own, the three vectors concatenated and classified."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..core.errors import UserError
from .base import ComparatorConfig, EmotionNetwork, comparator
from .inputs import Sequences, recurrent_outputs, row_means


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
        return row_means(Sequences(recurrent_outputs(self.gru, sequences), sequences.lengths))


@dataclass
class EarlyFusionConfig(ComparatorConfig):
    """A small recurrent encoder per modality."""

    encoder_layers: int = field(default=1, metadata={"help": "layers of each modality's bidirectional GRU"})
    dropout: float = field(
        default=0.3, metadata={"help": "dropout on embeddings, between recurrent layers and on the classifier's input"}
    )


@comparator("early_fusion", "Early fusion", EarlyFusionConfig, recipe={"lr": 1e-3})
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
