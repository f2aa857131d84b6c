"""Read a word-piece vocabulary as any version of transformers writes it: ``vocab.txt`` or ``tokenizer.json``."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import regular

_FILES = ("vocab.txt", "tokenizer.json")


@dataclass(frozen=True)
class Vocabulary:
    """The word pieces of a file.

    Attributes:
        path: the file.
        pieces: by number, which is the row of the embedding matrix.
        lowercase: if the file says so, true for text that is lower-cased.
        plain: false if ``tokenizer.json`` treats accents or Chinese characters unlike BERT's own tokenizer.
    """

    path: Path
    pieces: list[str]
    lowercase: bool | None = None
    plain: bool = True


def read_vocabulary(path: str | os.PathLike[str]) -> Vocabulary:
    """Read ``vocab.txt`` (one piece a line), ``tokenizer.json``, or whichever of them a folder holds.

    Raises:
        UserError: the file cannot be read, is not a word-piece vocabulary, or holds a piece twice.
    """
    path = Path(path)
    if path.is_dir():
        path = next((path / name for name in _FILES if (path / name).is_file()), path / _FILES[0])
    try:
        text = regular(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give BERT's vocab.txt or tokenizer.json") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; give BERT's vocab.txt, one word piece a line") from None
    found = _from_json(path, text) if path.suffix.lower() == ".json" else Vocabulary(path, _lines(text))
    seen: set[str] = set()
    for piece in found.pieces:
        if piece in seen:
            raise UserError(f"{path}: piece {piece!r} occurs twice; every one must be another piece")
        seen.add(piece)
    return found


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
        kind, numbers = content["model"].get("type", "WordPiece"), content["model"]["vocab"]
        if kind != "WordPiece":
            raise UserError(f"{path}: a {kind} tokenizer; only WordPiece, BERT's, can be used")
        piece_of = {number: piece for piece, number in numbers.items()}
        # Pieces added later, and the special ones once more.
        piece_of |= {token["id"]: token["content"] for token in content.get("added_tokens") or []}
        pieces = [piece_of[number] for number in range(len(piece_of))]
        normalizer = content.get("normalizer") or {}
        lowercase = normalizer.get("lowercase")
        plain = normalizer.get("strip_accents") in (None, lowercase) and normalizer.get("handle_chinese_chars", True)
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(
            f"{path}: not a tokenizer.json of word pieces; give BERT's vocab.txt or tokenizer.json"
        ) from None
    if not all(isinstance(piece, str) for piece in pieces) or len(piece_of) < len(numbers):
        raise UserError(f"{path}: two of its pieces have one number; fetch the file again")
    return Vocabulary(path, pieces, lowercase if isinstance(lowercase, bool) else None, bool(plain))
