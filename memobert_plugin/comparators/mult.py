"""MulT (Tsai et al., ACL 2019): every modality attends to the two others, then to itself."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import UserError
from ..core.ragged import owners_and_positions
from ..nn.attention import AttentionPlan, attend
from ..nn.packing import PackedLayout, to_device
from .base import ComparatorConfig, EmotionNetwork, Sequences, comparator


def layout_of(lengths: np.ndarray) -> PackedLayout:
    """Return the layout of a single modality whose utterances have these ``(B,)`` lengths."""
    nothing = np.zeros_like(lengths)
    return PackedLayout.from_lengths(lengths, nothing, nothing)


def crossmodal_plan(target: AttentionPlan, source: AttentionPlan) -> AttentionPlan:
    """Return a plan in which each row of an utterance's target modality attends to all rows of its source modality.

    Args:
        target: plan of the target's attention to itself.
        source: plan of the source's attention to itself.
    """
    return replace(source, query_lengths=target.key_lengths, queries=target.keys, query_varlen=target.key_varlen)


class CrossmodalAttention(nn.Module):
    """Multi-head attention of target rows to the source rows of their own utterances.

    Args:
        embed_dim: width D.
        heads: number of heads H, a divisor of D.
        dropout: probability of dropping an attention weight.
    """

    def __init__(self, embed_dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key_value = nn.Linear(embed_dim, 2 * embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)

    def forward(self, target: Tensor, source: Tensor, plan: AttentionPlan) -> Tensor:
        """Attend from target rows ``(n, D)`` to source rows ``(N, D)``; return ``(n, D)``."""
        query = self.query(target).unflatten(1, (self.heads, -1))
        key, value = self.key_value(source).unflatten(1, (2, self.heads, -1)).unbind(1)
        return self.out(attend(query, key, value, plan, self.dropout if self.training else 0.0).flatten(1))


class CrossmodalLayer(nn.Module):
    """Pre-LN attention and a feed-forward part of four times the width with ReLU, as in the authors' code: target and
    source share the LayerNorm before the attention.
    """

    def __init__(self, embed_dim: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.attention = CrossmodalAttention(embed_dim, heads, attention_dropout)
        self.ffn_norm = nn.LayerNorm(embed_dim)
        self.ffn_in = nn.Linear(embed_dim, 4 * embed_dim)
        self.ffn_out = nn.Linear(4 * embed_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, target: Tensor, source: Tensor, plan: AttentionPlan) -> Tensor:
        """Transform ``(n, D)`` target rows, or only the plan's query rows among them."""
        hidden = target if plan.query_rows is None else target.index_select(0, plan.query_rows)
        attended = self.attention(self.attention_norm(hidden), self.attention_norm(source), plan)
        hidden = hidden + self.dropout(attended)
        return hidden + self.dropout(self.ffn_out(functional.relu(self.ffn_in(self.ffn_norm(hidden)))))


class CrossmodalTransformer(nn.Module):
    """Layers that all read the same low-level source, and a LayerNorm at the end.

    Args:
        layers: number of layers.
        embed_dim: width D.
        heads: attention heads.
        dropout: on the outputs of attention and feed-forward.
        attention_dropout: on attention weights.
    """

    def __init__(self, layers: int, embed_dim: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CrossmodalLayer(embed_dim, heads, dropout, attention_dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, target: Tensor, source: Tensor | None, plan: AttentionPlan, last_plan: AttentionPlan) -> Tensor:
        """Run all layers; the last one only for the query rows of ``last_plan``.

        Args:
            target: ``(N, D)``.
            source: ``(M, D)``, or None for self-attention.
            plan: rows of each utterance.
            last_plan: the same for the last layer.

        Returns:
            ``(n, D)`` for the n query rows of the last layer.
        """
        for index, layer in enumerate(self.layers):
            layer_plan = last_plan if index == len(self.layers) - 1 else plan
            target = layer(target, target if source is None else source, layer_plan)
        return self.norm(target)


class SinusoidalPositions(nn.Module):
    """The fixed position vectors of Vaswani et al. 2017; they are not learned and not stored in checkpoints.

    Args:
        max_positions: longest sequence.
        embed_dim: width D, even.
    """

    def __init__(self, max_positions: int, embed_dim: int) -> None:
        super().__init__()
        rates = torch.exp(torch.arange(0, embed_dim, 2) * (-np.log(10000.0) / embed_dim))
        angles = torch.arange(max_positions)[:, None] * rates
        self.table: Tensor
        self.register_buffer("table", torch.cat([angles.sin(), angles.cos()], dim=1), persistent=False)

    def forward(self, rows: Tensor, lengths: np.ndarray) -> Tensor:
        """Add position vectors to the ``(N, D)`` rows of utterances of these ``(B,)`` lengths."""
        positions = to_device(owners_and_positions(lengths)[1], rows.device)
        return rows + self.table.index_select(0, positions)


MODALITIES = ("text", "visual", "acoustic")


@dataclass
class MulTConfig(ComparatorConfig):
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


@comparator("mult", "MulT", MulTConfig, recipe={"lr": 1e-3})
class MulT(EmotionNetwork):
    """Section 3 of the paper; the last elements of the three sequences go to the classifier.

    As in the authors' code the temporal convolutions have kernel 1 (a projection) and positions are sinusoidal. Unlike
    there, projections are followed by a LayerNorm, because frames of any extractor are read; and every position attends
    to later ones too, as in the paper.
    """

    def __init__(self, config: MulTConfig, vocabulary: int, visual_dim: int, acoustic_dim: int, labels: int) -> None:
        width, heads = config.encoder_embed_dim, config.encoder_attention_heads
        super().__init__(config, vocabulary, visual_dim, acoustic_dim, labels, 6 * width)
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

    @staticmethod
    def check_flags(config: MulTConfig) -> None:
        """Refuse sizes of which no network can be built, as the base does."""
        EmotionNetwork.check_flags(config)
        width, heads = config.encoder_embed_dim, config.encoder_attention_heads
        if heads < 1 or width % heads:
            raise UserError(f"--encoder-attention-heads {heads}: give a divisor of --encoder-embed-dim {width}")
        if min(config.crossmodal_layers, config.self_attention_layers) < 1:
            raise UserError("--crossmodal-layers and --self-attention-layers: give one layer or more")

    def fuse(self, text: Sequences, visual: Sequences, acoustic: Sequences) -> Tensor:
        """Return ``(B, 6D)``: for text, visual and acoustic the last row, after attention to the two others."""
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
            last = plans[target].for_queries(layout, layout.starts + layout.lengths - 1, device)
            joined = torch.cat(reinforced, dim=1)
            summaries.append(self.self_attention[target](joined, None, plans[target], last))
        return torch.cat(summaries, dim=1)
