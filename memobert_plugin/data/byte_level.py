"""Cut text into byte-level pieces as RoBERTa does; a piece holds the space before its word ("Ġhappy")."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import UserError
from .vocabulary import BYTE_LEVEL, MASK, MERGES, ROBERTA_NAMES, Vocabulary, dictionary_rows, dictionary_symbols
from .words import Segmentation, word_begins

if TYPE_CHECKING:
    from tokenizers import Tokenizer as BytePairs


class ByteLevelTokenizer:
    """RoBERTa's tokenizer: every text can be spelled, case and white space are kept.

    A text of white space alone has no pieces.

    Args:
        vocabulary: pieces and merges.
        segmentation: the rule for words in scripts without spaces.

    Raises:
        UserError: one of the specials or ``<mask>`` is missing, or merges and pieces do not belong together.
    """

    kind = "bytelevel"

    def __init__(self, vocabulary: Vocabulary, segmentation: Segmentation = "bert") -> None:
        from tokenizers import Tokenizer as Model
        from tokenizers.decoders import ByteLevel as Bytes
        from tokenizers.models import BPE
        from tokenizers.pre_tokenizers import ByteLevel

        self.vocabulary, self.segmentation = vocabulary, segmentation
        self.symbols = dictionary_symbols(vocabulary)
        pieces = vocabulary.pieces
        self._rows = dictionary_rows(pieces, np.ones(len(pieces), dtype=bool))[1]
        self.mask_index = self.symbols.index(MASK)
        try:
            byte_pairs = BPE({piece: number for number, piece in enumerate(pieces)}, list(vocabulary.merges or []))
        except Exception as error:  # tokenizers raises nothing more precise
            raise UserError(
                f"{vocabulary.path}: its merges do not belong to its pieces ({error}); fetch it again"
            ) from None
        self._model: BytePairs = Model(byte_pairs)
        self._model.pre_tokenizer = ByteLevel(add_prefix_space=False)
        self._bytes = Bytes()

    def encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the pieces of one text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the pieces of every text."""
        if self.vocabulary.prefix_space:
            texts = [text if text.startswith(" ") else f" {text}" for text in texts]
        return self._cut(texts)

    def encode_inside(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the pieces of a text that other text precedes, space included."""
        return self._cut([text])[0]

    def spelled(self, rows: Sequence[int]) -> str:
        """Return the text of some pieces; bytes that are no whole character become U+FFFD."""
        return str(self._bytes.decode([self.symbols[row] for row in rows])).strip()

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``vocab.json``, ``merges.txt`` and ``settings.json``."""
        numbers = {ROBERTA_NAMES.get(piece, piece): row for row, piece in enumerate(self.vocabulary.pieces)}
        merges = "".join(f"{first} {second}\n" for first, second in self.vocabulary.merges or [])
        settings: dict[str, object] = {"kind": self.kind, "prefix_space": self.vocabulary.prefix_space}
        if self.segmentation != "bert":
            settings["word_segmentation"] = self.segmentation
        for name, content in (
            (BYTE_LEVEL, json.dumps(numbers, ensure_ascii=False) + "\n"),
            (MERGES, f"#version: 0.2\n{merges}"),
            ("settings.json", json.dumps(settings, indent=2) + "\n"),
        ):
            Path(folder, name).write_text(content, encoding="utf-8")

    def _cut(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        shown = [text if text.strip() else "" for text in texts]
        encodings = self._model.encode_batch(shown, add_special_tokens=False)
        return [
            (self._rows[np.array(encoding.ids, dtype=np.int64)], self._starts(text, encoding.offsets))
            for text, encoding in zip(shown, encodings, strict=True)
        ]

    def _starts(self, text: str, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
        """Return the word starts of pieces (begin, end) of a text, uint8.

        White space belongs to the word behind it; at the end of a text, to the last word.
        """
        of_words = np.array([at for at, character in enumerate(text) if not character.isspace()], dtype=np.int64)
        begins = np.array([begin for begin, _ in offsets], dtype=np.int64)
        if not len(begins):
            return np.zeros(0, dtype=np.uint8)
        first = of_words[np.minimum(np.searchsorted(of_words, begins), len(of_words) - 1)]
        words = np.searchsorted(word_begins(text, self.segmentation), first, side="right")
        return np.diff(words, prepend=0).astype(bool).astype(np.uint8)
