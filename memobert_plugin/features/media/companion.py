"""The file that another tool wrote about a film."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import DefectiveClip


def companion_file(given: Path, film: Path, suffix: str) -> Path:
    """Find the file about ``film``: ``given`` itself, or in the folder ``given`` the film's name with ``suffix``.

    In a folder the film ``a/b/film.mp4`` has ``a/b/film.csv``, ``b/film.csv`` or ``film.csv``, the first of these that
    is there, so that films of one name in different folders stay apart.

    Raises:
        DefectiveClip: the folder has none.
    """
    if not given.is_dir():
        return given
    parts = film.with_suffix(suffix).absolute().parts[1:]
    for first in range(len(parts)):
        file = given.joinpath(*parts[first:])
        if file.is_file():
            return file
    raise DefectiveClip(f"{film}: {given} has no {film.stem}{suffix}")
