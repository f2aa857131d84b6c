"""``dict.txt``: the dictionary of a data-bin in the form that fairseq's ``Dictionary`` reads."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..errors import UserError
from ..regular_file import regular
from .atomic import replaced_when_complete
from .tokenizer import SPECIALS


def write_dictionary(symbols: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Write all but the four specials, one ``symbol count`` a line, in row order.

    ``Dictionary(bos="[CLS]", pad="[PAD]", eos="[SEP]", unk="[UNK]")`` with ``add_from_file(path)`` then has
    ``len(symbols)`` entries in the same order.

    Raises:
        UserError: the specials do not come first, or a symbol stands twice or holds a line break (the host refuses it).
    """
    if tuple(symbols[: len(SPECIALS)]) != SPECIALS:
        raise UserError(
            f"{path}: a dictionary starts with {' '.join(SPECIALS)}, not {' '.join(symbols[: len(SPECIALS)])}"
        )
    seen: set[str] = set()
    for row, symbol in enumerate(symbols):
        if symbol in seen:
            raise UserError(f"{path}, row {row}: symbol {symbol!r} stands twice; symbols must be unique")
        if "\n" in symbol or "\r" in symbol:
            raise UserError(f"{path}, row {row}: symbol {symbol!r} holds a line break; take it out of the vocabulary")
        seen.add(symbol)
    with replaced_when_complete(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        stream.writelines(f"{symbol} 1\n" for symbol in symbols[len(SPECIALS) :])


def read_dictionary(path: str | os.PathLike[str]) -> list[str]:
    """Return all symbols in row order, the four specials first.

    Raises:
        UserError: the file is missing or a line is no ``symbol count``.
    """
    symbols = [*SPECIALS]
    try:
        with open(regular(path), encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                symbol, separator, count = line.rstrip("\n").rpartition(" ")
                if not separator or not count.isdecimal():
                    raise UserError(
                        f"{path}, row {number}: no 'symbol count'; write the data-bin again with memobert-binarize"
                    )
                symbols.append(symbol)
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path}: missing or unreadable; write the data-bin again with memobert-binarize") from None
    return symbols
