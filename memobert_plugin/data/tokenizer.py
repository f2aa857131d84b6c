"""Turn text into pieces, BERT's, RoBERTa's or sentencepiece's, as rows of one fairseq dictionary.

:mod:`memobert_plugin.data.vocabulary` says which row a piece has, :mod:`memobert_plugin.data.words` which pieces begin
a word.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..core.errors import UserError, room_is_needed
from ..core.files import regular
from .byte_level import ByteLevelTokenizer
from .vocabulary import BYTE_LEVEL, MASK, MERGES, Vocabulary, dictionary_rows, dictionary_symbols, read_vocabulary
from .words import SEGMENTATIONS, Segmentation, first_pieces, has_unspaced_script

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer as WordPieceModel

_SETTINGS = "settings.json"
_VOCABULARY = "vocab.txt"
_MODEL = "sentencepiece.model"
_TRAINING_SENTENCES = 2_000_000
_MOST_KNOWN = 50_000
"""Words whose pieces stay in memory (20 MB), about as many as a large corpus has in common use."""
_LONGEST_KNOWN = 20
"""Characters of such a word. Scripts without spaces have sentences that are one word, and hardly come again."""

Pieces = tuple[np.ndarray, np.ndarray]
"""Dictionary rows (n,) int32 and word starts (n,) uint8, 1 on the first piece of each word."""


class Tokenizer(Protocol):
    """A tokenizer that gives rows of a dictionary. No text gives a special symbol, not even a literal "[MASK]"."""

    kind: str
    """``wordpiece``, ``sentencepiece`` or ``bytelevel``."""
    symbols: list[str]
    """The whole dictionary in row order, :data:`SPECIALS` first."""
    mask_index: int
    """Row of ``[MASK]``."""
    segmentation: Segmentation
    """The rule for words in scripts without spaces."""

    def encode(self, text: str) -> Pieces:
        """Return the pieces of one text."""

    def encode_batch(self, texts: Sequence[str]) -> list[Pieces]:
        """Return the pieces of every text."""

    def encode_inside(self, text: str) -> Pieces:
        """Return the pieces of words of a text that stand behind others; a space in front says that they are apart."""

    def spelled(self, rows: Sequence[int]) -> str:
        """Return the word that some pieces spell, without the tokenizer's marks."""

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the files that :func:`load_tokenizer` reads into an existing folder."""


class WordPieceTokenizer:
    """BERT's tokenizer (clean-up, accents and case, punctuation, greedy word pieces), built from its ``vocab.txt``."""

    kind = "wordpiece"

    def __init__(self, pieces: Sequence[str], lowercase: bool, segmentation: Segmentation = "bert") -> None:
        from tokenizers import Tokenizer as Model
        from tokenizers.models import WordPiece
        from tokenizers.normalizers import BertNormalizer
        from tokenizers.pre_tokenizers import BertPreTokenizer

        vocabulary = {piece: index for index, piece in enumerate(pieces)}
        self._pieces = list(pieces)
        self._lowercase = lowercase
        self.segmentation = segmentation
        self._model: WordPieceModel = Model(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
        self._model.normalizer = BertNormalizer(lowercase=lowercase)
        self._model.pre_tokenizer = BertPreTokenizer()
        self.symbols, self._rows = dictionary_rows(self._pieces, np.ones(len(pieces), dtype=bool))
        self.mask_index = self.symbols.index(MASK)
        self._known: dict[str, tuple[list[int], list[int]]] = {}
        """Dictionary rows and word starts of words seen before: a text's words are cut independently."""

    @classmethod
    def from_vocab(
        cls, path: str | os.PathLike[str], lowercase: bool = True, segmentation: Segmentation = "bert"
    ) -> WordPieceTokenizer:
        """Read a vocabulary of word pieces, see :func:`.read_vocabulary` and :meth:`of`.

        Raises:
            UserError: the file cannot be read, holds a piece twice, or is unfit.
        """
        return cls.of(read_vocabulary(path), lowercase, segmentation)

    @classmethod
    def of(cls, found: Vocabulary, lowercase: bool = True, segmentation: Segmentation = "bert") -> WordPieceTokenizer:
        """Build a tokenizer of word pieces.

        Raises:
            UserError: one of the specials or ``[MASK]`` is missing, or these are byte-level pieces; the vocabulary is a
                ``tokenizer.json`` with another treatment of case, accents or Chinese characters.
        """
        dictionary_symbols(found)
        if found.merges is not None:
            raise UserError(f"{found.path}: RoBERTa's pieces; BERT's vocab.txt or tokenizer.json is needed here")
        if found.lowercase not in (None, lowercase):
            advice = "keeps upper case; give --cased" if lowercase else "lower-cases text; leave --cased out"
            raise UserError(f"{found.path}: this tokenizer {advice}")
        if not found.plain:
            raise UserError(
                f"{found.path}: treats accents or Chinese characters unlike BERT; give the vocab.txt of a BERT"
            )
        return cls(found.pieces, lowercase, segmentation)

    def encode(self, text: str) -> Pieces:
        """Return the pieces of one text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[Pieces]:
        """Return the pieces of every text."""
        split = [text.split() for text in texts]
        known = self._known
        if len(known) > _MOST_KNOWN:
            known = self._known = {}
        long: dict[str, tuple[list[int], list[int]]] = {}
        if unknown := [word for word in dict.fromkeys(chain.from_iterable(split)) if word not in known]:
            for word, pieces in zip(unknown, self._pieces_of(unknown), strict=True):
                (known if len(word) <= _LONGEST_KNOWN else long)[word] = pieces
        encoded = []
        for words in split:
            rows: list[int] = []
            starts: list[int] = []
            for word in words:
                rows_of_word, starts_of_word = known.get(word) or long[word]
                rows += rows_of_word
                starts += starts_of_word
            encoded.append((np.array(rows, dtype=np.int32), np.array(starts, dtype=np.uint8)))
        return encoded

    encode_inside = encode

    def _pieces_of(self, words: list[str]) -> list[tuple[list[int], list[int]]]:
        """Return the dictionary rows and the word starts of each word."""
        encoding = self._model.encode(words, is_pretokenized=True, add_special_tokens=False)
        rows = self._rows[np.array(encoding.ids, dtype=np.int64)].tolist()
        begins = [first for first, _ in encoding.offsets]
        bounds = np.searchsorted(np.array(encoding.word_ids, dtype=np.int64), np.arange(len(words) + 1)).tolist()
        return [
            (rows[begin:end], self._starts_in(word, begins[begin:end]))
            for word, begin, end in zip(words, bounds[:-1], bounds[1:], strict=True)
        ]

    def _starts_in(self, word: str, begins: list[int]) -> list[int]:
        """Return the word starts of the pieces that begin at these characters of a word."""
        if begins and has_unspaced_script(word):
            starts: list[int] = first_pieces(word, np.array(begins), self.segmentation).tolist()
            return starts
        return [1, *[0] * (len(begins) - 1)] if begins else []

    def spelled(self, rows: Sequence[int]) -> str:
        """Return the word that some pieces spell; one piece alone keeps its mark."""
        return "".join(self.symbols[row].removeprefix("##" if number else "") for number, row in enumerate(rows))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``vocab.txt`` and ``settings.json``."""
        Path(folder, _VOCABULARY).write_text("".join(f"{piece}\n" for piece in self._pieces), encoding="utf-8")
        _write_settings(folder, {"kind": self.kind, "lowercase": self._lowercase}, self.segmentation)


class SentencePieceTokenizer:
    """A sentencepiece model, applied to each whitespace word, without its control symbols; ``[MASK]`` comes last.

    Attributes:
        rows: the dictionary row of each of the model's pieces.
    """

    kind = "sentencepiece"

    def __init__(self, path: str | os.PathLike[str], segmentation: Segmentation = "bert") -> None:
        from sentencepiece import SentencePieceProcessor

        try:
            self._model: SentencePieceProcessor = SentencePieceProcessor(model_file=os.fspath(regular(path)))
        except (OSError, RuntimeError):
            raise UserError(f"{path}: cannot be read as a sentencepiece model; give the .model file") from None
        self._path = Path(path)
        self.segmentation = segmentation
        ids = range(self._model.get_piece_size())
        pieces = [str(self._model.id_to_piece(index)) for index in ids]
        ordinary = np.array(
            [not (self._model.is_control(index) or self._model.is_unknown(index)) for index in ids], dtype=bool
        )
        self.symbols, self.rows = dictionary_rows(pieces, ordinary)
        self.mask_index = self.symbols.index(MASK)

    @classmethod
    def from_model(cls, path: str | os.PathLike[str], segmentation: Segmentation = "bert") -> SentencePieceTokenizer:
        """Read a ``.model`` file. Raises :class:`UserError` if it is not one."""
        return cls(path, segmentation)

    def encode(self, text: str) -> Pieces:
        """Return the pieces of one text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[Pieces]:
        """Return the pieces of every text."""
        words = [text.split() for text in texts]
        distinct = {word: number for number, word in enumerate(dict.fromkeys(chain.from_iterable(words)))}
        encoded = [self.rows[np.array(ids, dtype=np.int64)] for ids in self._model.encode(list(distinct))]
        starts = [self._starts_in(word, len(rows)) for word, rows in zip(distinct, encoded, strict=True)]
        nothing = (np.empty(0, dtype=np.int32), np.empty(0, dtype=np.uint8))
        return [
            (
                np.concatenate([nothing[0], *(encoded[distinct[word]] for word in text)]),
                np.concatenate([nothing[1], *(starts[distinct[word]] for word in text)]),
            )
            for text in words
        ]

    encode_inside = encode

    def spelled(self, rows: Sequence[int]) -> str:
        """Return the word that some pieces spell."""
        return "".join(self.symbols[row].removeprefix(_WORD_MARK) for row in rows)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``sentencepiece.model`` and ``settings.json``."""
        shutil.copyfile(self._path, Path(folder, _MODEL))
        _write_settings(folder, {"kind": self.kind}, self.segmentation)

    def model_bytes(self) -> bytes:
        """Return the content of a ``.model`` file."""
        return bytes(self._model.serialized_model_proto())

    def _starts_in(self, word: str, count: int) -> np.ndarray:
        """Return the word starts of a whitespace word's ``count`` pieces."""
        if count and has_unspaced_script(word):
            # The pieces spell the normalised word, whose characters need not be those of the original.
            pieces = self._model.encode(word, out_type=str)
            begins = np.cumsum([0, *map(len, pieces[:-1])])
            return first_pieces("".join(pieces), begins, self.segmentation)
        starts = np.zeros(count, dtype=np.uint8)
        starts[:1] = 1
        return starts


def train_sentencepiece(
    texts: Iterable[str],
    vocab_size: int,
    model_path: str | os.PathLike[str],
    *,
    lowercase: bool = True,
    words: Sequence[str] = (),
) -> int:
    """Train a unigram model on ``texts`` (at most two million of them, drawn at random) and write it to ``model_path``.

    Args:
        texts: empty ones are passed over.
        vocab_size: the most pieces; text that cannot fill them gives fewer.
        model_path: the file to write.
        lowercase: lower-case all text.
        words: words that must be one piece each, such as a prompt's; pieces are added for those that are not.

    Returns:
        The number of pieces, added ones included.

    Raises:
        UserError: there is no text, or far too little to train on.
    """
    import sentencepiece

    sentencepiece.set_random_generator_seed(1)
    trained = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(text for text in texts if text.strip()),
            model_writer=trained,
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            input_sentence_size=_TRAINING_SENTENCES,
            shuffle_input_sentence=True,
            normalization_rule_name="nmt_nfkc_cf" if lowercase else "nmt_nfkc",
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"sentencepiece with {vocab_size} pieces could not be trained on this text: {reason}") from None
    model = trained.getvalue()
    wanted = [_WORD_MARK + (word.lower() if lowercase else word) for word in words]
    if words:
        wanted.append(".")  # ends a text before its prompt
    for piece in wanted:
        model += _missing_piece(sentencepiece.SentencePieceProcessor(model_proto=model), piece)
    Path(model_path).write_bytes(model)
    return int(sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size())


_WORD_MARK = "\u2581"
"""Begins the piece that begins a whitespace word."""
_LONGEST_ADDED = 100
"""Bytes of an added piece: its length and that of its message then fill one byte each."""


def _missing_piece(model: SentencePieceProcessor, piece: str) -> bytes:
    """Return the bytes to append to a model's file so that ``piece`` is one of its pieces; none if it is already.

    The file is a protocol buffer whose field 1 is the list of pieces: text (field 1), score (field 2, float32). The
    score is that of the parts that spell the piece today, so that other words keep their pieces.
    """
    if model.id_to_piece(model.piece_to_id(piece)) == piece:
        return b""
    scores = [model.get_score(index) for index in range(model.get_piece_size()) if not model.is_control(index)]
    parts = model.encode(piece.removeprefix(_WORD_MARK))
    known = not any(model.is_unknown(index) for index in parts)
    score = sum(model.get_score(index) for index in parts) + 1e-3 if known else min(scores)
    text = piece.encode()
    if len(text) > _LONGEST_ADDED:
        raise UserError(f"{piece.removeprefix(_WORD_MARK)[:40]}: too long to be one piece; choose a shorter word")
    message = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", score)
    return b"\x0a" + bytes([len(message)]) + message


def tokenizer_of(
    path: str | os.PathLike[str], lowercase: bool = True, segmentation: Segmentation = "bert"
) -> Tokenizer:
    """Return the tokenizer of a vocabulary: BERT's, or RoBERTa's, which keeps upper case in any case.

    Raises:
        UserError: the file cannot be read, is damaged or unfit.
    """
    found = read_vocabulary(path)
    if found.merges is not None:
        return ByteLevelTokenizer(found, segmentation)
    return WordPieceTokenizer.of(found, lowercase, segmentation)


def load_tokenizer(folder: str | os.PathLike[str]) -> Tokenizer:
    """Open a tokenizer that its ``save`` wrote.

    Raises:
        UserError: the folder holds no tokenizer of a known kind.
    """
    try:
        settings = json.loads(regular(Path(folder, _SETTINGS)).read_text(encoding="utf-8"))
        kind, segmentation = settings["kind"], settings.get("word_segmentation", "bert")
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{Path(folder, _SETTINGS)}: missing or unreadable; write the data-bin again with memobert-binarize"
        ) from None
    if segmentation not in SEGMENTATIONS:
        raise UserError(
            f"{Path(folder, _SETTINGS)}: unknown word segmentation {segmentation!r}; this version knows "
            f"{' and '.join(SEGMENTATIONS)}"
        )
    if kind == WordPieceTokenizer.kind:
        lowercase = bool(settings.get("lowercase", True))
        return WordPieceTokenizer.from_vocab(Path(folder, _VOCABULARY), lowercase, segmentation)
    if kind == SentencePieceTokenizer.kind:
        return SentencePieceTokenizer.from_model(Path(folder, _MODEL), segmentation)
    if kind == ByteLevelTokenizer.kind:
        found = replace(read_vocabulary(Path(folder, BYTE_LEVEL)), prefix_space=bool(settings.get("prefix_space")))
        return ByteLevelTokenizer(found, segmentation)
    raise UserError(
        f"{Path(folder, _SETTINGS)}: unknown tokenizer {kind!r}; this version knows wordpiece, sentencepiece and "
        "bytelevel"
    )


def _write_settings(folder: str | os.PathLike[str], settings: dict[str, object], segmentation: Segmentation) -> None:
    if segmentation != "bert":
        settings["word_segmentation"] = segmentation
    Path(folder, _SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


TOKENIZER_FILES = (_SETTINGS, _VOCABULARY, _MODEL, BYTE_LEVEL, MERGES)
"""The files of a tokenizer. Other names in a checkpoint are refused, never written."""


def read_tokenizer_files(folder: Path) -> dict[str, bytes]:
    """Return the content of a saved tokenizer's files by name.

    Raises:
        UserError: the folder holds no tokenizer.
    """
    try:
        return {name: (folder / name).read_bytes() for name in TOKENIZER_FILES if (folder / name).is_file()}
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); give the folder again") from None


def tokenizer_from_files(files: Mapping[str, bytes]) -> Tokenizer:
    """Build a tokenizer from its files.

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
    """Write the files into an existing folder, and never outside it.

    Raises:
        UserError: a name that is not one of :data:`TOKENIZER_FILES`.
    """
    for name, content in files.items():
        if name not in TOKENIZER_FILES:
            raise UserError(f"tokenizer file {name!r}: unknown; known are {', '.join(TOKENIZER_FILES)}")
        (folder / name).write_bytes(content)


def to_plain(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the files as base64 strings, for a checkpoint's task state."""
    return {name: base64.b64encode(content).decode("ascii") for name, content in files.items()}


def from_plain(place: str, files: object) -> dict[str, bytes]:
    """Decode the result of :func:`to_plain`; ``place`` is named in errors.

    Raises:
        UserError: not such a result.
    """
    if not isinstance(files, dict):
        raise UserError(f"{place}: its tokenizer is not a dictionary of files; write the checkpoint again")
    try:
        return {str(name): base64.b64decode(content, validate=True) for name, content in files.items()}
    except (binascii.Error, ValueError, TypeError):
        raise UserError(f"{place}: its tokenizer's files are damaged; write the checkpoint again") from None
