"""A tokenizer's files as plain values, so that a checkpoint or a bundle can carry them."""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError, room_is_needed
from .tokenizer import Tokenizer, load_tokenizer

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
