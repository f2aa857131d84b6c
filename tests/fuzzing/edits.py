"""Good inputs made bad: a few edits of bytes, drawn from whatever gives whole numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Draw = Callable[[int], int]
"""A whole number from 0 to below its argument."""

LONGEST = 1 << 16


def edited(seed: bytes, pieces: Sequence[bytes], draw: Draw) -> bytes:
    """``seed`` after one to six edits: bits flipped, bytes replaced, stretches removed, repeated, cut or moved, known
    pieces put in.
    """
    content = bytearray(seed)
    for _ in range(1 + draw(6)):
        _EDITS[draw(len(_EDITS))](content, pieces, draw)
        del content[LONGEST:]
    return bytes(content)


def _stretch(content: bytearray, draw: Draw) -> slice:
    start = draw(len(content) + 1)
    return slice(start, start + draw(min(64, len(content) - start) + 1))


def _flip(content: bytearray, pieces: Sequence[bytes], draw: Draw) -> None:
    if content:
        content[draw(len(content))] ^= 1 << draw(8)


def _replace(content: bytearray, pieces: Sequence[bytes], draw: Draw) -> None:
    if content:
        content[draw(len(content))] = draw(256)


def _remove(content: bytearray, pieces: Sequence[bytes], draw: Draw) -> None:
    del content[_stretch(content, draw)]


def _repeat(content: bytearray, pieces: Sequence[bytes], draw: Draw) -> None:
    stretch = _stretch(content, draw)
    content[stretch] = content[stretch] * (1 + draw(40))


def _move(content: bytearray, pieces: Sequence[bytes], draw: Draw) -> None:
    stretch = _stretch(content, draw)
    moved = content[stretch]
    del content[stretch]
    place = draw(len(content) + 1)
    content[place:place] = moved


def _cut(content: bytearray, pieces: Sequence[bytes], draw: Draw) -> None:
    del content[draw(len(content) + 1) :]


def _insert(content: bytearray, pieces: Sequence[bytes], draw: Draw) -> None:
    if pieces:
        stretch = _stretch(content, draw) if draw(2) else slice(place := draw(len(content) + 1), place)
        content[stretch] = pieces[draw(len(pieces))]


_EDITS = (_flip, _replace, _remove, _repeat, _move, _cut, _insert, _insert)
