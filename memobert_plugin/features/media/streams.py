"""Choice of a film's streams and subtitle files: languages, dialogue before commentary, numbers given by the user."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from ...core.errors import DefectiveClip, UserError, pip_install

Kind = Literal["video", "audio", "subtitle"]


def stream_number(text: str) -> int:
    """Parse a stream's number.

    Raises:
        argparse.ArgumentTypeError: not a whole number from 0 on.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: give a stream's number as ffprobe counts, from 0 on")
    return int(text)


def _number_flag(kind: str) -> int | None:
    facts = {"help": f"number of the {kind} stream, as ffprobe counts (default: chosen)", "metavar": "N"}
    return field(default=None, metadata={**facts, "type": stream_number})


@dataclass(frozen=True, slots=True)
class StreamChoice:
    """Streams of a film that the user asked for; :mod:`memobert_plugin.core.flags` turns the fields into flags."""

    language: str | None = field(
        default=None,
        metadata={
            "help": "of the subtitles and of the sound: en, eng, english, pt-BR …; compared with the names of subtitle "
            "files (film.en.srt) and with the marks of streams inside films",
            "metavar": "NAME",
        },
    )
    subtitle_stream: int | None = _number_flag("subtitle")
    audio_stream: int | None = _number_flag("audio")
    video_stream: int | None = _number_flag("video")


ANY_STREAMS: Final = StreamChoice()
"""Nothing asked for: the streams that players take, dialogue first."""


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """Facts that a film states about one of its streams."""

    index: int
    kind: Kind
    codec: str
    language: str = ""
    """Such as ``eng``; empty where the film does not say."""
    title: str = ""
    flags: frozenset[str] = frozenset()
    """FFmpeg's dispositions, such as ``default`` and ``comment``."""

    def __str__(self) -> str:
        marks = [self.language or "no language", *([f'"{self.title}"'] if self.title else []), *sorted(self.flags)]
        return f"{self.index} ({', '.join(marks)}, {self.codec})"

    @property
    def is_cover(self) -> bool:
        """Return True for a video stream that is a picture about the film, not the film."""
        return bool(self.flags & {"attached_pic", "timed_thumbnails", "still_image"})


class Chosen(NamedTuple):
    """A stream, and what to tell the user of the choice (empty: there was none to make)."""

    stream: StreamFacts
    remark: str


# --- languages ------------------------------------------------------------------------------------------------------


class Language(NamedTuple):
    """A language as ISO 639-3 writes it, with the script or region of a BCP 47 tag."""

    code: str
    wider: str
    """The macrolanguage (``nor`` of ``nob``), else the code itself."""
    in_639_2: bool
    """Not one of the thousands of ISO 639-3 alone, such as ``sdh``."""
    script: str = ""
    region: str = ""

    @property
    def codes(self) -> tuple[str, ...]:
        """Return the codes of ISO 639-1 and 639-3, then that of ISO 639-1 of the macrolanguage, as far as they are."""
        from iso639 import Lang

        short, wide = (Lang(pt3=code).pt1 for code in (self.code, self.wider))
        return tuple(filter(None, (short, self.code, wide)))


_TAG: Final = re.compile(
    r"([a-z]{2,3})(?:[-_]([a-z]{4}))?(?:[-_]([a-z]{2}|[0-9]{3}))?(?:[-_][a-z0-9]+)*", re.IGNORECASE
)
_NAMED: Final = {
    # Names in use that ISO 639-3 lists otherwise ("Modern Greek (1453-)"), withdrawn codes, and tags of subtitle sites.
    "greek": "el", "farsi": "fa", "mandarin": "zh", "cantonese": "yue", "brazilian": "pt-BR", "swahili": "sw",
    "malay": "ms", "nepali": "ne", "occitan": "oc", "oriya": "or", "punjabi": "pa", "kurdish": "ku", "latvian": "lv",
    "estonian": "et", "azerbaijani": "az", "albanian": "sq", "bokmal": "nb", "nynorsk": "nn", "filipino": "fil",
    "iw": "he", "in": "id", "ji": "yi", "jw": "jv", "jp": "ja", "cn": "zh", "chs": "zh-Hans", "cht": "zh-Hant",
    "pob": "pt-BR", "pb": "pt-BR", "ptbr": "pt-BR", "simplified chinese": "zh-Hans", "traditional chinese": "zh-Hant",
    "brazilian portuguese": "pt-BR", "castilian": "es", "latin american spanish": "es-419",
}  # fmt: skip
_REGIONS: Final = {"us": "us", "usa": "us", "uk": "gb", "brazil": "br", "simplified": "hans", "traditional": "hant"}
UNMARKED: Final = frozenset({"", "und", "mis", "zxx", "mul", "qaa", "unk", "unknown", "undetermined"})
"""Marks that name no language."""


@cache
def parse_language(name: str) -> Language | None:
    """Return the language that a code of ISO 639-1, 639-2 or 639-3, a BCP 47 tag or an English name stands for.

    iso639-lang (2 MB, no dependencies) has the codes; langcodes needs 24 MB of data for names, and pycountry 23.

    Raises:
        UserError: iso639-lang is missing.
    """
    name = " ".join(re.sub(r"[()\[\],]+", " ", name).split()).casefold()
    if name in UNMARKED:
        return None
    words = name.split(" ")
    if name not in _NAMED and len(words) > 1 and words[-1] in _REGIONS:  # "English (US)", "Chinese (Simplified)"
        found, place = parse_language(" ".join(words[:-1])), _REGIONS[words[-1]]
        return found and (found._replace(script=place) if len(place) == 4 else found._replace(region=place))
    match = _TAG.fullmatch(_NAMED.get(name, name))
    code, script, region = (match[1], match[2] or "", match[3] or "") if match else (name, "", "")
    if match and code in _NAMED:  # in-ID, iw-IL
        code = _NAMED[code]
    found = _iso639(code)
    return found and found._replace(script=script.casefold(), region=region.casefold())


def _iso639(code: str) -> Language | None:
    try:
        # Of iso639-lang; python-iso639 installs another module of this name over it.
        from iso639 import Lang
        from iso639.exceptions import DeprecatedLanguageValue, InvalidLanguageValue
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError):
            raise UserError(f"--language needs iso639-lang: {pip_install('video')}") from None
        raise UserError(
            "--language: python-iso639 lies over iso639-lang, and both install the module iso639; "
            "pip install --force-reinstall iso639-lang"
        ) from None
    # Codes are lower case and names begin with a capital: "En" is a language of Papua.
    for spelling in (code.lower(), code.title(), f"{code.title()} (macrolanguage)"):
        try:
            found = Lang(spelling)
        except (InvalidLanguageValue, DeprecatedLanguageValue):
            continue
        if found.pt3:
            wider = found.macro()
            return Language(found.pt3, wider.pt3 if wider else found.pt3, bool(found.pt2t))
    return None


def wanted_language(name: str) -> Language:
    """Return the language of ``--language``.

    Raises:
        UserError: no language has this name.
    """
    found = parse_language(name)
    if found is None:
        raise UserError(f"--language {name}: not a language; give a code or a name such as en, eng, english or pt-BR")
    return found


def respelled(noted: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of an earlier run, with ``language`` spelled as ``asked`` does where both name the same one.

    Args:
        noted: as the earlier run was given them.
        asked: this run's.
    """
    one, other = noted.get("language"), asked.get("language")
    if isinstance(one, str) and isinstance(other, str) and parse_language(one) == parse_language(other) is not None:
        return {**noted, "language": other}
    return dict(noted)


def agreement(wanted: Language, mark: str) -> int:
    """Return 0 where ``mark`` names another language or none, else 1 and one more for each part that is equal."""
    found = parse_language(mark)
    if found is None or (wanted.code not in (found.code, found.wider) and found.code != wanted.wider):
        return 0
    pairs = ((wanted.script, found.script), (wanted.region, found.region))
    if any(one and other and one != other for one, other in pairs):
        return 0
    return 1 + (wanted.code == found.code) + sum(one == other for one, other in pairs)


# --- what a stream or file is for -----------------------------------------------------------------------------------

DIALOGUE, CAPTIONS, PARTIAL, COMMENTARY = range(4)
"""Purposes, the preferred first: dialogue; dialogue and noises for the hard of hearing; signs, songs or forced lines
only; commentary and audio description."""

_FLAGS: Final = (
    (COMMENTARY, {"comment", "descriptions", "visual_impaired", "clean_effects", "metadata"}),
    (PARTIAL, {"forced", "lyrics", "karaoke"}),
    (CAPTIONS, {"hearing_impaired", "captions"}),
)
_WORDS: Final = (
    (COMMENTARY, re.compile(r"\b(?:comment|commentary|comments|kommentar|commentaire|comentario\w*|descri\w+|ad)\b")),
    (PARTIAL, re.compile(r"\b(?:forced|foreign|forcé|erzwungen|signs?|songs?|lyrics|karaoke|s&s)\b")),
    (CAPTIONS, re.compile(r"\b(?:sdh|cc|hi|hoh|deaf|hearing|impaired|captions?|gehörlos\w*|hörgeschädigt\w*)\b")),
)
_WHOLE: Final = re.compile(r"\b(?:dialog(?:ue)?s?|full|complete)\b")


def purpose(flags: Iterable[str], words: str) -> int:
    """Return what a stream is for, by its dispositions and by the words of its title or of a file's name."""
    given = frozenset(flags)
    for kind, known in _FLAGS:
        if given & known:
            return kind
    words = words.casefold()
    named = [kind for kind, pattern in _WORDS if pattern.search(words)]
    if _WHOLE.search(words):  # "Dialogue + signs"
        named = [kind for kind in named if kind != PARTIAL]
    return named[0] if named else DIALOGUE


# --- streams --------------------------------------------------------------------------------------------------------


def listed(streams: Sequence[StreamFacts]) -> str:
    """Name streams for a message."""
    return ", ".join(map(str, streams)) if streams else "none"


def numbered(path: Path, streams: Sequence[StreamFacts], kind: Kind, number: int) -> StreamFacts:
    """Return the stream of this kind with the number that the user gave.

    Raises:
        DefectiveClip: the film has no such stream; the message lists those that it has.
    """
    there = [stream for stream in streams if stream.kind == kind]
    for stream in there:
        if stream.index == number and not (kind == "video" and stream.is_cover):
            return stream
    there = [stream for stream in there if not stream.is_cover]
    raise DefectiveClip(f"{path}: --{kind}-stream {number}: no such {kind} stream; there are: {listed(there)}")


def choose_video(path: Path, streams: Sequence[StreamFacts], choice: StreamChoice, best: int | None) -> Chosen | None:
    """Return the pictures' stream: the one asked for, else FFmpeg's choice ``best``; covers are no pictures.

    Raises:
        DefectiveClip: no stream has the number asked for.
    """
    if choice.video_stream is not None:
        return Chosen(numbered(path, streams, "video", choice.video_stream), "")
    there = [stream for stream in streams if stream.kind == "video" and not stream.is_cover]
    there.sort(key=lambda stream: (stream.index != best, "default" not in stream.flags, stream.index))
    return Chosen(there[0], _others("pictures", there)) if there else None


def choose_audio(path: Path, streams: Sequence[StreamFacts], choice: StreamChoice, best: int | None) -> Chosen | None:
    """Return the sound's stream: by number, by language, dialogue first, then FFmpeg's choice ``best``.

    Sound without a mark of its language stands in for the language asked for, and so does a film's only sound.

    Raises:
        DefectiveClip: no stream has the number, or of several none has the language asked for.
    """
    there = [stream for stream in streams if stream.kind == "audio"]
    if choice.audio_stream is not None:
        taken = numbered(path, streams, "audio", choice.audio_stream)
        return Chosen(taken, _others("sounds", [taken, *(each for each in there if each is not taken)]))
    if not there:
        return None
    remark = ""
    agreeing = dict.fromkeys(there, 1)
    if choice.language is not None:
        wanted = wanted_language(choice.language)
        agreeing = {stream: score for stream in there if (score := agreement(wanted, stream.language))}
        if not agreeing:
            agreeing = {stream: 1 for stream in there if stream.language.casefold() in UNMARKED}
            if not agreeing and len(there) > 1:
                raise DefectiveClip(
                    f"{path}: no sound in language {choice.language}; there are: {listed(there)}; "
                    "--audio-stream takes one of them"
                )
            if not agreeing:
                agreeing, remark = {there[0]: 1}, f"no sound marked {choice.language}: stream {there[0]} taken"
    ranked = sorted(
        there,
        key=lambda stream: (
            stream not in agreeing,
            purpose(stream.flags, stream.title),
            -agreeing.get(stream, 0),
            "default" not in stream.flags,
            stream.index != best,
            stream.index,
        ),
    )
    return Chosen(ranked[0], remark or _others("sounds", ranked))


def _others(what: str, ranked: Sequence[StreamFacts]) -> str:
    """Say which of several streams was taken."""
    if len(ranked) < 2:
        return ""
    return f"{len(ranked)} {what}: stream {ranked[0]} taken, not {listed(ranked[1:])}"
