"""Plan the extraction of a film: its lines, and the parts into which they are divided."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ....core.errors import DefectiveClip
from ....core.files import replaced_when_complete
from ....data.frames import frame_file
from ....data.manifest import TRANSCRIBED
from ...media.container import MediaFacts, media_facts
from ...media.movies import Movie
from ...media.sound import SoundReader
from ...media.streams import ANY_STREAMS, StreamChoice, agreement, parse_language, wanted_language
from ...media.subtitles import (
    DroppedLine,
    Line,
    LineRules,
    Subtitles,
    embedded_subtitles,
    read_subtitles,
    usable_lines,
)
from ..transcription import TranscribeOptions, build_transcriber

PLANS: Final = "plans"
UNSURE_WORDS: Final = "words of which the recogniser was unsure"
"""Reason for a transcribed line that is dropped."""


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """Settings for reading a film's lines and dividing them."""

    rules: LineRules = field(default_factory=LineRules)
    encoding: str | None = None
    """Of subtitle files; None: found out."""
    streams: StreamChoice = ANY_STREAMS
    """Of films with several: those that the user asked for."""
    part_minutes: float = 10.0
    """Of film in one part."""
    transcribe: TranscribeOptions | None = None
    """Writes the lines of films without subtitles; None: such films fail."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; streams that were not asked for are left out, so that older outputs stay valid."""
        asked = {
            name: value for name, value in asdict(self.streams).items() if name != "language" and value is not None
        }
        content = {"rules": asdict(self.rules), "encoding": self.encoding, "language": self.streams.language}
        if self.transcribe is not None:
            content["transcribe"] = self.transcribe.to_dict()
        return {**content, "part_minutes": self.part_minutes, **asked}


@dataclass(frozen=True, slots=True)
class FilmPlan:
    """A film's lines."""

    name: str
    path: Path
    duration: float | None = None
    """Seconds; None where the film does not say."""
    size: int = 0
    """Bytes."""
    lines: tuple[Line, ...] = ()
    """To be extracted."""
    dropped: tuple[DroppedLine, ...] = ()
    origin: str = ""
    """The file or stream of the lines."""
    remark: str = ""
    """Guesses and choices, for the user."""
    sound: str = ""
    """Sound stream that is read, where there are several."""
    text_source: str = ""
    """The manifest's column: empty for subtitles."""
    failure: str = ""
    """Reason for the film being unusable; empty where it is usable."""


@dataclass(frozen=True, slots=True)
class FilmPart:
    """Some minutes of a film: the unit of work that is done whole or not at all."""

    film: str
    path: Path
    index: int
    start: float
    """Its beginning in the film, in seconds."""
    seconds: float
    """Of the film."""
    lines: tuple[Line, ...]
    dropped: tuple[DroppedLine, ...]
    key: str
    """A hash of everything that the part's frames depend on."""
    sound: str = ""
    """Sound stream that is read, where there are several."""
    text_source: str = ""
    """The manifest's column: empty for subtitles."""

    @property
    def folder(self) -> Path:
        """Return the part's folder below the folder of all parts."""
        return Path(file_name(self.film), f"{self.index:04d}")


def file_name(film: str) -> str:
    """Return a film's name as the name of a file or folder."""
    return frame_file("", film).stem


def plan_film(movie: Movie, output: Path | None, settings: PlanSettings) -> FilmPlan:
    """Read a film's subtitles, or an earlier run's plan under ``output`` (None: write no plan).

    Raises:
        UserError: a package that is needed is missing.
    """
    try:
        stamp = _stamp(movie, settings)
    except OSError as error:
        return FilmPlan(movie.name, movie.path, failure=f"{movie.path}: cannot be read ({error.strerror})")
    if output is None:
        return _made_plan(movie, settings, dry_run=True)
    note = output / PLANS / f"{file_name(movie.name)}.json"
    noted = _read_note(note, stamp)
    if noted is not None:
        return noted
    plan = _made_plan(movie, settings)
    if not plan.failure:
        note.parent.mkdir(parents=True, exist_ok=True)
        content = {"stamp": stamp, **asdict(plan), "path": str(plan.path)}
        with replaced_when_complete(note) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")  # a path need not be UTF-8
    return plan


def parts_of(plan: FilmPlan, settings: PlanSettings, made_with: Mapping[str, Any]) -> Iterator[FilmPart]:
    """Divide a film by the start times of its lines; stretches without lines make no part.

    Args:
        plan: the film's lines.
        settings: how long a part is.
        made_with: the description of the extractors.
    """
    length = 60.0 * settings.part_minutes
    lines: dict[int, list[Line]] = defaultdict(list)
    dropped: dict[int, list[DroppedLine]] = defaultdict(list)
    for line in plan.lines:
        lines[int(line.start // length)].append(line)
    for each in plan.dropped:
        dropped[int(each.line.start // length)].append(each)
    last = (plan.duration or 0.0) - 1e-6
    dropped_beyond = [index for index in dropped if index * length > last and index not in lines]
    end = max(lines, default=int(max(last, 0.0) // length))
    for index in sorted(dropped_beyond):
        dropped[end].extend(dropped.pop(index))
    for index in sorted(lines.keys() | dropped.keys()):
        part = FilmPart(
            film=plan.name,
            path=plan.path,
            index=index,
            start=index * length,
            seconds=max(0.0, min(length, (plan.duration or float("inf")) - index * length)),
            lines=tuple(lines[index]),
            dropped=tuple(dropped[index]),
            key="",
            sound=plan.sound,
            text_source=plan.text_source,
        )
        content = {
            "film": part.film,
            "size": plan.size,
            "lines": [_line_dict(line) for line in part.lines],
            "dropped": [{"line": _line_dict(each.line), "reason": each.reason} for each in part.dropped],
            "made_with": made_with,
            **({"sound": plan.sound} if plan.sound else {}),
            **({"text_source": plan.text_source} if plan.text_source else {}),
        }
        digest = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16)
        yield replace(part, key=digest.hexdigest())


def _made_plan(movie: Movie, settings: PlanSettings, dry_run: bool = False) -> FilmPlan:
    try:
        facts = media_facts(movie.path, settings.streams)
        for there, what in ((facts.has_video, "video"), (facts.has_audio, "audio")):
            if not there:
                raise DefectiveClip(f"{movie.path}: no {what} stream")
        found = _subtitles(movie, facts, settings)
        if found is None:
            return _transcribed_plan(movie, facts, settings, dry_run)
    except DefectiveClip as defect:
        return FilmPlan(movie.name, movie.path, failure=str(defect))
    lines, dropped = usable_lines(found.lines, facts.duration, settings.rules)
    size = movie.path.stat().st_size
    heard = facts.audio.language if facts.audio is not None else ""
    read = found.language or movie.language
    # In this order: the table of languages takes a quarter of a second to import, and most subtitles say none.
    other = parse_language(read) and parse_language(heard) and not agreement(wanted_language(read), heard)
    warning = f"subtitles in {read}, sound in {heard} (--language takes both in one)" if other else ""
    chosen = "; ".join(filter(None, (facts.remark, warning)))
    chosen = f"{movie.path.name}: {chosen}" if chosen else ""
    return FilmPlan(
        movie.name,
        movie.path,
        facts.duration,
        size,
        tuple(lines),
        tuple(dropped),
        found.origin,
        "\n".join(filter(None, (movie.remark, found.remark, chosen))),
        facts.audio_remark,
    )


def _transcribed_plan(movie: Movie, facts: MediaFacts, settings: PlanSettings, dry_run: bool) -> FilmPlan:
    """Make the plan of a film whose words are transcribed; a dry run only says that they will be.

    Raises:
        DefectiveClip: its sound cannot be read, or has no words.
    """
    size, film = movie.path.stat().st_size, movie.path.name
    if dry_run:
        remark = f"{film}: no subtitles; its lines will be transcribed"
        return FilmPlan(movie.name, movie.path, facts.duration, size, remark=remark)
    assert settings.transcribe is not None
    mark = facts.audio.language if facts.audio is not None else ""
    try:
        with SoundReader(movie.path, settings.streams) as sound:
            heard = build_transcriber(settings.transcribe).lines(sound, movie.path, 0.0, facts.duration, mark)
    except DefectiveClip as defect:
        raise DefectiveClip(f"{movie.path}: {str(defect).removeprefix(f'{movie.path}: ')}") from None
    if not heard:
        raise DefectiveClip(f"{movie.path}: no subtitles, and no words were recognised in its sound")
    numbered = [Line(line.start, line.end, line.text, number) for number, line in enumerate(heard, start=1)]
    unsure = {line.number for line, each in zip(numbered, heard, strict=True) if each.transcript.unsure}
    lines, dropped = usable_lines(
        [line for line in numbered if line.number not in unsure], facts.duration, settings.rules
    )
    dropped += [DroppedLine(line, UNSURE_WORDS) for line in numbered if line.number in unsure]
    origin = heard[0].transcript
    told = (
        f"{film}: lines transcribed: {len(heard)}, by {origin.recognizer} (sha256 {origin.sha256}), language "
        f"{origin.language}"
    )
    return FilmPlan(
        movie.name,
        movie.path,
        facts.duration,
        size,
        tuple(lines),
        tuple(sorted(dropped, key=lambda each: each.line.number)),
        f"transcribed by {origin.recognizer}, sha256 {origin.sha256}, language {origin.language}",
        "\n".join(filter(None, (told, facts.remark and f"{film}: {facts.remark}"))),
        facts.audio_remark,
        f"{TRANSCRIBED} {origin}",
    )


def _subtitles(movie: Movie, facts: MediaFacts, settings: PlanSettings) -> Subtitles | None:
    """Read a film's subtitle file, or its stream; the stream too where the file holds only forced lines or the like.

    None where the film has neither and its words are to be transcribed.
    """
    if movie.subtitles is None or movie.partial:
        try:
            return embedded_subtitles(movie.path, settings.streams, movie.others)
        except DefectiveClip:
            if movie.subtitles is None:
                if settings.transcribe is not None and settings.streams.subtitle_stream is None:
                    return None
                raise
    return read_subtitles(movie.subtitles, settings.encoding, facts.picture_rate, settings.streams.language)


def _line_dict(line: Line) -> dict[str, Any]:
    """Return a line's values; empty ones that older versions did not know are left out, so that keys stay equal."""
    return {name: value for name, value in asdict(line).items() if value or name not in ("speaker", "words")}


def _stamp(movie: Movie, settings: PlanSettings) -> str:
    """Return a hash that changes when the film or its subtitles may have changed."""
    parts: list[object] = [str(movie.path), str(movie.subtitles), settings.to_dict(), movie.remark]
    for path in filter(None, (movie.path, movie.subtitles)):
        facts = path.stat()
        parts += [facts.st_size, facts.st_mtime_ns]
    return hashlib.blake2b(json.dumps(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _read_note(note: Path, stamp: str) -> FilmPlan | None:
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        if content.pop("stamp") != stamp:
            return None
        lines = tuple(Line(**{**line, "words": ()}) for line in content.pop("lines"))
        dropped = tuple(
            DroppedLine(Line(**{**each["line"], "words": ()}), each["reason"]) for each in content.pop("dropped")
        )
        return FilmPlan(lines=lines, dropped=dropped, path=Path(content.pop("path")), **content)
    except (OSError, ValueError, KeyError, TypeError):
        return None
