"""BERT's weights under the plugin's names: what text embedder, transformer, pooler and WWMLM head start from.

MEmoBERT, section 2: everything but the frame embedders and the frame heads is initialised from BERT.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..data.tokenizer import WordPieceTokenizer
from ..errors import UserError
from ..models.state_upgrade import FINGERPRINT, dictionary_fingerprint
from .bert_folder import BertConfig, BertTensors

MOST_PADDING_ROWS = 1024
"""Embedding rows that a file may hold beyond its vocabulary, as padding to a round number; more is another model's."""

NEVER_IN_BERT = ("visual_embedder.*", "acoustic_embedder.*", "heads.mvfr.*", "heads.mvfc.*", "heads.mafr.*")

WORDS = "embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder.weight"


@dataclass(frozen=True)
class ImportedBert:
    """The plugin's parameters that a BERT folder fills, and what became of the rest.

    Attributes:
        source: the weight file.
        config: its sizes.
        weights: float32 parameters under the plugin's names, word pieces in the order of the plugin's dictionary.
        new: patterns of the model's parameters that the folder does not fill.
        unused: the weight file's names of tensors that the model has no place for.
        padding_rows: embedding rows beyond the vocabulary, left out.
    """

    source: Path
    config: BertConfig
    weights: dict[str, Tensor]
    new: list[str]
    unused: list[str]
    padding_rows: int


@dataclass(frozen=True)
class _Origin:
    """One of the plugin's parameters: the BERT tensors that are stacked to make it, each of this shape."""

    name: str
    tensors: tuple[str, ...]
    shape: tuple[int, ...]


def import_bert(folder: Path) -> ImportedBert:
    """Read ``config.json``, ``vocab.txt`` and ``model.safetensors`` or ``pytorch_model.bin`` of a BERT folder.

    Raises:
        UserError: a file is missing, damaged or of another network, or they do not belong together.
    """
    config = BertConfig.read(folder / "config.json")
    symbols = WordPieceTokenizer.from_vocab(folder / "vocab.txt").symbols
    tensors = BertTensors.read(folder)

    origins = list(_body(config))
    new = list(NEVER_IN_BERT)
    if tensors.has_any("pooler."):
        origins += _module("pooler", ("pooler.dense",), config.hidden, config.hidden)
    else:
        new.append("pooler.*")
    has_head = tensors.has_any("cls.predictions.")
    if has_head:
        origins += _wwmlm_transform(config)
    else:
        new.append("heads.wwmlm.*")
    tensors.require([WORDS, *(name for origin in origins for name in origin.tensors)])

    words = tensors.take(WORDS, (None, config.hidden))
    padding_rows = len(words) - len(symbols)
    if not 0 <= padding_rows <= MOST_PADDING_ROWS:
        raise UserError(
            f"{folder / 'vocab.txt'}: has {len(symbols)} word pieces, but {tensors.path} embeds {len(words)}; "
            "give the vocabulary that belongs to these weights"
        )
    rows = _embedding_rows(folder / "vocab.txt", symbols)
    weights = {FINGERPRINT: torch.tensor([dictionary_fingerprint(symbols)]), "text_embedder.word.weight": words[rows]}
    for origin in origins:
        weights[origin.name] = torch.cat([tensors.take(name, origin.shape) for name in origin.tensors])
    if has_head:
        weights["heads.wwmlm.bias"] = _decoder_bias(tensors, words)[rows]
    return ImportedBert(tensors.path, config, weights, new, tensors.unused(), padding_rows)


def _embedding_rows(vocabulary: Path, symbols: list[str]) -> Tensor:
    """For each symbol of the plugin's dictionary its line in ``vocab.txt``, which is its embedding row."""
    with vocabulary.open(encoding="utf-8") as lines:
        row_of = {line.rstrip("\n"): row for row, line in enumerate(lines)}
    return torch.tensor([row_of[symbol] for symbol in symbols])


def _module(name: str, modules: tuple[str, ...], *weight_shape: int) -> Iterator[_Origin]:
    """Weight and bias of a linear layer or LayerNorm, stacked from one or several of BERT's."""
    yield _Origin(f"{name}.weight", tuple(f"{module}.weight" for module in modules), weight_shape)
    yield _Origin(f"{name}.bias", tuple(f"{module}.bias" for module in modules), weight_shape[:1])


def _body(config: BertConfig) -> Iterator[_Origin]:
    hidden, ffn = config.hidden, config.ffn
    positions = (config.max_positions, hidden)
    yield _Origin("text_embedder.position.weight", ("embeddings.position_embeddings.weight",), positions)
    yield _Origin("text_embedder.token_type.weight", ("embeddings.token_type_embeddings.weight",), (2, hidden))
    yield from _module("text_embedder.norm", ("embeddings.LayerNorm",), hidden)
    for number in range(config.layers):
        layer, bert = f"encoder.layers.{number}", f"encoder.layer.{number}"
        projections = tuple(f"{bert}.attention.self.{part}" for part in ("query", "key", "value"))
        yield from _module(f"{layer}.attention.qkv", projections, hidden, hidden)
        yield from _module(f"{layer}.attention.out", (f"{bert}.attention.output.dense",), hidden, hidden)
        yield from _module(f"{layer}.attention_norm", (f"{bert}.attention.output.LayerNorm",), hidden)
        yield from _module(f"{layer}.ffn_in", (f"{bert}.intermediate.dense",), ffn, hidden)
        yield from _module(f"{layer}.ffn_out", (f"{bert}.output.dense",), hidden, ffn)
        yield from _module(f"{layer}.ffn_norm", (f"{bert}.output.LayerNorm",), hidden)


def _wwmlm_transform(config: BertConfig) -> Iterator[_Origin]:
    prefix = "cls.predictions.transform"
    yield from _module("heads.wwmlm.transform", (f"{prefix}.dense",), config.hidden, config.hidden)
    yield from _module("heads.wwmlm.norm", (f"{prefix}.LayerNorm",), config.hidden)


def _decoder_bias(tensors: BertTensors, words: Tensor) -> Tensor:
    """The bias of every vocabulary row, under either of its names; the decoder itself must be the word embeddings."""
    if DECODER in tensors and not torch.equal(tensors.take(DECODER, tuple(words.shape)), words):
        raise UserError(
            f"{tensors.path}: {DECODER} is not the word embeddings; only a BERT with tied decoder can be imported"
        )
    names = [name for name in ("cls.predictions.bias", "cls.predictions.decoder.bias") if name in tensors]
    tensors.require(names or ["cls.predictions.bias"])
    biases = [tensors.take(name, (len(words),)) for name in names]
    return biases[0]
