"""A ``vocab.txt`` beside the embedding matrix whose rows it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..data.tokenizer import WordPieceTokenizer
from ..errors import UserError

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
