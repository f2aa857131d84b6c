"""Find films, one by one or in folders, and the subtitle files that belong to them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from ...core.errors import Defect, UserError
from .container import FILM_SUFFIXES
from .streams import (
    ANY_STREAMS,
    PARTIAL,
    Language,
    StreamChoice,
    agreement,
    parse_language,
    purpose,
    wanted_language,
)

_UNWRITABLE: Final = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
_HARD_OF_HEARING: Final = "hi"
"""In a file's name Hindi, unless another part of the name is a language: ``film.en.hi.srt``."""


@dataclass(frozen=True, slots=True)
class Movie:
    """A film."""

    name: str
    """Begins the ids of its utterances: the file's name without its suffix, below a folder with the folders' names."""
    path: Path
    subtitles: Path | None = None
    """None: they are looked for inside the film."""
    remark: str = field(default="", compare=False)
    """Names the subtitle file taken of several; empty where there was no choice."""
    others: tuple[str, ...] = field(default=(), compare=False)
    """Names of the film's subtitle files where none of them is in the language asked for."""
    language: str = field(default="", compare=False)
    """Of the subtitle file, as its name marks it."""
    partial: bool = field(default=False, compare=False)
    """True if the subtitle file holds only forced lines, signs, songs or commentary: a stream may be better."""


@dataclass(frozen=True, slots=True)
class Movies:
    """Films in order of their names, and what cannot be used."""

    movies: list[Movie]
    defects: list[Defect]


def read_movies(places: Sequence[Path], subtitles: Path | None = None, streams: StreamChoice = ANY_STREAMS) -> Movies:
    """Find films and their subtitle files.

    The subtitles of ``film.mp4`` are ``film.srt`` (or another suffix of :data:`SUBTITLE_SUFFIXES`), else
    ``film.en.srt`` and the like: dialogue before captions for the hard of hearing (``sdh``, ``cc``, ``hi``), forced
    lines, signs and commentary last. They lie beside the film or in the folder ``subtitles``. A film without any keeps
    ``None``.

    Args:
        places: files and folders; below folders films are known by their suffix.
        subtitles: the file for the only film, or a folder.
        streams: with a language files marked so come first (``film.en.srt``, ``film.eng.srt``, ``film.English.srt``);
            with a subtitle stream no file is looked for.

    Raises:
        UserError: a place that is not there or holds no film, two films of one name, a subtitle file for many films,
            no such language.
    """
    found = [movie for place in places for movie in _below(place)]
    _refuse_equal_names(found)
    if streams.subtitle_stream is not None:
        if subtitles is not None:
            raise UserError("--subtitle-stream: a stream inside the film; leave --subtitles out")
        return Movies(sorted(found, key=lambda movie: movie.name), [])
    if subtitles is not None and not subtitles.exists():
        raise UserError(f"--subtitles {subtitles}: no such file or folder")
    if subtitles is not None and subtitles.is_file():
        if len(found) != 1:
            raise UserError(f"--subtitles {subtitles}: one file for {len(found)} films; give the folder of all of them")
        return Movies([replace(found[0], subtitles=subtitles)], [])
    finder = SubtitleFinder(frozenset(movie.path.stem for movie in found), streams.language)
    movies: list[Movie] = []
    defects: list[Defect] = []
    for movie in sorted(found, key=lambda movie: movie.name):
        try:
            movies.append(finder.with_subtitles(movie, subtitles or movie.path.parent))
        except ValueError as error:
            defects.append(Defect(str(movie.path), str(error)))
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
    """Replace what a manifest cannot hold, and bytes that are no UTF-8."""
    return _UNWRITABLE.sub("_", os.fsencode(name).decode("utf-8", "replace"))


def _refuse_equal_names(movies: Sequence[Movie]) -> None:
    first: dict[str, Path] = {}
    for movie in movies:
        other = first.setdefault(movie.name, movie.path)
        if other is not movie.path:
            raise UserError(f"{movie.path} and {other}: both would be called {movie.name!r}; rename one of them")


class _Candidate(NamedTuple):
    path: Path
    tags: tuple[str, ...]
    """Parts of the name after the film's: ``en`` and ``forced`` of ``film.en.forced.srt``."""
    kind: int
    mark: str
    """The part that names a language; empty where none does."""


class SubtitleFinder:
    """Finds the subtitle files of films, each folder read once."""

    def __init__(self, stems: frozenset[str], language: str | None) -> None:
        self._stems, self._asked = stems, language
        self._language = None if language is None else wanted_language(language)
        self._listed = cache(_subtitle_files)

    def with_subtitles(self, movie: Movie, folder: Path) -> Movie:
        """Return the film with its subtitle file; ``ValueError`` if its files are of several languages."""
        there = [found for path in self._listed(folder) if (found := self._candidate(path, movie.path.stem))]
        usable = self._usable(there, movie.path.stem)
        if not usable:
            return replace(movie, others=tuple(each.path.name for each in there))
        usable.sort(key=self._preference)
        taken, *others = (each.path.name for each in usable)
        remark = f"{movie.path.name}: {taken} taken, not {', '.join(others)}" if others else ""
        best = usable[0]
        return replace(movie, subtitles=best.path, remark=remark, language=best.mark, partial=best.kind >= PARTIAL)

    def _candidate(self, path: Path, stem: str) -> _Candidate | None:
        """Describe a file if it belongs to the film ``stem`` and to no film of a longer or better fitting name."""
        tags = _tags(path.stem, stem)
        if tags is None:
            return None
        for other in self._stems - {stem}:
            exactly = path.stem == other or path.stem.startswith(f"{other}.")
            if exactly and (len(other) > len(stem) or not path.stem.startswith(stem)):
                return None
        languages = [tag for tag in tags if _tag_language(tag)]
        if len(languages) > 1 and _HARD_OF_HEARING in languages:
            languages.remove(_HARD_OF_HEARING)
        mark = languages[0] if languages else ""
        words = [tag for tag in tags if tag != mark]
        return _Candidate(path, tags, purpose(words, " ".join(words)), mark)

    def _usable(self, there: list[_Candidate], stem: str) -> list[_Candidate]:
        if self._language is not None:
            return [each for each in there if not each.tags or agreement(self._language, each.mark)]
        plain = [each for each in there if not each.tags]
        if plain:
            return plain
        dialogue = [each for each in there if each.kind < PARTIAL] or there
        if len({parse_language(each.mark)[:2] if each.mark else None for each in dialogue}) > 1:  # type: ignore[index]
            names = ", ".join(each.path.name for each in there)
            raise ValueError(f"several files of subtitles: {names}; name a --language, or rename one to {stem}.srt")
        return there

    def _preference(self, candidate: _Candidate) -> tuple[object, ...]:
        from .subtitles import SUBTITLE_SUFFIXES

        agreeing = agreement(self._language, candidate.mark) if self._language and candidate.mark else 0
        return (
            candidate.kind >= PARTIAL,
            not agreeing,
            candidate.kind,
            -agreeing,
            "default" not in candidate.tags,
            SUBTITLE_SUFFIXES.index(candidate.path.suffix.lower()),
            candidate.path.name,
        )


def _subtitle_files(folder: Path) -> list[Path]:
    # Imported here, for --help to answer at once.
    from .subtitles import SUBTITLE_SUFFIXES, is_subtitle_file

    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUBTITLE_SUFFIXES and is_subtitle_file(path)
    )


def _tags(name: str, stem: str) -> tuple[str, ...] | None:
    """Return the parts of a file's name after the film's; None where it does not begin with it."""
    name, stem = (unicodedata.normalize("NFC", text).casefold() for text in (name, stem))
    if name == stem:
        return ()
    return tuple(name[len(stem) + 1 :].split(".")) if name.startswith(f"{stem}.") else None


def _tag_language(tag: str) -> Language | None:
    """Return the language that a part of a file's name stands for; the rare ones of ISO 639-3 look like other words."""
    found = parse_language(tag)
    return found if found is not None and found.in_639_2 else None
