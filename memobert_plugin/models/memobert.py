"""MEmoBERT (Zhao et al., ICASSP 2022): one transformer over text pieces, face frames and speech frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from fairseq.models import BaseFairseqModel, register_model
from torch import Tensor, nn

from ..core.ragged import owners_and_positions
from ..nn.attention import AttentionPlan
from ..nn.embedders import FrameEmbedder, TextEmbedder
from ..nn.heads import EmotionHead, ExpressionHead, TiedHead
from ..nn.packing import PackedLayout, to_device
from ..nn.transformer import CrossModalityTransformer
from .configuration import MEmoBERTConfig, MEmoBERTSmallConfig, MEmoBERTTinyConfig
from .state_upgrade import complete_state, dictionary_fingerprint

TEXT, VISUAL, ACOUSTIC = range(3)
MODALITY_OF_HEAD = {"wwmlm": TEXT, "mvfr": VISUAL, "mvfc": VISUAL, "mafr": ACOUSTIC, "classify": TEXT}


@register_model("memobert", dataclass=MEmoBERTConfig)
class MEmoBERTModel(BaseFairseqModel):
    """The network of the paper; see :meth:`build` for its sizes and :meth:`forward` for what it reads and returns."""

    def __init__(
        self,
        config: MEmoBERTConfig,
        vocabulary: int,
        visual_dim: int,
        acoustic_dim: int,
        expression_classes: int,
        labels: int | None,
        fingerprint: int,
    ) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        self.max_modality_positions = config.max_positions
        self.text_embedder = TextEmbedder(vocabulary, width, config.max_positions, config.dropout)
        self.visual_embedder = self.acoustic_embedder = None
        heads: dict[str, nn.Module] = {"wwmlm": TiedHead(width, vocabulary)}
        if visual_dim:
            self.visual_embedder = FrameEmbedder(
                visual_dim, width, config.max_positions, config.dropout, own_type=False
            )
            heads["mvfr"] = TiedHead(width, visual_dim)
            if expression_classes:
                heads["mvfc"] = ExpressionHead(width, expression_classes)
        if acoustic_dim:
            self.acoustic_embedder = FrameEmbedder(
                acoustic_dim, width, config.max_positions, config.dropout, own_type=True
            )
            heads["mafr"] = TiedHead(width, acoustic_dim)
        if labels is not None:
            heads["classify"] = EmotionHead(width, labels)
        self.encoder = CrossModalityTransformer(
            config.encoder_layers,
            width,
            config.encoder_ffn_embed_dim,
            config.encoder_attention_heads,
            config.dropout,
            config.attention_dropout,
            config.checkpoint_activations,
            config.compile_layers,
        )
        self.pooler = nn.Linear(width, width)
        self.heads = nn.ModuleDict(heads)
        self.register_buffer("dictionary_fingerprint", torch.tensor([fingerprint], dtype=torch.int64))
        self.apply(self._initialise)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        """N(0, 0.02) for weights, tables and mask vectors, zero biases, LayerNorms at 1 and 0."""
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
        if isinstance(module, FrameEmbedder):
            nn.init.normal_(module.mask, std=0.02)

    @classmethod
    def build(
        cls,
        config: MEmoBERTConfig,
        vocabulary: int,
        visual_dim: int,
        acoustic_dim: int,
        expression_classes: int,
        labels: int | None = None,
        symbols: Sequence[str] = (),
    ) -> MEmoBERTModel:
        """Build the network with random weights.

        Args:
            config: sizes and dropout.
            vocabulary: rows of the dictionary.
            visual_dim: size of a face frame's feature; 0 leaves the modality and its heads out.
            acoustic_dim: size of a speech frame's feature; 0 leaves the modality and its head out.
            expression_classes: K, classes of the facial-expression distribution; 0 leaves MVFC out.
            labels: number of emotions for the finetuning head; None builds none (prompting needs none).
            symbols: the dictionary's symbols in row order, so that weights of another dictionary are refused.
        """
        return cls(
            config, vocabulary, visual_dim, acoustic_dim, expression_classes, labels, dictionary_fingerprint(symbols)
        )

    @classmethod
    def build_model(cls, config: MEmoBERTConfig, task: Any) -> MEmoBERTModel:
        """The host's way: sizes of dictionary and frames come from the task."""
        return cls.build(config, **task.model_sizes())

    def max_positions(self) -> None:
        """No limit on the packed sequence; the limit of each modality is the task's business."""
        return None

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
    ) -> Tensor:
        """Run one head at some rows of its modality.

        Args:
            text: ``(sum(text_lengths),)`` piece ids with [CLS] first and [SEP] last in each utterance.
            text_lengths: ``(B,)`` on the host, like the other lengths; 0 where a modality is absent.
            visual: ``(sum(visual_lengths), V)`` face frames of any float type, or None when no utterance has any.
            visual_lengths: ``(B,)``.
            acoustic: ``(sum(acoustic_lengths), A)`` speech frames, or None.
            acoustic_lengths: ``(B,)``.
            head: ``wwmlm``, ``mvfr``, ``mvfc``, ``mafr`` or ``classify``.
            rows: ascending rows of the head's flat array that are read, on the host; for ``classify`` those of the
                [CLS].
            visual_masked: rows of ``visual`` replaced by the mask vector, int64 on the device.
            acoustic_masked: the same for ``acoustic``.

        Returns:
            ``(len(rows), out)``. Parameters that play no part get a gradient of zero all the same, so that one rank,
            two ranks and every distributed back end take the same optimiser steps.
        """
        layout = PackedLayout.from_lengths(text_lengths, visual_lengths, acoustic_lengths)
        packed_rows = layout.packed_rows(MODALITY_OF_HEAD[head])[rows]
        hidden = self._embed(text, visual, acoustic, layout, visual_masked, acoustic_masked)
        plan = AttentionPlan.for_all(layout, hidden.device)
        if len(rows):
            hidden = self.encoder(hidden, plan, plan.asking(layout, packed_rows, hidden.device))
            idle = self._idle_parameters(head, visual, acoustic, visual_masked, acoustic_masked)
        else:
            hidden = hidden[:0]
            idle = self.parameters()
        if torch.is_grad_enabled():
            hidden = hidden + torch.stack([parameter[:0].sum() for parameter in idle]).sum()
        return self._read(hidden, head)

    def hidden_states(
        self,
        text: Tensor,
        text_lengths: np.ndarray,
        visual: Tensor | None,
        visual_lengths: np.ndarray,
        acoustic: Tensor | None,
        acoustic_lengths: np.ndarray,
    ) -> tuple[Tensor, PackedLayout]:
        """Last layer at every position: ``(N, D)`` packed, and the layout that says whose each row is. Arguments as in
        :meth:`forward`.
        """
        layout = PackedLayout.from_lengths(text_lengths, visual_lengths, acoustic_lengths)
        hidden = self._embed(text, visual, acoustic, layout, None, None)
        plan = AttentionPlan.for_all(layout, hidden.device)
        return self.encoder(hidden, plan, plan), layout

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
        positions = [to_device(owners_and_positions(lengths)[1], device) for lengths in layout.modality_lengths]
        parts = [self.text_embedder(text, positions[TEXT])]
        if visual is not None and len(visual):
            if self.visual_embedder is None:
                raise ValueError("the batch has visual frames, the model was built without them")
            type_row = self.text_embedder.token_type.weight[1]
            parts.append(self.visual_embedder(visual, positions[VISUAL], visual_masked, type_row))
        if acoustic is not None and len(acoustic):
            if self.acoustic_embedder is None:
                raise ValueError("the batch has acoustic frames, the model was built without them")
            parts.append(self.acoustic_embedder(acoustic, positions[ACOUSTIC], acoustic_masked))
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts).index_select(0, to_device(layout.order, device))

    def _read(self, hidden: Tensor, head: str) -> Tensor:
        module = self.heads[head]
        if head == "wwmlm":
            return module(hidden, self.text_embedder.word.weight)
        if head == "mvfr" and self.visual_embedder is not None:
            return module(hidden, self.visual_embedder.linear.weight.t())
        if head == "mafr" and self.acoustic_embedder is not None:
            return module(hidden, self.acoustic_embedder.linear.weight.t())
        if head == "classify":
            return module(torch.tanh(self.pooler(hidden)))
        return module(hidden)

    def _idle_parameters(
        self,
        head: str,
        visual: Tensor | None,
        acoustic: Tensor | None,
        visual_masked: Tensor | None,
        acoustic_masked: Tensor | None,
    ) -> Iterator[nn.Parameter]:
        """Parameters that a forward pass with these inputs does not touch."""
        for name, module in self.heads.items():
            if name != head:
                yield from module.parameters()
        if head != "classify":
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

    def upgrade_state_dict_named(self, state_dict: dict[str, Tensor], name: str) -> None:
        """Fit a checkpoint of another stage (imported BERT, pre-trained, finetuned) to this model; see
        :mod:`.state_upgrade`.
        """
        super().upgrade_state_dict_named(state_dict, name)
        complete_state(state_dict, self.state_dict())


@register_model("memobert_base", dataclass=MEmoBERTConfig)
class MEmoBERTBase(MEmoBERTModel):
    """12 layers x 768 x 12 heads, BERT-base."""


@register_model("memobert_small", dataclass=MEmoBERTSmallConfig)
class MEmoBERTSmall(MEmoBERTModel):
    """6 layers x 384 x 12 heads, MiniLM's size."""


@register_model("memobert_tiny", dataclass=MEmoBERTTinyConfig)
class MEmoBERTTiny(MEmoBERTModel):
    """2 layers x 128 x 2 heads, for trials on a CPU."""
