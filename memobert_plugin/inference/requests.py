"""Turn clips, a film's subtitles, stretches of equal length or a manifest into utterances, and answer them in order."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from ..core.errors import DefectiveClip, UserError
from ..core.files import is_stream
from ..core.names import counted
from ..data.folds import natural_order
from ..data.frame_making import made_otherwise
from ..data.frames import ExtractorInfo, frame_file, read_extractor_info, read_frames
from ..data.manifest import TRANSCRIBED, manifest_notes, media_path, read_manifest
from ..features.media.container import FILM_SUFFIXES, media_facts
from ..features.media.sound import SOUND_SUFFIXES, sound_seconds
from ..features.media.streams import ANY_STREAMS, StreamChoice
from .faces import PICTURE_SUFFIXES
from .prediction import Prediction
from .utterance import Evidence, Utterance

if TYPE_CHECKING:
    from ..features.extraction.transcription import TranscribeOptions
    from .explain import Course, Explanation
    from .network import Network

REGIONS: dict[str, Literal["left", "right"]] = {"left": "left", "right": "right"}
EMBEDDED = "embedded"
"""Given instead of a subtitle file: the film's own subtitles."""
SHORTEST_WINDOW = 0.4
"""Seconds; a shorter rest at a clip's end is left out."""


@dataclass(frozen=True)
class Request:
    """Utterances to be read.

    Attributes:
        utterances: in order.
        remarks: for the user.
        timeline: True if the utterances follow each other in one file.
    """

    utterances: list[Utterance]
    remarks: list[str]
    timeline: bool = False


def of_clips(clips: Iterable[Path], text: str = "") -> Request:
    """Make an utterance of each file, of every film and sound file at any depth of a folder, or, where there are none,
    of each folder of face pictures.

    Raises:
        UserError: a folder without media, or one text for several clips.
    """
    utterances = [Utterance(path, text, name=name) for clip in clips for path, name in _files(clip)]
    names = Counter(one.title for one in utterances)
    utterances = [replace(one, name=one.file) if names[one.title] > 1 else one for one in utterances]
    if text and len(utterances) > 1:
        raise UserError(f"--text: one text for {len(utterances)} clips; give a --manifest with a text for each")
    if not utterances and text:
        utterances = [Utterance(text=text, name="text")]
    return Request(utterances, [])


def of_subtitles(film: Path, subtitles: str, streams: StreamChoice = ANY_STREAMS) -> Request:
    """Make an utterance of each line of a film's subtitles.

    Args:
        film: the film or sound file.
        subtitles: a file, or :data:`EMBEDDED`.
        streams: the film's streams that the user asked for.

    Raises:
        UserError: no usable line, or a package is missing.
        DefectiveClip: film or subtitles cannot be read.
    """
    from ..features.media.subtitles import LineRules, embedded_subtitles, read_subtitles, usable_lines

    rate = media_facts(film, streams).picture_rate if film.suffix.lower() in FILM_SUFFIXES else None
    if subtitles == EMBEDDED:
        found = embedded_subtitles(film, streams)
    else:
        found = read_subtitles(Path(subtitles), picture_rate=rate, language=streams.language)
    lines, dropped = usable_lines(found.lines, sound_seconds(film), LineRules(shortest=SHORTEST_WINDOW))
    if not lines:
        reason = dropped[0].reason if dropped else "no line"
        raise UserError(
            f"{found.origin}: none of its {counted(len(found.lines), 'line')} can be used (the first: {reason})"
        )
    utterances = [
        Utterance(
            film,
            line.text,
            line.start,
            line.end,
            name=f"{film.name} {_clock(line.start)}",
            text_source="subtitles",
            speaker=line.speaker,
        )
        for line in lines
    ]
    remarks = [found.remark] if found.remark else []
    if dropped:
        remarks.append(
            f"{len(dropped)} of {counted(len(found.lines), 'line')} left out (the first: {dropped[0].reason})"
        )
    return Request(utterances, remarks, timeline=True)


def of_transcript(film: Path, options: TranscribeOptions, streams: StreamChoice = ANY_STREAMS) -> Request:
    """Make an utterance of each line that is heard in a film or sound file.

    Raises:
        UserError: no words were recognised, or the recogniser cannot be loaded.
        DefectiveClip: the film cannot be read.
    """
    from ..features.extraction.transcription import build_transcriber
    from ..features.media.sound import SoundReader
    from .speech import marked_language

    with SoundReader(film, streams) as sound:
        heard = build_transcriber(options).lines(sound, film, 0.0, sound_seconds(film), marked_language(film, streams))
    lines = [line for line in heard if line.end - line.start >= SHORTEST_WINDOW]
    if not lines:
        raise UserError(f"{film}: no words were recognised in its sound; cut it by --every")
    utterances = [
        Utterance(
            film,
            line.text,
            line.start,
            line.end,
            name=f"{film.name} {_clock(line.start)}",
            text_source=TRANSCRIBED,
            transcript=line.transcript,
        )
        for line in lines
    ]
    return Request(utterances, [], timeline=True)


def of_subtitles_or_transcript(film: Path, options: TranscribeOptions, streams: StreamChoice = ANY_STREAMS) -> Request:
    """Make an utterance of each line of a film's own subtitles; where it has none, of each line that is heard.

    Raises:
        UserError, DefectiveClip: see :func:`of_subtitles` and :func:`of_transcript`.
    """
    try:
        return of_subtitles(film, EMBEDDED, streams)
    except DefectiveClip:
        return of_transcript(film, options, streams)


def of_windows(clip: Path, seconds: float, streams: StreamChoice = ANY_STREAMS) -> Request:
    """Cut a long clip into stretches of about equal length, in pauses of the voice within half a second of each end.

    Args:
        clip: the film or sound file.
        seconds: length of a stretch; no stretch becomes shorter than :data:`SHORTEST_WINDOW`.
        streams: the film's streams that the user asked for; the voice is that of this sound.

    Raises:
        UserError: the file does not say how long it is.
        DefectiveClip: it cannot be opened, or lacks a stream that the user asked for.
    """
    is_film = clip.suffix.lower() in FILM_SUFFIXES
    lasts = media_facts(clip, streams).duration if is_film else sound_seconds(clip)
    if lasts is None:
        raise UserError(f"{clip}: does not say how long it is; --every needs that")
    count = max(1, int(lasts // seconds) + (lasts % seconds >= SHORTEST_WINDOW))
    ends = [index * seconds for index in range(1, count)]
    bounds = [0.0, *_unless_too_short(ends, _at_pauses(clip, ends, seconds, streams), lasts), lasts]
    utterances = [
        Utterance(clip, start=start, end=end, name=f"{clip.name} {_clock(start)}") for start, end in pairwise(bounds)
    ]
    return Request(utterances, [], timeline=True)


def _at_pauses(clip: Path, ends: list[float], seconds: float, streams: StreamChoice) -> list[float]:
    """Move each end to the nearest pause of the voice, by at most half a second and a quarter of a stretch."""
    from ..features.media.sound import SoundReader
    from ..features.speakers.voice import nearest_pause

    reach, around = min(0.5, seconds / 4), 2.0
    moved = []
    try:
        with SoundReader(clip, streams) as sound:
            for end in ends:
                first = max(0.0, end - around)
                pause = nearest_pause(sound.between(first, end + around), end - first, reach)
                moved.append(round(first + pause, 3))
    except DefectiveClip:  # Without sound, or with defective sound, the ends stay where they are.
        return ends
    return moved


def _unless_too_short(ends: list[float], moved: list[float], lasts: float) -> list[float]:
    """Return the moved ends, but an end as it was where a stretch beside it would become too short."""
    kept = [0.0]
    for at, (end, other) in enumerate(zip(ends, moved, strict=True)):
        following = ends[at + 1] if at + 1 < len(ends) else lasts
        kept.append(other if min(other - kept[-1], following - other) >= SHORTEST_WINDOW else end)
    return kept[1:]


def of_manifest(manifest: Path, visual: Path | None = None, acoustic: Path | None = None) -> Request:
    """Make an utterance of each row: faces from its ``video``, sound from its ``audio``, else from the video.

    Args:
        manifest: the rows.
        visual: a folder of ready face frames, read instead of faces; a row without frames there has none.
        acoustic: a folder of ready speech frames, read instead of sound; where they are centred, nothing is subtracted.

    Raises:
        UserError: a defect of the manifest or of the frames.
    """
    utterances = []
    centered = acoustic is not None and read_extractor_info(acoustic).is_centered
    for row in read_manifest(manifest):
        video = media_path(manifest, row.video) if row.video else None
        audio = media_path(manifest, row.audio) if row.audio else None
        region = REGIONS.get(row.region)
        sound = audio if video else None
        source = TRANSCRIBED if row.text_source.startswith(TRANSCRIBED) else "manifest"
        one = Utterance(
            video or audio,
            row.text,
            row.start,
            row.end,
            region,
            sound,
            name=row.id,
            text_source=source,
            speaker=row.speaker,
        )
        faces, speech = (read_frames(frame_file(folder, row.id)) if folder else None for folder in (visual, acoustic))
        if faces is not None:
            one = replace(one, visual=faces.frames, expression=faces.expression)
        if speech is not None:
            mean = np.zeros(speech.frames.shape[1]) if centered else None
            one = replace(one, acoustic=speech.frames, voice_mean=mean)
        utterances.append(one)
    return Request(utterances, manifest_notes(manifest))


def refuse_other_frames(flag: str, folder: Path, trained: ExtractorInfo | None) -> None:
    """Check that a folder of ready frames is of the making that a model was trained on.

    Raises:
        UserError: no such folder, frames of another name, weights or rate, or centred ones where the model's are not.
    """
    if not folder.is_dir():
        raise UserError(f"{flag} {folder}: no such folder; give one with a file of frames for each utterance")
    found, known = read_extractor_info(folder), trained or ExtractorInfo()
    if different := made_otherwise(found, trained):
        raise UserError(f"{flag} {folder}: has other frames than the model was trained on ({different})")
    if found.is_centered and not known.is_centered:
        raise UserError(f"{flag} {folder}: its frames are less their speaker's mean, the model reads them as they are")


@dataclass(frozen=True)
class Outcome:
    """The result of one utterance.

    Attributes:
        utterance: the utterance.
        error: the reason why there is no answer; empty if there is one.
        prediction: the answer.
        evidence: the parts that were read, if an explanation was asked for.
        explanation: the parts that the answer relied on, if asked for.
        course: the answer as more and more of the clip is read, if asked for.
    """

    utterance: Utterance
    error: str = ""
    prediction: Prediction | None = None
    evidence: Evidence | None = None
    explanation: Explanation | None = None
    course: Course | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON line."""
        if self.prediction is not None:
            return self.prediction.to_dict()
        one = self.utterance
        return {
            "id": one.title,
            "file": one.file or None,
            "start": one.start,
            "end": one.end,
            "text": one.text,
            "error": self.error,
        }


class Answering(Protocol):
    """A model, as :func:`run` needs it; see :class:`.predictor.MEmoBERT`."""

    @property
    def network(self) -> Network: ...
    def read(self, utterance: Utterance, modalities: str | None = None) -> Evidence: ...
    def decide(
        self, evidence: Sequence[Evidence], *, leave_out: bool = False, compare: bool = False, batch_size: int = 16
    ) -> list[Prediction]: ...


def run(
    model: Answering,
    utterances: Iterable[Utterance],
    *,
    modalities: str | None = None,
    batch_size: int = 16,
    explained: bool = False,
) -> Iterator[Outcome]:
    """Read and answer utterances in order; a clip that cannot be used gives an error, and the others go on.

    After Ctrl-C what was read is still answered.

    Args:
        model: the model.
        utterances: in order.
        modalities: letters of those that may be read; None: those the model was trained on.
        batch_size: utterances that are answered at a time, and held in memory.
        explained: also answer without each modality, and keep evidence and explanations.

    Raises:
        UserError: a fault that concerns all clips: a missing package, missing weights, a wrong argument.
    """
    waiting: list[Evidence | Outcome] = []
    try:
        for utterance in utterances:
            try:
                waiting.append(model.read(utterance, modalities))
            except DefectiveClip as defect:
                waiting.append(Outcome(utterance, error=str(defect).removeprefix(f"{utterance.title}: ")))
            if len(waiting) >= batch_size:
                ready, waiting = waiting, []
                yield from _answered(model, ready, batch_size, explained)
    except KeyboardInterrupt:
        yield from _answered(model, waiting, batch_size, explained)
        raise
    yield from _answered(model, waiting, batch_size, explained)


def _answered(
    model: Answering, waiting: list[Evidence | Outcome], batch_size: int, explained: bool
) -> Iterator[Outcome]:
    evidence = [found for found in waiting if isinstance(found, Evidence)]
    answers = iter(model.decide(evidence, leave_out=explained, compare=True, batch_size=batch_size))
    for found in waiting:
        if isinstance(found, Outcome):
            yield found
        elif explained:
            from .explain import course, explain

            yield Outcome(
                found.utterance,
                prediction=next(answers),
                evidence=found,
                explanation=explain(model.network, found),
                course=course(model.network, found),
            )
        else:
            yield Outcome(found.utterance, prediction=next(answers))


def _files(clip: Path) -> Iterator[tuple[Path, str]]:
    """Yield files and folders of faces with their names, those in a folder by their path below it."""
    if not clip.exists():
        raise UserError(f"{clip}: no such file or folder")
    if not clip.is_dir():
        if is_stream(clip):
            raise UserError(f"{clip}: a pipe or a device, not a file; name a file, or read it as it comes with --live")
        yield clip, ""
        return
    media: dict[str, Path] = {}
    faces: dict[str, Path] = {}
    for folder, below, files in os.walk(clip):
        below[:] = [name for name in below if not name.startswith(".")]
        for path in (Path(folder, name) for name in files if not name.startswith(".")):
            if path.suffix.lower() in (*FILM_SUFFIXES, *SOUND_SUFFIXES):
                media[path.relative_to(clip).as_posix()] = path
            elif path.suffix.lower() in PICTURE_SUFFIXES:
                faces[path.parent.relative_to(clip).as_posix()] = path.parent
    found = media or faces
    if not found:
        raise UserError(f"{clip}: holds no film, no sound file and no picture")
    for name in natural_order(found):
        yield found[name], "" if name == "." else name


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:05.2f}"
