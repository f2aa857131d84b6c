"""Films, one by one or in folders, and the subtitle files that belong to them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..core.errors import UserError
from ..features.media.container import FILM_SUFFIXES, SUBTITLE_SUFFIXES
from .reading import Defect

_UNWRITABLE: Final = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Movie:
    """A film."""

    name: str
    """Begins the ids of its utterances: the file's name without its suffix, below a folder with the folders' names."""
    path: Path
    subtitles: Path | None = None
    """None: they are looked for inside the film."""


@dataclass(frozen=True, slots=True)
class Movies:
    """Films in order of their names, and what cannot be used."""

    movies: list[Movie]
    defects: list[Defect]


def read_movies(places: Sequence[Path], subtitles: Path | None = None, language: str | None = None) -> Movies:
    """Find films and their subtitle files.

    The subtitles of ``film.mp4`` are ``film.srt`` (or ``.ass``, ``.ssa``, ``.vtt``), or else the only file such as
    ``film.en.srt``; they lie beside the film or in the folder ``subtitles``. A film without any keeps ``None``.

    Args:
        places: files and folders; below folders films are known by their suffix.
        subtitles: the file for the only film, or a folder.
        language: with several files such as ``film.en.srt`` the one with this part of the name.

    Raises:
        UserError: a place that is not there or holds no film, two films of one name, a subtitle file for many films.
    """
    found = [movie for place in places for movie in _below(place)]
    _refuse_equal_names(found)
    if subtitles is not None and not subtitles.exists():
        raise UserError(f"--subtitles {subtitles}: no such file or folder")
    if subtitles is not None and subtitles.is_file():
        if len(found) != 1:
            raise UserError(f"--subtitles {subtitles}: one file for {len(found)} films; give the folder of all of them")
        return Movies([Movie(found[0].name, found[0].path, subtitles)], [])
    movies: list[Movie] = []
    defects: list[Defect] = []
    for movie in sorted(found, key=lambda movie: movie.name):
        try:
            file = _subtitle_file(movie, subtitles or movie.path.parent, language)
        except ValueError as error:
            defects.append(Defect(str(movie.path), str(error)))
        else:
            movies.append(Movie(movie.name, movie.path, file))
    return Movies(movies, defects)


def _below(place: Path) -> Iterator[Movie]:
    if place.is_file():
        yield Movie(_writable(place.stem), place.absolute())
        return
    if not place.is_dir():
        raise UserError(f"{place}: no such film or folder")
    films = sorted(
        path
        for path in place.rglob("*")
        if path.suffix.lower() in FILM_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not films:
        raise UserError(f"{place}: no film below it; known by their names are {', '.join(FILM_SUFFIXES)}")
    for path in films:
        name = "_".join(path.relative_to(place).with_suffix("").parts)
        yield Movie(_writable(name), path.absolute())


def _writable(name: str) -> str:
    """A name that a manifest takes; bytes that are no UTF-8 are replaced."""
    return _UNWRITABLE.sub("_", os.fsencode(name).decode("utf-8", "replace"))


def _refuse_equal_names(movies: Sequence[Movie]) -> None:
    first: dict[str, Path] = {}
    for movie in movies:
        other = first.setdefault(movie.name, movie.path)
        if other is not movie.path:
            raise UserError(f"{movie.path} and {other}: both would be called {movie.name!r}; rename one of them")


def _subtitle_file(movie: Movie, folder: Path, language: str | None) -> Path | None:
    """Raises ``ValueError`` if there are several."""
    stem = movie.path.stem
    exact = [folder / f"{stem}{suffix}" for suffix in SUBTITLE_SUFFIXES]
    marked = sorted(
        path
        for path in folder.iterdir()
        if path.name.startswith(f"{stem}.") and path.suffix.lower() in SUBTITLE_SUFFIXES and path.stem != stem
    )
    if language is not None:
        marked = [path for path in marked if language in path.stem[len(stem) :].split(".")]
        if len(marked) == 1:
            return marked[0]
    if first := next((path for path in exact if path.is_file()), None):
        return first
    if len(marked) > 1:
        names = ", ".join(path.name for path in marked)
        raise ValueError(f"several files of subtitles: {names}; name a --language, or rename one to {stem}.srt")
    return marked[0] if marked else None
