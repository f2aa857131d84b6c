"""A Hugging Face BERT folder: its sizes, checked before anything is made of them, and its tensors under one naming."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import UserError
from ..core.files import regular
from ..data.tokenizer import WordPieceTokenizer
from .state_dictionary import StateDictionary, read_pickled_tensors


@dataclass(frozen=True)
class BertConfig:
    """What ``config.json`` says of the network."""

    layers: int
    hidden: int
    ffn: int
    heads: int
    max_positions: int

    @classmethod
    def read(cls, path: Path) -> BertConfig:
        """Read the file and refuse a network that the plugin's would not equal.

        Raises:
            UserError: unreadable, a size missing or impossible, or not BERT's activation, positions or LayerNorm.
        """
        try:
            settings = json.loads(regular(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as JSON ({error}); give a Hugging Face BERT folder") from None
        if not isinstance(settings, dict):
            raise UserError(f"{path}: holds no JSON object; give a Hugging Face BERT folder")
        required = {
            "model_type": "bert",
            "hidden_act": "gelu",
            "position_embedding_type": "absolute",
            "layer_norm_eps": 1e-12,
            "type_vocab_size": 2,
        }
        for name, value in required.items():
            if settings.get(name, value) != value:
                raise UserError(f"{path}: {name} is {settings[name]!r}; only a BERT with {value!r} can be imported")
        config = cls(
            layers=_size(path, settings, "num_hidden_layers"),
            hidden=_size(path, settings, "hidden_size"),
            ffn=_size(path, settings, "intermediate_size"),
            heads=_size(path, settings, "num_attention_heads"),
            max_positions=_size(path, settings, "max_position_embeddings"),
        )
        if config.hidden % config.heads:
            raise UserError(
                f"{path}: hidden_size {config.hidden} is not a multiple of num_attention_heads {config.heads}; "
                "restore the file that came with the weights"
            )
        return config


def _size(path: Path, settings: Mapping[str, object], name: str) -> int:
    value = settings.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{path}: {name} is {value!r}, expected a positive whole number")
    return value


def read_bert_tensors(folder: Path) -> StateDictionary:
    """Open ``model.safetensors``, or ``pytorch_model.bin`` without running anything that it may contain.

    Files differ in whether names start with ``bert.`` and in whether a LayerNorm has ``weight`` and ``bias`` or
    ``gamma`` and ``beta``; here they go by today's names of the bare network.

    Raises:
        UserError: neither is there, or the file is damaged or holds something other than tensors.
    """
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    if safe.is_file():
        path, tensors = safe, _read_safetensors(safe)
    elif pickled.is_file():
        path, tensors = pickled, read_pickled_tensors(pickled)
    else:
        raise UserError(f"{folder}: holds neither {safe.name} nor {pickled.name}; give a Hugging Face BERT folder")
    return StateDictionary(path, tensors, "give a whole BERT with the config.json that belongs to it", _current_name)


def _current_name(name: str) -> str:
    name = name.removeprefix("bert.")
    for old, current in ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias")):
        if name.endswith(old):
            return name.removesuffix(old) + current
    return name


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is damaged ({error}); fetch it again") from None


MOST_PADDING_ROWS = 1024
"""Embedding rows that a file may hold beyond its vocabulary, as padding to a round number; more is another model's."""


@dataclass(frozen=True)
class EmbeddedVocabulary:
    """The plugin's dictionary of a ``vocab.txt``, and where its symbols stand in the file.

    Attributes:
        path: the file.
        symbols: the dictionary in row order.
        rows: (len(symbols),) int64, for each symbol its line in ``vocab.txt``, which is its embedding row.
    """

    path: Path
    symbols: list[str]
    rows: Tensor

    @classmethod
    def read(cls, path: Path) -> EmbeddedVocabulary:
        """Raises :class:`UserError` if the file is missing or no vocabulary of BERT's."""
        symbols = WordPieceTokenizer.from_vocab(path).symbols
        with path.open(encoding="utf-8") as lines:
            row_of = {line.rstrip("\n"): row for row, line in enumerate(lines)}
        return cls(path, symbols, torch.tensor([row_of[symbol] for symbol in symbols]))

    def padding_rows(self, embedded: int, source: Path) -> int:
        """How many of the ``embedded`` rows of the matrix in ``source`` are beyond the vocabulary, to be left out.

        Raises:
            UserError: there are fewer rows than word pieces, or far more.
        """
        padding = embedded - len(self.symbols)
        if not 0 <= padding <= MOST_PADDING_ROWS:
            raise UserError(
                f"{self.path}: has {len(self.symbols)} word pieces, but {source} embeds {embedded}; "
                "give the vocabulary that belongs to these weights"
            )
        return padding
