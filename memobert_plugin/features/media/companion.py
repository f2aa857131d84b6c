"""Find the file that another tool wrote about a film."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import DefectiveClip


def companion_file(given: Path, film: Path, *suffixes: str) -> Path:
    """Find the file about ``film``: ``given`` itself, or in the folder ``given`` the film's name with another suffix.

    In a folder the film ``a/b/film.mp4`` has ``a/b/film.csv``, ``b/film.csv`` or ``film.csv``: the first that exists,
    so that films of one name in different folders stay apart. Of several suffixes, in lower or upper case, the first
    that exists is taken.

    Raises:
        DefectiveClip: the folder has none.
    """
    if not given.is_dir():
        return given
    folders = film.absolute().parent.parts[1:]
    names = [film.stem + spelling for suffix in suffixes for spelling in (suffix, suffix.upper())]
    for first in range(len(folders) + 1):
        for name in names:
            file = given.joinpath(*folders[first:], name)
            if file.is_file():
                return file
    raise DefectiveClip(f"{film}: {given} has no {' or '.join(names[::2])}")
