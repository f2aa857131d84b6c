"""MEmoBERT (Zhao et al., ICASSP 2022): one transformer over text pieces, face frames and speech frames."""

# Annotations are not postponed: fairseq reads the types of the sizes' fields.
import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import UserError
from ..core.flags import flag_of
from ..core.names import LAYER_NORM_EPS
from ..core.ragged import owners_and_positions
from .attention import CHANGE, AttentionPlan
from .embedders import FrameEmbedder, TextEmbedder
from .heads import HeadPlan
from .label_words import CandidateWords
from .linear import Linear
from .packing import MODALITIES, PackedLayout, to_device
from .text_encoder import EncodedTextEmbedder, TextEncoderSizes
from .transformer import CrossModalityTransformer, set_layer_norm_eps

FINGERPRINT = "dictionary_fingerprint"
"""Key of the dictionary's fingerprint in weights."""
STORED_FINGERPRINT = "dictionary_version"
"""Its key in checkpoints that fairseq writes: ``--store-ema`` averages all but keys with "version", and fails on whole
numbers."""

STORED_EPSILON = "layer_norm_eps_version"
"""Key of the LayerNorms' epsilon in such checkpoints, where it is not BERT's, so that a training from them gives it."""

STORED_HALF = ".half_version"
"""End of the keys of half-precision weights in such checkpoints, kept as int16: fairseq turns every float16 tensor that
it saves into float32, and ``--store-ema`` would average them."""


@dataclass
class TextEncoderFlags:
    """The sizes as flags of a network that may have a frozen text encoder."""

    text_encoder_layers: int = field(default=0, metadata={"help": "of the frozen text encoder; --text-encoder sets it"})
    text_encoder_embed_dim: int = field(default=0, metadata={"help": "its width; --text-encoder sets it"})
    text_encoder_ffn_embed_dim: int = field(
        default=0, metadata={"help": "its feed-forward width; --text-encoder sets it"}
    )
    text_encoder_attention_heads: int = field(default=0, metadata={"help": "its heads; --text-encoder sets it"})
    text_encoder_max_positions: int = field(default=0, metadata={"help": "its positions; --text-encoder sets it"})
    text_encoder_layer_norm_eps: float = field(
        default=LAYER_NORM_EPS, metadata={"help": "epsilon of its LayerNorms; --text-encoder sets it"}
    )


def text_encoder_sizes(flags: TextEncoderFlags) -> TextEncoderSizes:
    """Return the sizes that the flags name."""
    return TextEncoderSizes(
        flags.text_encoder_layers,
        flags.text_encoder_embed_dim,
        flags.text_encoder_ffn_embed_dim,
        flags.text_encoder_attention_heads,
        flags.text_encoder_max_positions,
        flags.text_encoder_layer_norm_eps,
    )


@dataclass
class NetworkSizes(TextEncoderFlags):
    """Sizes of the network; the defaults are BERT-base, the backbone of the paper (section 4)."""

    encoder_layers: int = field(default=12, metadata={"help": "transformer layers (BERT-base: 12)"})
    encoder_embed_dim: int = field(default=768, metadata={"help": "hidden width D (BERT-base: 768)"})
    encoder_ffn_embed_dim: int = field(default=3072, metadata={"help": "feed-forward width (BERT-base: 3072)"})
    encoder_attention_heads: int = field(default=12, metadata={"help": "attention heads (BERT-base: 12)"})
    dropout: float = field(default=0.1, metadata={"help": "dropout on embeddings and sub-layer outputs (BERT: 0.1)"})
    attention_dropout: float = field(default=0.1, metadata={"help": "dropout on attention weights (BERT: 0.1)"})
    max_positions: int = field(
        default=512, metadata={"help": "rows of each of the three position tables, in pieces or frames (BERT: 512)"}
    )
    checkpoint_activations: bool = field(
        default=False,
        metadata={"help": "recompute each layer in the backward pass: less memory, about a third more time"},
    )
    layer_norm_eps: float = field(
        default=LAYER_NORM_EPS, metadata={"help": "epsilon of the LayerNorms (BERT: 1e-12, RoBERTa: 1e-5)"}
    )
    init_std: float = field(
        default=0.02,
        metadata={
            "help": "deviation of the weights at the start (BERT: 0.02 at width 768; a narrower network learns faster "
            "with 0.02 sqrt(768/D))"
        },
    )
    position_init_std: float = field(
        default=0.0, metadata={"help": "the same for the position tables (0: as --init-std)"}
    )
    lora_rank: int = field(
        default=0,
        metadata={
            "help": "train low-rank changes of the attention's weights (LoRA, Hu et al. 2022) and a new head; "
            "everything else stays as it is; such as 8"
        },
    )
    compile_layers: bool = field(
        default=False,
        metadata={
            "help": "compile normalisation, dropout and feed-forward of the layers with torch.compile, for GPUs (a CPU "
            "gains nothing); the first updates take a minute more; checkpoints are the same"
        },
    )


@dataclass
class SmallSizes(NetworkSizes):
    """MiniLM's size: 6 layers x 384 x 12 heads."""

    encoder_layers: int = field(default=6, metadata={"help": "transformer layers"})
    encoder_embed_dim: int = field(default=384, metadata={"help": "hidden width D"})
    encoder_ffn_embed_dim: int = field(default=1536, metadata={"help": "feed-forward width"})


@dataclass
class TinySizes(NetworkSizes):
    """BERT-tiny's size, for trials on a CPU: 2 layers x 128 x 2 heads."""

    encoder_layers: int = field(default=2, metadata={"help": "transformer layers"})
    encoder_embed_dim: int = field(default=128, metadata={"help": "hidden width D"})
    encoder_ffn_embed_dim: int = field(default=512, metadata={"help": "feed-forward width"})
    encoder_attention_heads: int = field(default=2, metadata={"help": "attention heads"})


ARCHITECTURES: Mapping[str, NetworkSizes] = {
    "memobert_base": NetworkSizes(),
    "memobert_small": SmallSizes(),
    "memobert_tiny": TinySizes(),
}
"""fairseq's ``--arch`` names and their sizes."""


def check_sizes(sizes: NetworkSizes) -> None:
    """Refuse sizes of which no network can be built.

    Raises:
        UserError: the line names the flag.
    """
    for name in ("layers", "embed_dim", "ffn_embed_dim", "attention_heads"):
        if (value := getattr(sizes, f"encoder_{name}")) < 1:
            raise UserError(f"{flag_of(f'encoder_{name}')} {value}: give a number of at least 1")
    width, heads = sizes.encoder_embed_dim, sizes.encoder_attention_heads
    if width % heads:
        raise UserError(f"--encoder-attention-heads {heads}: give a divisor of --encoder-embed-dim {width}")
    for name in ("dropout", "attention_dropout"):
        if not 0 <= (share := getattr(sizes, name)) < 1:
            raise UserError(f"{flag_of(name)} {share:g}: give a share from 0 to below 1")


def dictionary_fingerprint(symbols: Sequence[str]) -> int:
    """Return a signed 64-bit digest of a dictionary's symbols in row order; 0 for no symbols (unknown)."""
    if not symbols:
        return 0
    digest = hashlib.sha256("\n".join(symbols).encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def stored_epsilon(eps: float) -> dict[str, Tensor]:
    """Return an epsilon of LayerNorms as checkpoints keep it; nothing for BERT's."""
    return {} if eps == LAYER_NORM_EPS else {STORED_EPSILON: torch.tensor([eps], dtype=torch.float64)}


def weights_of_checkpoint(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a checkpoint of fairseq under the network's own names."""
    weights = {}
    for name, value in state.items():
        if name.endswith(STORED_HALF):
            weights[name.removesuffix(STORED_HALF)] = value.view(torch.float16)
        elif name != STORED_EPSILON:
            weights[FINGERPRINT if name == STORED_FINGERPRINT else name] = value
    add_statistics(weights)
    return weights


def with_changes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights into which low-rank changes are multiplied; a network without them then gives the same."""
    merged = {name: value for name, value in weights.items() if CHANGE not in name}
    for name, up in weights.items():
        owner, change, rest = name.partition(CHANGE)
        if change and rest == "up":
            down = weights[f"{owner}{CHANGE}down"]
            merged[f"{owner}.weight"] = merged[f"{owner}.weight"] + (up.float() @ down.float()).to(up.dtype)
    return merged


DIVERGED = "holds NaN or infinite values, as after a training that diverged; give an earlier checkpoint"


def all_finite(values: Tensor) -> bool:
    """Return whether no value is NaN or infinite."""
    # A sum is finite unless one of them is not, or large numbers add up to infinity: then all are looked at.
    return bool(torch.isfinite(values.sum(dtype=torch.float32)) or torch.isfinite(values).all())


def add_statistics(weights: dict[str, Tensor]) -> None:
    """Give frame embedders of versions that knew no standardisation the mean 0 and the deviation 1, in place."""
    for name in ("visual_embedder.", "acoustic_embedder."):
        projection = weights.get(f"{name}linear.weight")
        if projection is not None and not {f"{name}mean", f"{name}deviation"} & weights.keys():
            weights[f"{name}mean"] = projection.new_zeros(projection.shape[1])
            weights[f"{name}deviation"] = projection.new_ones(projection.shape[1])


class MEmoBERTNetwork(nn.Module):
    """The network of the paper; :meth:`forward` says what it reads and returns.

    Args:
        sizes: sizes and dropout.
        vocabulary: rows of the dictionary.
        visual_dim: size of a face frame's feature; 0 leaves the modality out.
        acoustic_dim: size of a speech frame's feature; 0 leaves the modality out.
        heads: the heads by name.
        fingerprint: of the dictionary, so that weights of another dictionary are refused; 0 if unknown.

    Parameters start at N(0, 0.02) unless the sizes say otherwise, biases at 0, LayerNorms at 1 and 0.
    """

    dictionary_fingerprint: Tensor

    def __init__(
        self,
        sizes: NetworkSizes,
        vocabulary: int,
        visual_dim: int,
        acoustic_dim: int,
        heads: Mapping[str, HeadPlan],
        fingerprint: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(sizes)
        width, positions, dropout = sizes.encoder_embed_dim, sizes.max_positions, sizes.dropout
        self.text_embedder: TextEmbedder | EncodedTextEmbedder
        if sizes.text_encoder_layers:
            self.text_embedder = EncodedTextEmbedder(vocabulary, text_encoder_sizes(sizes), width, dropout)
        else:
            self.text_embedder = TextEmbedder(vocabulary, width, positions, dropout)
        self.visual_embedder = self.acoustic_embedder = None
        if visual_dim:
            self.visual_embedder = FrameEmbedder(visual_dim, width, positions, dropout, own_type=False)
        if acoustic_dim:
            self.acoustic_embedder = FrameEmbedder(acoustic_dim, width, positions, dropout, own_type=True)
        self.encoder = CrossModalityTransformer(
            sizes.encoder_layers,
            width,
            sizes.encoder_ffn_embed_dim,
            sizes.encoder_attention_heads,
            dropout,
            sizes.attention_dropout,
            sizes.checkpoint_activations,
            sizes.compile_layers,
            sizes.lora_rank,
        )
        self.pooler = Linear(width, width)
        self.head_plans = dict(heads)
        self.heads = nn.ModuleDict({name: plan.build(width) for name, plan in heads.items()})
        self.register_buffer(FINGERPRINT, torch.tensor([fingerprint], dtype=torch.int64))
        self._deviation, self.layer_norm_eps = sizes.init_std, sizes.layer_norm_eps
        set_layer_norm_eps(self, sizes.layer_norm_eps)
        if isinstance(self.text_embedder, EncodedTextEmbedder):
            set_layer_norm_eps(self.text_embedder.encoder, sizes.text_encoder_layer_norm_eps)
        self.apply(partial(_initialise, deviation=self._deviation))
        if sizes.position_init_std:
            for embedder in (self.text_embedder, self.visual_embedder, self.acoustic_embedder):
                if isinstance(embedder, (TextEmbedder, FrameEmbedder)):
                    nn.init.normal_(embedder.position.weight, std=sizes.position_init_std)

    def add_head(self, name: str, plan: HeadPlan) -> None:
        """Add a freshly initialised head after all others were drawn, so that it does not change their values."""
        self.head_plans[name] = plan
        self.heads[name] = plan.build(self.pooler.in_features)
        self.heads[name].apply(partial(_initialise, deviation=self._deviation))
        set_layer_norm_eps(self.heads[name], self.layer_norm_eps)

    def forward(
        self,
        text: Tensor,
        text_lengths: np.ndarray,
        visual: Tensor | None,
        visual_lengths: np.ndarray,
        acoustic: Tensor | None,
        acoustic_lengths: np.ndarray,
        head: str,
        rows: np.ndarray,
        visual_masked: Tensor | None = None,
        acoustic_masked: Tensor | None = None,
        words: CandidateWords | None = None,
    ) -> Tensor:
        """Run one head at some rows of its modality.

        Args:
            text: ``(sum(text_lengths),)`` piece ids with [CLS] first and [SEP] last in each utterance.
            text_lengths: ``(B,)`` numpy, like the other lengths; 0 where a modality is absent.
            visual: ``(sum(visual_lengths), V)`` face frames of any float type, or None when no utterance has any.
            visual_lengths: ``(B,)``.
            acoustic: ``(sum(acoustic_lengths), A)`` speech frames, or None.
            acoustic_lengths: ``(B,)``.
            head: name of one of the heads.
            rows: ascending rows of the flat array of the head's modality that are read, numpy; for the emotion
                classifier those of the [CLS].
            visual_masked: rows of ``visual`` replaced by the mask vector, int64 on the device.
            acoustic_masked: the same for ``acoustic``.
            words: a head of words scores these alone; None for the whole dictionary.

        Returns:
            ``(len(rows), out)``. Parameters that play no part get a gradient of zero all the same, so that one rank,
            two ranks and every distributed back end take the same optimiser steps.
        """
        plan = self.head_plans[head]
        layout = PackedLayout.from_lengths(text_lengths, visual_lengths, acoustic_lengths)
        packed_rows = layout.packed_rows(MODALITIES.index(plan.modality))[rows]
        hidden = self._embed(text, visual, acoustic, layout, visual_masked, acoustic_masked)
        attention = AttentionPlan.for_all(layout, hidden.device)
        if len(rows):
            hidden = self.encoder(hidden, attention, attention.for_queries(layout, packed_rows, hidden.device))
            idle = self._idle_parameters(head, visual, acoustic, visual_masked, acoustic_masked)
        else:
            hidden = hidden[:0]
            idle = self.parameters()
        if torch.is_grad_enabled():
            hidden = hidden + torch.stack([parameter[:0].sum() for parameter in idle]).sum()
        if plan.pooled:
            hidden = torch.tanh(self.pooler(hidden))
        module = self.heads[head]
        if not plan.tied:
            return module(hidden)
        return module(hidden, self._input_weights(plan.modality, words), words.rows if words is not None else None)

    def hidden_states(
        self,
        text: Tensor,
        text_lengths: np.ndarray,
        visual: Tensor | None,
        visual_lengths: np.ndarray,
        acoustic: Tensor | None,
        acoustic_lengths: np.ndarray,
    ) -> tuple[Tensor, PackedLayout]:
        """Return the last layer at every position, ``(N, D)`` packed, and the layout that says whose each row is.

        Arguments as in :meth:`forward`.
        """
        layout = PackedLayout.from_lengths(text_lengths, visual_lengths, acoustic_lengths)
        hidden = self._embed(text, visual, acoustic, layout, None, None)
        attention = AttentionPlan.for_all(layout, hidden.device)
        return self.encoder(hidden, attention, attention), layout

    def _embed(
        self,
        text: Tensor,
        visual: Tensor | None,
        acoustic: Tensor | None,
        layout: PackedLayout,
        visual_masked: Tensor | None,
        acoustic_masked: Tensor | None,
    ) -> Tensor:
        device = text.device
        of_text, of_visual, of_acoustic = (
            to_device(owners_and_positions(lengths)[1], device) for lengths in layout.modality_lengths
        )
        if isinstance(self.text_embedder, EncodedTextEmbedder):
            parts = [self.text_embedder(text, layout.modality_lengths[0])]
        else:
            parts = [self.text_embedder(text, of_text)]
        if visual is not None and len(visual):
            if self.visual_embedder is None:
                raise ValueError("the batch has visual frames, the model was built without them")
            type_row = self.text_embedder.token_type.weight[1]
            parts.append(self.visual_embedder(visual, of_visual, visual_masked, type_row))
        if acoustic is not None and len(acoustic):
            if self.acoustic_embedder is None:
                raise ValueError("the batch has acoustic frames, the model was built without them")
            parts.append(self.acoustic_embedder(acoustic, of_acoustic, acoustic_masked))
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts).index_select(0, to_device(layout.order, device))

    def word_vectors(self) -> nn.Module:
        """Return the module that gives each piece of a text its vector, as its output ``(n, width)``."""
        embedder = self.text_embedder
        return embedder.encoder if isinstance(embedder, EncodedTextEmbedder) else embedder.word

    def standardized(self, modality: str, frames: Tensor) -> Tensor:
        """Return frames ``(n, F)`` of ``visual`` or ``acoustic`` as the network sees them, in float32 at least."""
        embedder = self.visual_embedder if modality == "visual" else self.acoustic_embedder
        assert embedder is not None  # a batch has no frames that the network cannot read
        return embedder.standardized(frames.to(torch.promote_types(frames.dtype, torch.float32)))

    def _input_weights(self, modality: str, words: CandidateWords | None) -> Tensor:
        """Return vectors of words ``(n, D)``, or the transposed projection of frames ``(F, D)``."""
        if modality == "text":
            if isinstance(self.text_embedder, EncodedTextEmbedder):
                return self.text_embedder.output_vectors(words)
            vectors = self.text_embedder.word.weight
            return vectors if words is None else vectors[list(words.rows)]
        embedder = self.visual_embedder if modality == "visual" else self.acoustic_embedder
        assert embedder is not None  # a head of a modality is built only where the modality is
        return embedder.linear.weight.t()

    def _idle_parameters(
        self,
        head: str,
        visual: Tensor | None,
        acoustic: Tensor | None,
        visual_masked: Tensor | None,
        acoustic_masked: Tensor | None,
    ) -> Iterator[nn.Parameter]:
        """Yield the parameters that a forward pass with these inputs does not touch."""
        for name, module in self.heads.items():
            if name != head:
                yield from module.parameters()
        if not self.head_plans[head].pooled:
            yield from self.pooler.parameters()
        for embedder, frames, masked in (
            (self.visual_embedder, visual, visual_masked),
            (self.acoustic_embedder, acoustic, acoustic_masked),
        ):
            if embedder is None:
                continue
            if frames is None or not len(frames):
                yield from embedder.parameters()
            elif masked is None:
                yield embedder.mask


def frozen_copy(network: MEmoBERTNetwork) -> MEmoBERTNetwork:
    """Return a copy in evaluation mode without gradients, to learn from; a frozen text encoder is shared."""
    shared = {}
    if isinstance(network.text_embedder, EncodedTextEmbedder):
        shared[id(network.text_embedder.encoder)] = network.text_embedder.encoder
    copied = copy.deepcopy(network, shared)
    return copied.eval().requires_grad_(False)


def _initialise(module: nn.Module, deviation: float) -> None:
    """Draw weights, tables and mask vectors from a normal distribution; set biases to zero."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=deviation)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, FrameEmbedder):
        nn.init.normal_(module.mask, std=deviation)
