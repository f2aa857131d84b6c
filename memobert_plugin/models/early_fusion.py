"""Early fusion: each modality encoded on its own, the three vectors concatenated and classified."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from fairseq.models import register_model
from torch import Tensor

from ..errors import UserError
from ..modules.recurrent import RecurrentEncoder
from ..modules.unimodal_sequences import Sequences
from .baselines import BaselineConfig, EmotionBaseline


@dataclass
class EarlyFusionConfig(BaselineConfig):
    """A small recurrent encoder per modality."""

    encoder_layers: int = field(default=1, metadata={"help": "layers of each modality's bidirectional GRU"})
    dropout: float = field(
        default=0.3, metadata={"help": "dropout on embeddings, between recurrent layers and on the classifier's input"}
    )


@register_model("memobert_early_fusion", dataclass=EarlyFusionConfig)
class EarlyFusionModel(EmotionBaseline):
    """A bidirectional GRU per modality, averaged over time; nothing passes between modalities before the classifier."""

    def __init__(
        self,
        config: EarlyFusionConfig,
        vocabulary: int,
        visual_dim: int,
        acoustic_dim: int,
        labels: int,
        symbols: Sequence[str],
    ) -> None:
        width = config.encoder_embed_dim
        if config.encoder_layers < 1:
            raise UserError(f"--encoder-layers {config.encoder_layers}: give one layer or more")
        super().__init__(config, vocabulary, visual_dim, acoustic_dim, labels, 3 * width, symbols)
        self.text_encoder, self.visual_encoder, self.acoustic_encoder = (
            RecurrentEncoder(width, config.encoder_layers, config.dropout) for _ in range(3)
        )

    @classmethod
    def build(
        cls,
        config: EarlyFusionConfig,
        vocabulary: int,
        visual_dim: int,
        acoustic_dim: int,
        labels: int,
        symbols: Sequence[str] = (),
    ) -> "EarlyFusionModel":
        """Build the network with random weights; arguments as in :class:`.baselines.EmotionBaseline`."""
        return cls(config, vocabulary, visual_dim, acoustic_dim, labels, symbols)

    def fuse(self, text: Sequences, visual: Sequences, acoustic: Sequences) -> Tensor:
        """``(B, 3D)``: text, visual, acoustic."""
        encoded = [self.text_encoder(text), self.visual_encoder(visual), self.acoustic_encoder(acoustic)]
        return torch.cat(encoded, dim=1)
