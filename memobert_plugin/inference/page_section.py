"""Collect what the page shows of one utterance: drawings, words, moments, and the same as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..core.names import CLASSES, DIMENSIONS, LABEL_THRESHOLD, SAMPLE_RATE
from ..features.media.thumbnails import jpeg_address
from ..pages.drawings import Tracks, emotion_colors, small_bar, small_bars, time_step
from .decision import dimensions_of, in_words, named
from .explain import Contribution, Explanation
from .faces import LONGEST_SHOWN
from .prediction import Prediction, bars
from .requests import Outcome
from .utterance import MODALITY_NAMES, Evidence

if TYPE_CHECKING:
    from markupsafe import Markup

    from ..checkpoints.model_description import ModelDescription

PLAIN_NAMES = {"l": "what is said", "v": "the face", "a": "the sound"}
"""The modalities on the page."""


@dataclass(frozen=True)
class Word:
    """A word of the text and the strength of its mark: -1 (against the answer) to 1 (for it)."""

    word: str
    strength: float
    value: float


@dataclass(frozen=True)
class LeftOut:
    """The answer with everything or without one modality; ``share`` is empty where several values make it."""

    without: str
    label: str
    share: str
    bar: Markup
    changes: bool


@dataclass(frozen=True)
class Moment:
    """Half a second of faces or sound, and the amount by which it spoke for the answer (positive) or against it."""

    time: float
    what: str
    value: float


@dataclass(frozen=True)
class Interval:
    """A stretch of the drawing as numbers; None where there is nothing to tell.

    Attributes:
        begin: seconds from the beginning of the file, as ``end``.
        faces: the amount by which its faces spoke for the answer.
        sound: the same of its sound.
        expression: the strongest expression of the face, with its share.
        answer: the answer when nothing after the stretch is read, in words; empty without.
    """

    begin: float
    end: float
    faces: float | None
    sound: float | None
    expression: tuple[str, float] | None
    answer: str


@dataclass(frozen=True)
class Section:
    """One utterance.

    Attributes:
        number: its place, for links.
        outcome: its result; media and explanation already dropped.
        bar: its probabilities or numbers.
        values: of each label, the filled share of its bar and the value in words.
        spoke_for: the answer that its words and moments are said to have spoken for.
        tracks: the rows over time; None for an utterance without time.
        track_notes: sentences on how to read these rows.
        has_course: True if the answer as more is read is among the rows.
        moments: the moments that mattered most, in order.
        intervals: the rows over time as numbers.
        legend: names whose colours are in the rows over time.
        words: the text's words.
        shares: (name, share) of the contributions.
        left_out: answers without each modality.
        absent: (name, reason) of modalities that were not read.
        detailed: True if more than the overview's row is shown.
        page: address of the page of details that shows it; empty: the page itself.
    """

    number: int
    outcome: Outcome
    bar: Markup | None = None
    values: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    spoke_for: str = ""
    tracks: Markup | None = None
    track_notes: Sequence[str] = ()
    has_course: bool = False
    moments: Sequence[Moment] = ()
    intervals: Sequence[Interval] = ()
    legend: Sequence[str] = ()
    words: Sequence[Word] = ()
    shares: Sequence[tuple[str, float]] = ()
    left_out: Sequence[LeftOut] = ()
    absent: Sequence[tuple[str, str]] = ()
    detailed: bool = False
    page: str = ""


def section(
    number: int, outcome: Outcome, description: ModelDescription, colors: Mapping[str, str], *, detailed: bool
) -> Section:
    """Collect what the page shows of one utterance."""
    answer, evidence = outcome.prediction, outcome.evidence
    bare = Outcome(outcome.utterance, outcome.error, answer)
    if answer is None:
        return Section(number, bare)
    given = {name: one.value for name, one in answer.dimensions.items()} or answer.probabilities
    bar, values = _bar(given, description, colors), values_of(given, description)
    if evidence is None or not detailed:
        return Section(number, bare, bar=bar, values=values)
    found = outcome.explanation
    shares = [(PLAIN_NAMES[letter], share) for letter, share in found.shares.items() if share] if found else []
    tracks, notes = _tracks(outcome, evidence, description, colors)
    return Section(
        number,
        bare,
        bar=bar,
        values=values,
        spoke_for=found.label if found else answer.label,
        tracks=tracks,
        track_notes=notes,
        has_course=tracks is not None and outcome.course is not None and len(outcome.course.seconds) > 1,
        moments=_moments(outcome, evidence) if found else (),
        intervals=_intervals(outcome, evidence, description),
        legend=_legend(outcome, evidence, description) if tracks is not None else (),
        words=_words(found.words) if found else (),
        shares=shares,
        left_out=_left_out(answer, given, description, colors),
        absent=[
            (PLAIN_NAMES[letter], answer.modalities[name].reason)
            for letter, name in MODALITY_NAMES.items()
            if not answer.modalities[name].present
        ],
        detailed=True,
    )


def values_of(given: Mapping[str, float], description: ModelDescription) -> dict[str, tuple[float, str]]:
    """Return for probabilities or numbers by label the filled share of each bar and the value in words."""
    if description.target_kind == DIMENSIONS:
        numbers = dimensions_of(description, given)
        found = bars({"dimensions": {name: asdict(one) for name, one in numbers.items()}})
        return {name: (share, f"{value} ({numbers[name].range})") for name, (share, value) in found.items()}
    values = {name: (share, f"{100 * share:.0f} %") for name, share in given.items()}
    if description.target_kind == CLASSES:
        return values
    decided = {True: "yes", False: "no"}
    return {name: (share, f"{value} ({decided[share >= LABEL_THRESHOLD]})") for name, (share, value) in values.items()}


def _bar(given: Mapping[str, float], description: ModelDescription, colors: Mapping[str, str]) -> Markup:
    """Draw the values of one answer in a row of a table."""
    if description.target_kind == CLASSES:
        return small_bar(given, colors)
    return small_bars(values_of(given, description), colors)


MOMENT_SECONDS = 0.5
MOST_MOMENTS = 4
_MOST_INTERVALS = 24


def _contributions(found: Explanation | None, evidence: Evidence) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return for the faces and the sound that were read: the name, times (n,) and contributions (n,)."""
    if found is None:
        return []
    both = (("the face", evidence.visual_times, found.visual), ("the sound", evidence.acoustic_times, found.acoustic))
    return [(name, times[: len(values)], values) for name, times, values in both if times is not None and len(values)]


def _moments(outcome: Outcome, evidence: Evidence) -> list[Moment]:
    begin = outcome.utterance.start or 0.0
    moments = []
    for name, times, values in _contributions(outcome.explanation, evidence):
        places = (times / MOMENT_SECONDS).astype(int)
        sums = np.bincount(places, weights=values)
        moments += [Moment(begin + MOMENT_SECONDS * at, name, float(sums[at])) for at in np.flatnonzero(sums)]
    strongest = sorted(moments, key=lambda one: -abs(one.value))[:MOST_MOMENTS]
    return sorted(strongest, key=lambda one: one.time)


def _intervals(outcome: Outcome, evidence: Evidence, description: ModelDescription) -> list[Interval]:
    """Return what the drawing shows as numbers, at most :data:`_MOST_INTERVALS` stretches."""
    streams = {name: (times, values) for name, times, values in _contributions(outcome.explanation, evidence)}
    ends = [float(times[-1]) + time_step(times) for times, _ in streams.values()]
    if not ends:
        return []
    step = max(MOMENT_SECONDS, max(ends) / _MOST_INTERVALS)
    begin, found = outcome.utterance.start or 0.0, []
    for start in np.arange(0.0, max(ends) - step / 10, step):
        sums = {}
        for name, (times, values) in streams.items():
            inside = (times >= start) & (times < start + step)
            sums[name] = float(values[inside].sum()) if inside.any() else None
        found.append(
            Interval(
                begin + float(start),
                begin + float(start) + step,
                sums.get("the face"),
                sums.get("the sound"),
                _expression_between(evidence, description, start, start + step),
                _answer_at(outcome, description, start + step),
            )
        )
    return found


def _expression_between(
    evidence: Evidence, description: ModelDescription, begin: float, end: float
) -> tuple[str, float] | None:
    times, shares = evidence.visual_times, evidence.expression
    if times is None or shares is None or not description.expression_classes:
        return None
    inside = (times >= begin) & (times < end)
    return _strongest(description.expression_classes, shares[inside].mean(axis=0)) if inside.any() else None


def _answer_at(outcome: Outcome, description: ModelDescription, end: float) -> str:
    course = outcome.course
    if course is None or len(course.seconds) < 2:
        return ""
    known = np.flatnonzero(course.seconds <= end + 1e-6)
    if not len(known):
        return ""
    given = named(description.labels, course.values[known[-1]])
    answer = in_words(description, given)
    return f"{answer} {given[answer]:.0%}".replace("%", " %") if description.target_kind == CLASSES else answer


def _strongest(names: Sequence[str], shares: np.ndarray) -> tuple[str, float]:
    return names[int(shares.argmax())], float(shares.max())


def _legend(outcome: Outcome, evidence: Evidence, description: ModelDescription) -> list[str]:
    """Return the names whose colours are in the drawing, each once."""
    has_course = outcome.course is not None and len(outcome.course.seconds) > 1
    drawn = [*description.expression_classes] if evidence.expression is not None else []
    colors = emotion_colors([*description.labels, *drawn])
    by_color = {colors[name]: name for name in [*(description.labels if has_course else ()), *drawn][::-1]}
    return list(by_color.values())[::-1]


def _words(words: Sequence[Contribution]) -> list[Word]:
    largest = max((abs(word.value) for word in words), default=0.0)
    return [Word(word.word, word.value / largest if largest else 0.0, word.value) for word in words]


def _left_out(
    answer: Prediction, given: Mapping[str, float], description: ModelDescription, colors: Mapping[str, str]
) -> list[LeftOut]:
    """Return the answer with everything, and those without each modality; none where none was asked for."""
    asked: dict[str, Mapping[str, float]] = {
        f"without {PLAIN_NAMES[letter]}": without
        for letter, name in MODALITY_NAMES.items()
        if (without := answer.modalities[name].without) is not None
    }
    rows = []
    for what, shares in ({"with everything": given} | asked if asked else {}).items():
        label = in_words(description, shares)
        share = f"{100 * shares[label]:.0f} %" if description.target_kind == CLASSES else ""
        changes = description.target_kind != DIMENSIONS and label != answer.label
        rows.append(LeftOut(what, label, share, _bar(shares, description, colors), changes))
    return rows


def _tracks(
    outcome: Outcome, evidence: Evidence, description: ModelDescription, colors: Mapping[str, str]
) -> tuple[Markup | None, list[str]]:
    """Draw everything of a clip that has a time, above one axis; return it with sentences on how to read it."""
    preview, found, way = evidence.preview, outcome.explanation, outcome.course
    limits = description.limits
    read_faces = _seconds_read(evidence.visual, evidence.visual_times, limits["visual_frames"])
    read_sound = _seconds_read(evidence.acoustic, evidence.acoustic_times, limits["acoustic_frames"])
    heard = 0.0 if preview.samples is None else len(preview.samples) / SAMPLE_RATE
    lasts = max(evidence.seconds or 0.0, heard, read_faces, read_sound)
    seconds = max(min(lasts, LONGEST_SHOWN), read_faces, read_sound)
    if not seconds:
        return None, []
    tracks = Tracks(seconds, f"{outcome.utterance.title} over time", colors)
    explained = [] if found is None else [values for values in (found.visual, found.acoustic) if len(values)]
    largest = max((float(np.abs(values).max()) for values in explained), default=0.0)
    shown = [(time, jpeg_address(rgb), rgb.shape[1], rgb.shape[0]) for time, rgb in preview.pictures if time < seconds]
    if shown:
        tracks.pictures("the clip", shown)
    if evidence.visual is not None and evidence.visual_times is not None:
        _face_rows(tracks, outcome, evidence, description, largest, read_faces)
    if preview.samples is not None and evidence.utterance.clip != evidence.utterance.sound:
        begin = tracks.height
        tracks.waveform("the sound", "shaded: speech", preview.samples, SAMPLE_RATE, preview.voiced or ())
        if evidence.acoustic is not None:
            tracks.shade_unread(read_sound, tracks.height - begin)
    if found is not None and evidence.acoustic_times is not None and len(found.acoustic):
        begin, times = tracks.height, evidence.acoustic_times
        tracks.contributions("what the answer relied on in the sound", times, time_step(times), found.acoustic, largest)
        tracks.shade_unread(read_sound, tracks.height - begin)
    if way is not None and len(way.seconds) > 1:
        ends = np.minimum(way.seconds, seconds)
        of_scale = np.array(
            [
                [share for share, _ in values_of(named(description.labels, row), description).values()]
                for row in way.values
            ]
        )
        numbers = description.target_kind == DIMENSIONS
        detail, ticks = ("each on its own scale", ("low", "", "high")) if numbers else ("", ("0%", "50%", "100%"))
        tracks.lines("the answer, as more is read", detail, ends, of_scale, description.labels, ticks)
    unread = any(0 < read < seconds for read in (read_faces, read_sound))
    label = found.label if found is not None else ""
    return tracks.svg(), list(_track_notes(evidence, label, len(explained), unread))


def _track_notes(evidence: Evidence, label: str, explained: int, unread: bool) -> Iterable[str]:
    if explained:
        yield f"Bars point up at moments that spoke for “{label}” and down at moments against it."
    if explained > 1:
        yield "Bars of faces and of sound have one scale."
    if unread:
        yield "Paler stretches were not read."
    if evidence.visual is not None and evidence.expression is not None:
        yield (
            "“Expression” is the guess of the network that prepares faces, from each picture alone; the answer above "
            "is not taken from it."
        )


def _face_rows(
    tracks: Tracks,
    outcome: Outcome,
    evidence: Evidence,
    description: ModelDescription,
    largest: float,
    read: float,
) -> None:
    times, faces, found = evidence.visual_times, evidence.preview.faces, outcome.explanation
    assert times is not None
    begin = tracks.height
    if faces is not None:
        wanted = [index for index, time in enumerate(times.tolist()) if tracks.holds(time)]
        tracks.faces("the face", "as read", [(float(times[index]), jpeg_address(faces[index])) for index in wanted])
    if found is not None and len(found.visual):
        tracks.contributions("what the answer relied on in the faces", times, time_step(times), found.visual, largest)
    expression = evidence.expression
    if expression is not None and description.expression_classes:
        tracks.stream("expression", "each face alone", times, expression, description.expression_classes)
    tracks.shade_unread(read, tracks.height - begin)


def _seconds_read(frames: np.ndarray | None, times: np.ndarray | None, limit: int) -> float:
    """Return the time at which the last frame that was read ends; 0 without frames."""
    if frames is None or times is None or not len(times):
        return 0.0
    return float(times[min(len(times), limit) - 1]) + time_step(times)
