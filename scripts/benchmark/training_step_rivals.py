"""What the training step is compared with: BERT on padded batches, and bare matrix products."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from training_step_batches import ACOUSTIC, COLUMNS, MODALITY_OF_HEAD, TEXT, VISUAL, Step
from transformers import BertConfig, BertModel

from memobert_plugin.core.ragged import owners_and_positions
from memobert_plugin.models.memobert import MEmoBERTConfig, MEmoBERTModel
from memobert_plugin.nn.heads import TiedHead
from memobert_plugin.nn.packing import to_device


class PaddedBert(nn.Module):
    """transformers' BertModel with scaled_dot_product_attention over text, visual and acoustic positions, each modality
    padded to its longest and one behind the other.

    Embedders and heads are the very modules of the other network, and embed what is there before it is padded; BERT's
    own embedding is left out. Its layers get a copy of the other network's weights.
    """

    def __init__(self, packed: MEmoBERTModel, config: MEmoBERTConfig) -> None:
        super().__init__()
        bert_config = BertConfig(
            hidden_size=config.encoder_embed_dim,
            num_hidden_layers=config.encoder_layers,
            num_attention_heads=config.encoder_attention_heads,
            intermediate_size=config.encoder_ffn_embed_dim,
            attn_implementation="sdpa",
            hidden_dropout_prob=config.dropout,
            attention_probs_dropout_prob=config.attention_dropout,
        )
        self.bert = BertModel(bert_config, add_pooling_layer=False)
        self.bert.embeddings = _NothingAdded()
        self.text_embedder, self.heads = packed.text_embedder, packed.heads
        assert packed.visual_embedder is not None and packed.acoustic_embedder is not None
        self.visual_embedder, self.acoustic_embedder = packed.visual_embedder, packed.acoustic_embedder
        for theirs, ours in zip(self.bert.encoder.layer, packed.encoder.layers, strict=True):
            theirs.load_state_dict(_bert_names(ours.state_dict()))

    def forward(self, step: Step) -> Tensor:
        """``(len(step.rows), out)``, the head's output."""
        batch = step.batch
        longest = batch.lengths.max(axis=1)
        firsts = np.cumsum(longest) - longest
        total = int(longest.sum())
        places = [owners_and_positions(lengths) for lengths in batch.lengths]
        slots = [owner * total + first + position for (owner, position), first in zip(places, firsts, strict=True)]
        at = to_device(np.concatenate(slots), batch.text.device)
        embedded = torch.cat(self._embedded(step, [position for _, position in places]))
        utterances = batch.lengths.shape[1]
        padded = embedded.new_zeros(utterances * total, embedded.shape[1]).index_copy(0, at, embedded)
        real = torch.zeros(utterances * total, dtype=torch.bool, device=at.device).index_fill(0, at, True)
        hidden = self.bert(
            inputs_embeds=padded.view(utterances, total, -1), attention_mask=real.view(utterances, total)
        ).last_hidden_state
        read = to_device(slots[MODALITY_OF_HEAD[step.head]][step.rows], at.device)
        return self._head(step.head, hidden.flatten(0, 1).index_select(0, read))

    def _embedded(self, step: Step, positions: list[np.ndarray]) -> list[Tensor]:
        batch = step.batch
        text_at, visual_at, acoustic_at = (to_device(rows, batch.text.device) for rows in positions)
        segment = self.text_embedder.token_type.weight[1]
        return [
            self.text_embedder(batch.text, text_at),
            self.visual_embedder(batch.visual, visual_at, step.masked_frames(VISUAL), segment),
            self.acoustic_embedder(batch.acoustic, acoustic_at, step.masked_frames(ACOUSTIC)),
        ]

    def _head(self, name: str, hidden: Tensor) -> Tensor:
        head = self.heads[name]
        if not isinstance(head, TiedHead):
            return head(hidden)
        tables = {
            TEXT: self.text_embedder.word.weight,
            VISUAL: self.visual_embedder.linear.weight.t(),
            ACOUSTIC: self.acoustic_embedder.linear.weight.t(),
        }
        return head(hidden, tables[MODALITY_OF_HEAD[name]])


class _NothingAdded(nn.Module):
    def forward(self, inputs_embeds: Tensor, **kwargs: object) -> Tensor:
        return inputs_embeds


def _bert_names(layer: dict[str, Tensor]) -> dict[str, Tensor]:
    """A layer's weights under BertModel's names."""
    names = {
        "attention.out": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "ffn_in": "intermediate.dense",
        "ffn_out": "output.dense",
        "ffn_norm": "output.LayerNorm",
    }
    renamed = {}
    for kind in ("weight", "bias"):
        for ours, theirs in names.items():
            renamed[f"{theirs}.{kind}"] = layer[f"{ours}.{kind}"]
        for name, part in zip(("query", "key", "value"), layer[f"attention.qkv.{kind}"].chunk(3), strict=True):
            renamed[f"attention.self.{name}.{kind}"] = part
    return renamed


def bare_products(config: MEmoBERTConfig, step: Step, dtype: torch.dtype) -> Callable[[], None]:
    """All matrix products that the packed step consists of and nothing else, into memory that is there already.

    Forward one product per pair of operands; backward one for each operand that has a gradient.
    """
    device = step.batch.text.device

    def matrices(*shapes: tuple[int, ...]) -> list[Tensor]:
        return [torch.randn(shape, device=device, dtype=dtype) for shape in shapes]

    # Rows, weight as a layer holds it, output, and the gradients of rows and weight.
    flat = [
        (matrices((n, k), (m, k), (n, m), (n, k), (m, k)), wanted)
        for n, k, m, wanted in [*_layer_shapes(config, step), *_outer_shapes(config, step)]
    ]
    attended = [
        matrices((heads, n, size), (heads, m, size), (heads, n, m), (heads, n, size), (heads, m, size))
        for heads, n, m, size in _attention_shapes(config, step)
    ]

    def run() -> None:
        for (rows, weight, output, rows_gradient, weight_gradient), wanted in flat:
            torch.mm(rows, weight.t(), out=output)
            torch.mm(output.t(), rows, out=weight_gradient)
            if wanted:
                torch.mm(output, weight, out=rows_gradient)
        for asking, answering, shares, asking_gradient, answering_gradient in attended:
            for _ in range(2):  # queries, keys and scores; then shares, values and context
                torch.bmm(asking, answering.transpose(1, 2), out=shares)
                torch.bmm(shares, answering, out=asking_gradient)
                torch.bmm(shares.transpose(1, 2), asking, out=answering_gradient)

    return run


def _layer_shapes(config: MEmoBERTConfig, step: Step) -> list[tuple[int, int, int, bool]]:
    """Of every linear layer in the transformer: rows, columns in, columns out, whether its input has a gradient."""
    width, inner, read = config.encoder_embed_dim, config.encoder_ffn_embed_dim, len(step.rows)
    total, but_last = int(step.batch.lengths.sum()), config.encoder_layers - 1
    shapes = [(total, width, 3 * width)] * but_last + [(read, width, width), (total, width, 2 * width)]
    for rows in [total] * but_last + [read]:
        shapes += [(rows, width, width), (rows, width, inner), (rows, inner, width)]
    return [(*shape, True) for shape in shapes]


def _outer_shapes(config: MEmoBERTConfig, step: Step) -> list[tuple[int, int, int, bool]]:
    """The same of the embedders and the head."""
    width, read = config.encoder_embed_dim, len(step.rows)
    frames = [
        (len(values), values.shape[1], width, step.masked_frames(modality) is not None)
        for modality, values in ((VISUAL, step.batch.visual), (ACOUSTIC, step.batch.acoustic))
    ]
    return [*frames, (read, width, width, True), (read, width, COLUMNS[step.head], True)]


def _attention_shapes(config: MEmoBERTConfig, step: Step) -> list[tuple[int, int, int, int]]:
    """Of every utterance in every layer: heads, asking rows, answering rows, columns of a head."""
    keys, heads = step.batch.lengths.sum(axis=0), config.encoder_attention_heads
    ends = np.cumsum(step.batch.lengths[MODALITY_OF_HEAD[step.head]])
    asked = np.bincount(np.searchsorted(ends, step.rows, side="right"), minlength=len(keys))
    return [
        (heads, n, m, config.encoder_embed_dim // heads)
        for asking in [keys] * (config.encoder_layers - 1) + [asked]
        for n, m in zip(asking.tolist(), keys.tolist(), strict=True)
        if n
    ]
