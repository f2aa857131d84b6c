"""Read a vocabulary as any version of transformers writes it, and give its pieces rows of a fairseq dictionary.

Word pieces (BERT) come as ``vocab.txt`` or ``tokenizer.json``, byte-level pieces (RoBERTa) as ``vocab.json`` with
``merges.txt`` or ``tokenizer.json``. A dictionary's rows are fairseq's four specials (bos, pad, eos, unk, here under
BERT's names) and then the vocabulary's other symbols in their own order; ``[MASK]`` is one of these.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..core.files import regular

SPECIALS = ("[CLS]", "[PAD]", "[SEP]", "[UNK]")
"""Rows 0 to 3 of every dictionary: fairseq's bos, pad, eos, unk."""
CLS, PAD, SEP, UNK = range(len(SPECIALS))
MASK = "[MASK]"
ROBERTA_NAMES = dict(zip((*SPECIALS, MASK), ("<s>", "<pad>", "</s>", "<unk>", "<mask>"), strict=True))
"""RoBERTa's names of the special symbols, by BERT's."""

BYTE_LEVEL = "vocab.json"
MERGES = "merges.txt"
_FILES = ("vocab.txt", "tokenizer.json", BYTE_LEVEL)
_ADVICE = "give BERT's vocab.txt or tokenizer.json, or RoBERTa's tokenizer.json or vocab.json beside merges.txt"


@dataclass(frozen=True)
class Vocabulary:
    """The pieces of a file.

    Attributes:
        path: the file.
        pieces: by number, which is the row of the embedding matrix; special ones under BERT's names.
        lowercase: if the file says so, true for text that is lower-cased.
        plain: false if ``tokenizer.json`` treats accents or Chinese characters unlike BERT's own tokenizer.
        merges: of byte-level pieces the pairs that are joined, first ones first; None for word pieces.
        prefix_space: of byte-level pieces: a text's first word is cut like one behind a space.
    """

    path: Path
    pieces: list[str]
    lowercase: bool | None = None
    plain: bool = True
    merges: list[tuple[str, str]] | None = None
    prefix_space: bool = False


def read_vocabulary(path: str | os.PathLike[str]) -> Vocabulary:
    """Read a vocabulary's file, or whichever of them a folder holds.

    Raises:
        UserError: the file cannot be read, is not a vocabulary of BERT or RoBERTa, or holds a piece twice.
    """
    path = Path(path)
    if path.is_dir():
        path = next((path / name for name in _FILES if (path / name).is_file()), path / _FILES[0])
    text = _read(path)
    found = _from_json(path, text) if path.suffix.lower() == ".json" else Vocabulary(path, _lines(text))
    seen: set[str] = set()
    for piece in found.pieces:
        if piece in seen:
            raise UserError(f"{path}: piece {piece!r} occurs twice; every one must be another piece")
        seen.add(piece)
    return found


def dictionary_symbols(vocabulary: Vocabulary) -> list[str]:
    """Return the dictionary of a vocabulary.

    Raises:
        UserError: one of the specials or ``[MASK]`` is missing.
    """
    pieces, byte_level = vocabulary.pieces, vocabulary.merges is not None
    kind = "RoBERTa" if byte_level else "BERT"
    missing = [symbol for symbol in (*SPECIALS, MASK) if symbol not in pieces]
    if missing:
        named = ", ".join(ROBERTA_NAMES[symbol] if byte_level else symbol for symbol in missing)
        raise UserError(f"{vocabulary.path}: no {named} among its {len(pieces)} pieces; give {kind}'s vocabulary")
    return dictionary_rows(pieces, np.ones(len(pieces), dtype=bool))[0]


def dictionary_rows(pieces: list[str], ordinary: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the dictionary's symbols and, for each piece of the model, the row that encoding gives (int32).

    Text never gives a special symbol: pieces of that name, ``[MASK]`` and those not ``ordinary`` give ``[UNK]``.
    """
    symbols = [*SPECIALS]
    rows = np.full(len(pieces), UNK, dtype=np.int32)
    for index, piece in enumerate(pieces):
        if piece in SPECIALS or not (ordinary[index] or piece == MASK):
            continue
        if piece != MASK:
            rows[index] = len(symbols)
        symbols.append(piece)
    if MASK not in pieces:
        symbols.append(MASK)
    return symbols, rows


def _read(path: Path) -> str:
    try:
        return regular(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {_ADVICE}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; {_ADVICE}") from None


def _lines(text: str) -> list[str]:
    """Return the lines, without empty ones at the end."""
    # Not splitlines(): a piece may be one of the characters at which that splits.
    lines = text.split("\n")
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _from_json(path: Path, text: str) -> Vocabulary:
    try:
        content: Any = json.loads(text)
        model = content.get("model")
        if not isinstance(model, dict):  # the vocabulary alone, where "model" is a piece like others
            return _byte_level(path, _in_order(content), _read_merges(path.with_name(MERGES)), spaced=False)
        kind, added = model.get("type", "WordPiece"), content.get("added_tokens") or []
        if kind not in ("WordPiece", "BPE"):
            raise UserError(f"{path}: a {kind} tokenizer; only WordPiece, BERT's, and BPE, RoBERTa's, can be used")
        # Pieces added later, and the special ones once more.
        pieces = _in_order(model["vocab"], {token["id"]: token["content"] for token in added})
        if kind == "BPE":
            _refuse_other_byte_pairs(path, content)
            merges = [(first, second) for first, second in map(_pair, model["merges"])]
            spaced = bool(content["pre_tokenizer"].get("add_prefix_space", False))
            return _byte_level(path, pieces, merges, spaced)
        normalizer = content.get("normalizer") or {}
        lowercase = normalizer.get("lowercase")
        plain = normalizer.get("strip_accents") in (None, lowercase) and normalizer.get("handle_chinese_chars", True)
    except UserError:
        raise
    except _SharedNumber:
        raise UserError(f"{path}: two of its pieces have one number; fetch the file again") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: not a vocabulary of word pieces or byte-level pieces; {_ADVICE}") from None
    return Vocabulary(path, pieces, lowercase if isinstance(lowercase, bool) else None, bool(plain))


class _SharedNumber(Exception):
    """Two pieces of a vocabulary have one number."""


def _in_order(numbers: Mapping[str, int], added: Mapping[int, str] | None = None) -> list[str]:
    """Return the pieces by number, which must be 0, 1, 2 and so on."""
    piece_of = {number: piece for piece, number in numbers.items()} | dict(added or {})
    pieces = [piece_of[number] for number in range(len(piece_of))]
    if not all(isinstance(piece, str) for piece in pieces) or len(piece_of) < len(numbers):
        raise _SharedNumber
    return pieces


def _pair(merge: str | list[str]) -> list[str]:
    return merge.split(" ") if isinstance(merge, str) else merge


def _byte_level(path: Path, pieces: list[str], merges: list[tuple[str, str]], spaced: bool) -> Vocabulary:
    """Return a vocabulary of byte-level pieces, whose special ones are renamed.

    ``tokenizer_config.json`` beside the file has the last word on the space before a text, as in transformers.
    """
    berts = {theirs: ours for ours, theirs in ROBERTA_NAMES.items()}
    settings = path.with_name("tokenizer_config.json")
    if settings.is_file():
        spaced = bool(json.loads(_read(settings)).get("add_prefix_space", spaced))
    return Vocabulary(path, [berts.get(piece, piece) for piece in pieces], merges=merges, prefix_space=spaced)


def _read_merges(path: Path) -> list[tuple[str, str]]:
    lines = [line.removesuffix("\r") for line in _lines(_read(path))]
    merges = [tuple(line.split(" ")) for line in lines if not line.startswith("#version") and line]
    if any(len(pair) != 2 or not all(pair) for pair in merges):
        raise UserError(f"{path}: a line that is not two pieces; fetch the file again")
    return [(first, second) for first, second in merges]


def _refuse_other_byte_pairs(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a ``tokenizer.json`` of byte pairs that changes or splits text in another way than RoBERTa's."""
    model, splitting = content["model"], content.get("pre_tokenizer") or {}
    other = [
        *(name for name in ("dropout", "byte_fallback", "ignore_merges") if model.get(name)),
        *(name for name in ("continuing_subword_prefix", "end_of_word_suffix") if model.get(name)),
        *(["normalizer"] if content.get("normalizer") else []),
        *(["pre_tokenizer"] if splitting.get("type") != "ByteLevel" or not splitting.get("use_regex", True) else []),
    ]
    if other:
        raise UserError(f"{path}: cuts text unlike RoBERTa ({', '.join(other)}); give a tokenizer of RoBERTa's kind")
