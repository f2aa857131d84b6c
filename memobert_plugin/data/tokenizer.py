"""Text to pieces: BERT's word pieces or sentencepiece, both as rows of one fairseq dictionary.

A dictionary's rows are fairseq's four specials (bos, pad, eos, unk, here under BERT's names) and then the vocabulary's
other symbols in their own order; ``[MASK]`` is one of these. Words are what whitespace separates in the original text:
"it's" and "cool!" are one word each, whatever their pieces, and are masked as a whole.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..core.errors import UserError, room_is_needed
from ..core.files import regular

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer as WordPieceModel
SPECIALS = ("[CLS]", "[PAD]", "[SEP]", "[UNK]")
"""Rows 0 to 3 of every dictionary: fairseq's bos, pad, eos, unk."""
MASK = "[MASK]"
UNKNOWN_ROW = SPECIALS.index("[UNK]")

_SETTINGS = "settings.json"
_VOCABULARY = "vocab.txt"
_MODEL = "sentencepiece.model"
_TRAINING_SENTENCES = 2_000_000

Pieces = tuple[np.ndarray, np.ndarray]
"""Dictionary rows (n,) int32 and word starts (n,) uint8, 1 on the first piece of each whitespace word."""


class Tokenizer(Protocol):
    """Text to rows of a dictionary; no special symbol comes out of any text (a literal "[MASK]" included)."""

    kind: str
    """``wordpiece`` or ``sentencepiece``."""
    symbols: list[str]
    """The whole dictionary in row order, :data:`SPECIALS` first."""
    mask_index: int
    """Row of ``[MASK]``."""

    def encode(self, text: str) -> Pieces:
        """Return the pieces of one text."""

    def encode_batch(self, texts: Sequence[str]) -> list[Pieces]:
        """Return the pieces of every text."""

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write what :func:`load_tokenizer` needs into an existing folder."""


class WordPieceTokenizer:
    """BERT's tokenizer (clean-up, accents and case, punctuation, greedy word pieces), built from its ``vocab.txt``."""

    kind = "wordpiece"

    def __init__(self, pieces: Sequence[str], lowercase: bool) -> None:
        from tokenizers import Tokenizer as Model
        from tokenizers.models import WordPiece
        from tokenizers.normalizers import BertNormalizer
        from tokenizers.pre_tokenizers import BertPreTokenizer

        vocabulary = {piece: index for index, piece in enumerate(pieces)}
        self._pieces = list(pieces)
        self._lowercase = lowercase
        self._model: WordPieceModel = Model(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
        self._model.normalizer = BertNormalizer(lowercase=lowercase)
        self._model.pre_tokenizer = BertPreTokenizer()
        self.symbols, self._rows = _dictionary_rows(self._pieces, np.ones(len(pieces), dtype=bool))
        self.mask_index = self.symbols.index(MASK)

    @classmethod
    def from_vocab(cls, path: str | os.PathLike[str], lowercase: bool = True) -> WordPieceTokenizer:
        """Read a ``vocab.txt``, one piece a line.

        Raises:
            UserError: the file cannot be read, lacks one of the specials or ``[MASK]``, or holds a piece twice.
        """
        try:
            with open(regular(path), encoding="utf-8") as stream:
                pieces = [line.rstrip("\n") for line in stream]
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); give BERT's vocab.txt") from None
        except UnicodeDecodeError:
            raise UserError(f"{path}: not UTF-8; give BERT's vocab.txt, one word piece a line") from None
        missing = [symbol for symbol in (*SPECIALS, MASK) if symbol not in pieces]
        if missing:
            raise UserError(f"{path}: no {', '.join(missing)} among its {len(pieces)} lines; give BERT's vocab.txt")
        if len(set(pieces)) < len(pieces):
            first = next(piece for index, piece in enumerate(pieces) if piece in pieces[:index])
            raise UserError(f"{path}: piece {first!r} stands twice; every line must be another piece")
        return cls(pieces, lowercase)

    def encode(self, text: str) -> Pieces:
        """Return the pieces of one text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[Pieces]:
        """Return the pieces of every text."""
        encodings = self._model.encode_batch(
            [text.split() for text in texts], is_pretokenized=True, add_special_tokens=False
        )
        return [
            (self._rows[np.array(encoding.ids, dtype=np.int64)], _starts(np.array(encoding.word_ids, dtype=np.int64)))
            for encoding in encodings
        ]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``vocab.txt`` and ``settings.json``."""
        Path(folder, _VOCABULARY).write_text("".join(f"{piece}\n" for piece in self._pieces), encoding="utf-8")
        _write_settings(folder, {"kind": self.kind, "lowercase": self._lowercase})


class SentencePieceTokenizer:
    """A sentencepiece model, applied word by word; its control symbols are left out, ``[MASK]`` follows its pieces."""

    kind = "sentencepiece"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from sentencepiece import SentencePieceProcessor

        try:
            self._model: SentencePieceProcessor = SentencePieceProcessor(model_file=os.fspath(regular(path)))
        except (OSError, RuntimeError):
            raise UserError(f"{path}: cannot be read as a sentencepiece model; give the .model file") from None
        self._path = Path(path)
        ids = range(self._model.get_piece_size())
        pieces = [str(self._model.id_to_piece(index)) for index in ids]
        ordinary = np.array(
            [not (self._model.is_control(index) or self._model.is_unknown(index)) for index in ids], dtype=bool
        )
        self.symbols, self._rows = _dictionary_rows(pieces, ordinary)
        self.mask_index = self.symbols.index(MASK)

    @classmethod
    def from_model(cls, path: str | os.PathLike[str]) -> SentencePieceTokenizer:
        """Read a ``.model`` file. Raises :class:`UserError` if it is none."""
        return cls(path)

    def encode(self, text: str) -> Pieces:
        """Return the pieces of one text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[Pieces]:
        """Return the pieces of every text."""
        words = [text.split() for text in texts]
        distinct = {word: number for number, word in enumerate(dict.fromkeys(chain.from_iterable(words)))}
        encoded = [self._rows[np.array(ids, dtype=np.int64)] for ids in self._model.encode(list(distinct))]
        return [self._join([encoded[distinct[word]] for word in text]) for text in words]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``sentencepiece.model`` and ``settings.json``."""
        shutil.copyfile(self._path, Path(folder, _MODEL))
        _write_settings(folder, {"kind": self.kind})

    @staticmethod
    def _join(words: list[np.ndarray]) -> Pieces:
        rows = np.concatenate([np.empty(0, dtype=np.int32), *words])
        return rows, _starts(np.repeat(np.arange(len(words)), [len(word) for word in words]))


def train_sentencepiece(
    texts: Iterable[str], vocab_size: int, model_path: str | os.PathLike[str], *, lowercase: bool = True
) -> None:
    """Train a unigram model on ``texts`` (at most two million of them, drawn at random) and write it to ``model_path``.

    Text that cannot fill ``vocab_size`` gives a smaller model.

    Raises:
        UserError: there is no text, or far too little to train on.
    """
    import sentencepiece

    sentencepiece.set_random_generator_seed(1)
    with open(model_path, "wb") as stream:
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=(text for text in texts if text.strip()),
                model_writer=stream,
                vocab_size=vocab_size,
                hard_vocab_limit=False,
                input_sentence_size=_TRAINING_SENTENCES,
                shuffle_input_sentence=True,
                normalization_rule_name="nmt_nfkc_cf" if lowercase else "nmt_nfkc",
                minloglevel=2,
            )
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"sentencepiece with {vocab_size} pieces could not be trained on this text: {reason}"
            ) from None


def load_tokenizer(folder: str | os.PathLike[str]) -> Tokenizer:
    """Open what a tokenizer's ``save`` wrote.

    Raises:
        UserError: the folder holds no tokenizer of a known kind.
    """
    try:
        settings = json.loads(regular(Path(folder, _SETTINGS)).read_text(encoding="utf-8"))
        kind = settings["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{Path(folder, _SETTINGS)}: missing or unreadable; write the data-bin again with memobert-binarize"
        ) from None
    if kind == WordPieceTokenizer.kind:
        return WordPieceTokenizer.from_vocab(Path(folder, _VOCABULARY), lowercase=bool(settings.get("lowercase", True)))
    if kind == SentencePieceTokenizer.kind:
        return SentencePieceTokenizer.from_model(Path(folder, _MODEL))
    raise UserError(
        f"{Path(folder, _SETTINGS)}: unknown tokenizer {kind!r}; this version knows wordpiece and sentencepiece"
    )


def _dictionary_rows(pieces: list[str], ordinary: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the dictionary's symbols and, for each piece of the model, the row that encoding gives (int32).

    Text never gives a special symbol: pieces of that name, ``[MASK]`` and those not ``ordinary`` give ``[UNK]``.
    """
    symbols = [*SPECIALS]
    rows = np.full(len(pieces), UNKNOWN_ROW, dtype=np.int32)
    for index, piece in enumerate(pieces):
        if piece in SPECIALS or not (ordinary[index] or piece == MASK):
            continue
        if piece != MASK:
            rows[index] = len(symbols)
        symbols.append(piece)
    if MASK not in pieces:
        symbols.append(MASK)
    return symbols, rows


def _starts(words: np.ndarray) -> np.ndarray:
    """Return 1 where a piece's word number differs from the one before it, as uint8."""
    return np.diff(words, prepend=-1).astype(bool).astype(np.uint8)


def _write_settings(folder: str | os.PathLike[str], settings: dict[str, object]) -> None:
    Path(folder, _SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


TOKENIZER_FILES = ("settings.json", "vocab.txt", "sentencepiece.model")
"""Names that a tokenizer's folder may hold; anything else in a checkpoint is refused, never written."""


def read_tokenizer_files(folder: Path) -> dict[str, bytes]:
    """The content of a saved tokenizer's files by name.

    Raises:
        UserError: the folder holds no tokenizer.
    """
    try:
        return {name: (folder / name).read_bytes() for name in TOKENIZER_FILES if (folder / name).is_file()}
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); give the folder again") from None


def tokenizer_from_files(files: Mapping[str, bytes]) -> Tokenizer:
    """The tokenizer that these files are.

    Raises:
        UserError: they are not a tokenizer of a known kind.
    """
    with (
        room_is_needed(tempfile.gettempdir()),
        tempfile.TemporaryDirectory(prefix="memobert-tokenizer-") as folder,
    ):
        write_tokenizer_files(files, Path(folder))
        return load_tokenizer(folder)


def write_tokenizer_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files into an existing folder, and nowhere else whatever their names.

    Raises:
        UserError: a name that is not one of :data:`TOKENIZER_FILES`.
    """
    for name, content in files.items():
        if name not in TOKENIZER_FILES:
            raise UserError(f"tokenizer file {name!r}: unknown; known are {', '.join(TOKENIZER_FILES)}")
        (folder / name).write_bytes(content)


def to_plain(files: Mapping[str, bytes]) -> dict[str, str]:
    """The files as strings (base64), for a checkpoint's task state."""
    return {name: base64.b64encode(content).decode("ascii") for name, content in files.items()}


def from_plain(place: str, files: object) -> dict[str, bytes]:
    """What :func:`to_plain` gave, decoded; ``place`` is named in errors.

    Raises:
        UserError: something else.
    """
    if not isinstance(files, dict):
        raise UserError(f"{place}: its tokenizer is no dictionary of files; write the checkpoint again")
    try:
        return {str(name): base64.b64decode(content, validate=True) for name, content in files.items()}
    except (binascii.Error, ValueError, TypeError):
        raise UserError(f"{place}: its tokenizer's files are damaged; write the checkpoint again") from None
