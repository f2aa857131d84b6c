"""MulT (Tsai et al., ACL 2019): every modality attends to the two others, then to itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from fairseq.models import register_model
from torch import Tensor, nn

from ..errors import UserError
from ..modules.attention import AttentionPlan
from ..modules.crossmodal_attention import CrossmodalTransformer, SinusoidalPositions, crossmodal_plan, layout_of
from ..modules.unimodal_sequences import Sequences
from .baselines import BaselineConfig, EmotionBaseline

MODALITIES = ("text", "visual", "acoustic")


@dataclass
class MulTConfig(BaselineConfig):
    """Wider and half as deep as the authors' models (width 30 to 40), for a CPU in reasonable time."""

    encoder_attention_heads: int = field(
        default=4, metadata={"help": "attention heads, a divisor of the width (authors: 5 of width 30, 10 of width 40)"}
    )
    crossmodal_layers: int = field(
        default=2, metadata={"help": "layers of each of the six crossmodal transformers (authors, IEMOCAP: 4)"}
    )
    self_attention_layers: int = field(
        default=2, metadata={"help": "layers of the self-attention transformer of each modality (authors: 3)"}
    )
    attention_dropout: float = field(default=0.1, metadata={"help": "dropout on attention weights (authors: 0.1)"})


@register_model("memobert_mult", dataclass=MulTConfig)
class MulTModel(EmotionBaseline):
    """Section 3 of the paper; the last elements of the three sequences go to the classifier.

    As in the authors' code the temporal convolutions have kernel 1 (a projection) and positions are sinusoidal; unlike
    it projections are followed by a LayerNorm, since frames of any extractor are read, and no position is hidden from
    an earlier one, as in the paper.
    """

    def __init__(
        self,
        config: MulTConfig,
        vocabulary: int,
        visual_dim: int,
        acoustic_dim: int,
        labels: int,
        symbols: Sequence[str],
    ) -> None:
        width, heads = config.encoder_embed_dim, config.encoder_attention_heads
        if width % heads:
            raise UserError(f"--encoder-attention-heads {heads}: no divisor of --encoder-embed-dim {width}")
        if min(config.crossmodal_layers, config.self_attention_layers) < 1:
            raise UserError("--crossmodal-layers and --self-attention-layers: give one layer or more")
        super().__init__(config, vocabulary, visual_dim, acoustic_dim, labels, 6 * width, symbols)
        dropouts = (config.dropout, config.attention_dropout)
        self.positions = SinusoidalPositions(config.max_positions, width)
        self.crossmodal = nn.ModuleDict(
            {
                f"{target}_from_{source}": CrossmodalTransformer(config.crossmodal_layers, width, heads, *dropouts)
                for target in MODALITIES
                for source in MODALITIES
                if source != target
            }
        )
        self.self_attention = nn.ModuleDict(
            {
                target: CrossmodalTransformer(config.self_attention_layers, 2 * width, heads, *dropouts)
                for target in MODALITIES
            }
        )

    @classmethod
    def build(
        cls,
        config: MulTConfig,
        vocabulary: int,
        visual_dim: int,
        acoustic_dim: int,
        labels: int,
        symbols: Sequence[str] = (),
    ) -> "MulTModel":
        """Build the network with random weights; arguments as in :class:`.baselines.EmotionBaseline`."""
        return cls(config, vocabulary, visual_dim, acoustic_dim, labels, symbols)

    def fuse(self, text: Sequences, visual: Sequences, acoustic: Sequences) -> Tensor:
        """``(B, 6D)``: for text, visual and acoustic the last element of what the two others made of it."""
        sequences = dict(zip(MODALITIES, (text, visual, acoustic), strict=True))
        device = text.rows.device
        rows = {name: self.positions(sequence.rows, sequence.lengths) for name, sequence in sequences.items()}
        layouts = {name: layout_of(sequence.lengths) for name, sequence in sequences.items()}
        plans = {name: AttentionPlan.for_all(layout, device) for name, layout in layouts.items()}
        summaries = []
        for target, layout in layouts.items():
            reinforced = []
            for source in MODALITIES:
                if source != target:
                    plan = crossmodal_plan(plans[target], plans[source])
                    transformer = self.crossmodal[f"{target}_from_{source}"]
                    reinforced.append(transformer(rows[target], rows[source], plan, plan))
            last = plans[target].asking(layout, layout.starts + layout.lengths - 1, device)
            joined = torch.cat(reinforced, dim=1)
            summaries.append(self.self_attention[target](joined, None, plans[target], last))
        return torch.cat(summaries, dim=1)
