"""Clips in a folder: films and sound files at any depth, with the subtitles or words beside them.

``memobert manifest`` reads it. ``talk.mp4`` and ``talk.wav`` are one clip. ``talk.srt``, or another format of
subtitles, cuts it into lines. ``talk.txt`` or ``talk.lab`` holds its words. Names may tell speakers and emotions.
"""

from __future__ import annotations

import argparse
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ..core.errors import Defect, DefectiveClip, UserError
from ..core.names import counted
from ..data.manifest import ManifestRow
from .reading import CORPORA, Corpus, Reading, existing, files_below, one_line, read_text

if TYPE_CHECKING:
    from ..features.media.subtitles import Subtitles

WORDS: Final = (".txt", ".lab")
"""Suffixes of files that hold a clip's words."""
NAMED: Final = ("id", "speaker", "session", "split", "text", "emotion")
"""Columns that a name may tell."""
_FIELD: Final = re.compile(r"\{(\w*)\}")


def name_pattern(text: str) -> re.Pattern[str]:
    """Return the pattern of ``{speaker}_{emotion}_{}``: the end of a path without its suffix.

    Raises:
        ArgumentTypeError: no column in it, an unknown one, or one twice.
    """
    names = _FIELD.findall(text)
    unknown = [name for name in names if name and name not in NAMED]
    if unknown or not any(names) or len(set(filter(None, names))) < len([name for name in names if name]):
        raise argparse.ArgumentTypeError(
            f"{text!r}: write each of {', '.join(f'{{{name}}}' for name in NAMED)} once at most, {{}} for anything else"
        )
    parts = _FIELD.split(text)
    made = [re.escape(part) if at % 2 == 0 else _group(part) for at, part in enumerate(parts)]
    return re.compile(f"(?:.*/)?{''.join(made)}")


def _group(name: str) -> str:
    return f"(?P<{name}>[^/]+?)" if name else "[^/]*?"


@dataclass(frozen=True)
class ClipsOptions:
    """The flags of this corpus."""

    names: re.Pattern[str] | None = field(
        default=None,
        metadata={
            "type": name_pattern,
            "metavar": "PATTERN",
            "help": "columns that the paths tell, such as '{speaker}/{emotion}_{}': {} is anything; without a suffix, "
            "from the right; clips of other names are left out",
        },
    )
    language: str | None = field(
        default=None, metadata={"metavar": "NAME", "help": "of the subtitles, where there are several"}
    )
    embedded: bool = field(default=False, metadata={"help": "also take subtitles inside films that have no file"})
    whole: bool = field(
        default=False, metadata={"help": "one row per clip with all words of its subtitles, instead of one per line"}
    )
    cleaning: Literal["english", "markup"] = field(
        default="english",
        metadata={
            "help": "of subtitles; english removes tags, sound descriptions, songs, names and all that is not ASCII, "
            "markup tags only"
        },
    )
    shortest: float = field(default=1.0, metadata={"metavar": "S", "help": "leave out shorter lines, in seconds"})


def read_clips(folder: Path, options: ClipsOptions) -> Reading:
    """Read a folder of clips.

    The id is the path below the folder without its suffix; lines of subtitles add their number.

    Raises:
        UserError: no such folder, or no clip in it.
    """
    from ..features.media.container import FILM_SUFFIXES
    from ..features.media.sound import SOUND_SUFFIXES

    if not 0.0 <= options.shortest < math.inf:
        raise UserError(f"--shortest {options.shortest:g}: give seconds from 0 on")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one with films or sound files")
    clips: dict[str, dict[str, Path]] = defaultdict(dict)
    defects: list[Defect] = []
    for path in files_below(folder, (*FILM_SUFFIXES, *SOUND_SUFFIXES)):
        kind = "video" if path.suffix.lower() in FILM_SUFFIXES else "audio"
        media = clips[path.relative_to(folder).with_suffix("").as_posix()]
        if kind in media:
            defects.append(Defect(str(path), f"{media[kind].name} is another of that name; rename one"))
        else:
            media[kind] = path
    if not clips:
        raise UserError(f"{folder}: no film and no sound file below it")
    reader = _ClipReader(options, frozenset(Path(name).name for name in clips))
    rows: list[ManifestRow] = []
    for name, media in sorted(clips.items()):
        try:
            rows += reader.rows(name, media)
        except (DefectiveClip, ValueError) as error:
            if isinstance(error, UserError):
                raise
            defects.append(Defect(str(next(iter(media.values()))), str(error)))
    return Reading(rows, defects, reader.remarks(rows))


class _ClipReader:
    """Makes the rows of clips and collects remarks."""

    def __init__(self, options: ClipsOptions, stems: frozenset[str]) -> None:
        from ..features.media.movies import SubtitleFinder
        from ..features.media.streams import StreamChoice

        self._options = options
        self._finder = SubtitleFinder(stems, options.language)
        self._streams = StreamChoice(language=options.language)
        self._notes: list[str] = []

    def rows(self, name: str, media: dict[str, Path]) -> Iterator[ManifestRow]:
        """Yield the rows of a clip.

        Raises:
            DefectiveClip: its file or its subtitles cannot be read.
            ValueError: its name does not fit the pattern, or its subtitles are of several languages.
        """
        found = self._options.names.fullmatch(name) if self._options.names is not None else None
        if self._options.names is not None and found is None:
            raise ValueError("its path does not fit --names")
        told: dict[str, Any] = (
            {} if found is None else {key: one_line(value) for key, value in found.groupdict().items()}
        )
        row = ManifestRow(0, name, video=existing(media.get("video")), audio=existing(media.get("audio")))
        row = replace(row, **told)
        subtitles = None if row.text else self._subtitles(media)
        if subtitles is None:
            yield row if row.text else replace(row, text=self._words(media))
            return
        yield from self._lines(row, subtitles, next(iter(media.values())))

    def _subtitles(self, media: dict[str, Path]) -> Subtitles | None:
        from ..features.media.container import media_facts
        from ..features.media.movies import Movie
        from ..features.media.subtitles import embedded_subtitles, read_subtitles

        film = media.get("video") or media["audio"]
        found = self._finder.with_subtitles(Movie(film.stem, film), film.parent)
        self._notes += [found.remark] if found.remark else []
        if found.subtitles is not None:
            rate = media_facts(film).picture_rate if "video" in media else None
            return read_subtitles(found.subtitles, picture_rate=rate, language=self._streams.language)
        if not self._options.embedded or "video" not in media:
            return None
        try:
            return embedded_subtitles(film, self._streams)
        except DefectiveClip:
            return None

    def _words(self, media: dict[str, Path]) -> str:
        for path in media.values():
            for beside in (path.with_suffix(suffix) for suffix in WORDS):
                if beside.is_file():
                    return one_line(read_text(beside))
        return ""

    def _lines(self, row: ManifestRow, subtitles: Subtitles, file: Path) -> Iterator[ManifestRow]:
        from ..features.media.sound import sound_seconds
        from ..features.media.subtitles import LineRules, usable_lines

        rules = LineRules(self._options.cleaning, self._options.shortest)
        used, dropped = usable_lines(subtitles.lines, sound_seconds(file), rules)
        self._notes += [subtitles.remark] if subtitles.remark else []
        if dropped:
            first = f"{dropped[0].line.start:.1f} s: {dropped[0].reason}"
            left_out = f"{len(dropped)} of {counted(len(subtitles.lines), 'line')} left out (the first at {first})"
            self._notes.append(f"{subtitles.origin}: {left_out}")
        if self._options.whole:
            yield replace(row, text=" ".join(line.text for line in used))
            return
        for line in used:
            speaker = row.speaker or one_line(line.speaker)
            identity = f"{row.id}_{line.number:05d}"
            yield replace(row, id=identity, speaker=speaker, text=line.text, start=line.start, end=line.end)

    def remarks(self, rows: list[ManifestRow]) -> list[str]:
        """Return the remarks on choices, and the number of clips without words."""
        without = sum(not row.text for row in rows)
        wordless = [f"{without} of {counted(len(rows), 'utterance')} without words"] if without else []
        return [*dict.fromkeys(self._notes), *wordless]


CLIPS: Final = CORPORA.register("clips")(
    Corpus(
        help="any folder of films and sound files, with the subtitles or words beside them",
        folder="folder with clips at any depth",
        options=ClipsOptions,
        read=read_clips,
    )
)
