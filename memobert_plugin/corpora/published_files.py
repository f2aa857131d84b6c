"""Finding and reading a publisher's files, whatever an archive or a system has put beside them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from ..errors import UserError
from ..regular_file import regular

_LEFT_OVER_CP1252: Final = re.compile("[\x80-\x9f]")
_BLANKS: Final = re.compile(r"[\x00-\x20\x7f\u2028\u2029]+")


def files_below(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Files with one of these suffixes (lower case), those less deep in folders first, then by name.

    Hidden files, and what an archive made on a Macintosh brings along (``._name``, ``__MACOSX``), are no files of a
    corpus.
    """
    for path in sorted(folder.rglob("*"), key=lambda path: (len(path.parts), path)):
        hidden = path.name.startswith(".") or "__MACOSX" in path.parts
        if path.suffix.lower() in suffixes and not hidden and path.is_file():
            yield path


def read_text(path: Path) -> str:
    """A text file's content: UTF-8, or else Windows' cp1252, which holds Latin-1's letters. Line ends become ``\\n``.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        content = regular(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the copy of the corpus") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def mended(text: str) -> str:
    """One line of text: left-over bytes of cp1252 (``\\x92`` for an apostrophe) as characters, blanks as one space."""
    text = _LEFT_OVER_CP1252.sub(lambda found: found[0].encode("latin-1").decode("cp1252", errors="ignore"), text)
    return _BLANKS.sub(" ", text).strip()
