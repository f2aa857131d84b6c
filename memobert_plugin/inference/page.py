"""Write the HTML page that shows answers and the words, faces and sounds that they relied on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..checkpoints.model_description import PROMPTED
from ..core.errors import UserError
from ..core.files import replaced_when_complete
from ..core.names import SAMPLE_RATE
from ..features.media.thumbnails import jpeg_address
from ..pages.drawings import Tracks, emotion_colors, small_bar, time_step
from ..pages.template import load_template
from .explain import METHOD, Contribution
from .faces import LONGEST_SHOWN
from .prediction import Prediction, model_notes
from .requests import Outcome
from .utterance import MODALITY_NAMES, Evidence

if TYPE_CHECKING:
    from markupsafe import Markup

    from ..checkpoints.model_description import ModelDescription

MOST_DETAILED = 60
"""Utterances that are shown with details; the others are in the overview only."""
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
    """The answer without one modality."""

    without: str
    label: str
    share: float
    bar: Markup
    changes: bool


@dataclass(frozen=True)
class Section:
    """One utterance.

    Attributes:
        number: its place, for links.
        outcome: its result; media and explanation already dropped.
        bar: its probabilities.
        tracks: the rows over time; None for an utterance without time.
        track_notes: sentences on how to read these rows.
        has_course: True if the answer as more is read is among the rows.
        words: the text's words.
        shares: (name, share) of the contributions.
        left_out: answers without each modality.
        absent: (name, reason) of modalities that were not read.
        detailed: True if more than the overview's row is shown.
    """

    number: int
    outcome: Outcome
    bar: Markup | None = None
    tracks: Markup | None = None
    track_notes: Sequence[str] = ()
    has_course: bool = False
    words: Sequence[Word] = ()
    shares: Sequence[tuple[str, float]] = ()
    left_out: Sequence[LeftOut] = ()
    absent: Sequence[tuple[str, str]] = ()
    detailed: bool = False


class Page:
    """A page that takes outcomes one by one and keeps no media but the small pictures that are shown.

    Args:
        description: the model's.
        timeline: True if the utterances follow each other in one file.
        weights_license: of the model's weights, where it is known.
        title: the clips' name; empty: from the utterances.
    """

    def __init__(
        self, description: ModelDescription, timeline: bool, weights_license: str = "", title: str = ""
    ) -> None:
        self._description, self._timeline, self._license = description, timeline, weights_license
        self._given_title = title
        self._colors = emotion_colors([*description.labels, *description.expression_classes])
        self._sections: list[Section] = []

    def add(self, outcome: Outcome) -> None:
        """Add one utterance."""
        number = len(self._sections)
        detailed = number < MOST_DETAILED
        self._sections.append(section(number, outcome, self._description, self._colors, detailed=detailed))

    def write(self, path: Path) -> None:
        """Write the page, completely or not at all.

        Raises:
            UserError: it cannot be written.
        """
        try:
            with replaced_when_complete(path, named_by_user=True) as temporary:
                temporary.write_text(self.render(), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}); name another file") from None

    def render(self) -> str:
        """Return the page's HTML; text from files is escaped."""
        from ..core.version import VERSION

        answered = [one for one in self._sections if one.outcome.prediction is not None]
        answers = [one.outcome.prediction for one in answered if one.outcome.prediction is not None]
        return load_template(Path(__file__).with_name("page.html")).render(
            title=self._title(),
            lead=lead(answers, self._description.labels),
            model_notes=model_notes(self._description) if answers else (),
            colors=self._colors,
            answered=answered,
            has_text=any(answer.text for answer in answers),
            failed=[one for one in self._sections if one.outcome.prediction is None],
            overview=self._overview() if self._timeline else None,
            timeline=self._timeline,
            open_details=len(answered) <= 3,
            most_detailed=MOST_DETAILED,
            blank=self._description.template.replace("[MASK]", "____"),
            explanations=[*self._explanations(answered), *self._facts(), ("made by", f"memobert-predict {VERSION}")],
        )

    def _title(self) -> str:
        if self._given_title:
            return self._given_title
        files = {str(one.outcome.utterance.clip) for one in self._sections}
        if len(files) == 1 and self._sections[0].outcome.utterance.clip is not None:
            return self._sections[0].outcome.utterance.clip.name
        return f"{len(self._sections)} clips" if len(self._sections) > 1 else self._sections[0].outcome.utterance.title

    def _overview(self) -> Markup:
        """Draw the emotion timeline of a film."""
        spans = []
        for one in self._sections:
            utterance, answer = one.outcome.utterance, one.outcome.prediction
            title = f"{utterance.start or 0.0:.1f} s {utterance.text}".strip()
            shares = None if answer is None else answer.probabilities
            spans.append((utterance.start or 0.0, utterance.end or 0.0, shares, title))
        begin, end = min(span[0] for span in spans), max(span[1] for span in spans)
        if begin < end / 3:
            begin = 0.0
        shifted = [(start - begin, stop - begin, shares, title) for start, stop, shares, title in spans]
        tracks = Tracks(end - begin, "probabilities over the time of the film", self._colors, begin)
        tracks.columns("emotions", "", shifted)
        tracks.legend(self._description.labels)
        return tracks.svg()

    def _explanations(self, answered: Sequence[Section]) -> list[tuple[str, str]]:
        """Explain the parts that this page has, and no others."""
        rows = []
        if answered:
            rows.append(
                (
                    "probabilities",
                    "How the model divides its belief among the emotions it knows; they add up to 100 %. How often a "
                    "model is right is not on this page: see the numbers it was published with.",
                )
            )
            rows.append(("confidence, unsure", self._confidence()))
        heard = {each for one in answered if (each := _recognizer(one.outcome.prediction))}
        if heard:
            count = sum(bool(_recognizer(one.outcome.prediction)) for one in answered)
            rows.append(
                (
                    "transcribed",
                    f"In {count} of {len(answered)} utterances nobody gave the words; they were recognised in the "
                    f"sound by {_listed(sorted(heard))}. Where the recogniser was unsure, a warning says so.",
                )
            )
        if any(one.shares for one in answered):
            prompted = self._description.kind == PROMPTED
            place = "at the word to be filled in" if prompted else "at the text's first position"
            rows.append(("relied on, marked words", f"{METHOD} It is taken {place}, where the answer is read."))
        if any(one.left_out for one in answered):
            rows.append(
                (
                    "what if",
                    "The model was asked again without one of the things that it had read. This is no estimate: it is "
                    "its answer to the rest. If this and the marked words or bars disagree, trust this.",
                )
            )
        if any(one.has_course for one in answered):
            rows.append(
                (
                    "the answer, as more is read",
                    "The model was asked again with only the beginning of the clip; the words were complete from the "
                    "start.",
                )
            )
        return rows

    def _confidence(self) -> str:
        found = self._description.calibration
        unsure = "“Unsure” also stands where nothing that was read is like anything in a training."
        if found is None:
            return (
                "The probability of the answer. It was never compared with how often this model is right. Below 60 % "
                f"the answer is marked “unsure”. {unsure}"
            )
        sure = (
            "No answer of this model is right so often"
            if found.threshold >= 1
            else f"At {found.threshold:.0%} and above they were"
        )
        return (
            f"The probability of the answer, at {found.describe()}, fitted to "
            f"{found.utterances} answers about people the model was not trained on. “Unsure” stands where such answers "
            f"were right in less than 60 % of cases. {sure}. {unsure}"
        )

    def _facts(self) -> list[tuple[str, str]]:
        description = self._description
        facts = [("emotions it can choose from", ", ".join(description.labels))]
        if description.template:
            facts.append(("question it answers", description.template.replace("[MASK]", "____")))
        limits = description.limits
        units = {
            "l": (f"{limits['pieces']} word pieces", None, ""),
            "v": (f"{limits['visual_frames']} faces", description.visual_extractor, "faces"),
            "a": (f"{limits['acoustic_frames']} frames of sound", description.acoustic_extractor, "sound"),
        }
        trained = [units[letter] for letter in description.trained_on]
        for _, extractor, name in trained:
            if extractor is not None:
                rate = f", {extractor.frame_rate:.3g} frames per second" if extractor.frame_rate else ""
                facts.append((f"{name} prepared by", f"{extractor.name}{rate}"))
        longest = ", ".join(limit for limit, _, _ in trained)
        facts.append(("of an utterance it reads at most", f"{longest}, from the start"))
        for name in ("data", "updates", "selected_by", "best_value"):
            if name in description.training:
                value = description.training[name]
                shown = f"{value:.4g}" if isinstance(value, float) else str(value)
                facts.append((f"training: {name.replace('_', ' ')}", shown))
        if self._license:
            facts.append(("licence of the model's weights", self._license))
        return facts


def lead(answers: Sequence[Prediction], labels: Sequence[str]) -> str:
    """Write the page's first sentences: the modalities that were read, and the emotions to choose from."""
    choice = (
        f"{len(labels)} emotions fits best: {', '.join(labels)}. It chooses among these only, and such an estimate "
        "says nothing certain about what a person feels."
    )
    if not answers:
        return f"A trained model can estimate which of {choice} It has no answer for what it was given."
    counts = {
        letter: sum(answer.modalities[name].present for answer in answers) for letter, name in MODALITY_NAMES.items()
    }
    always = [PLAIN_NAMES[letter] for letter, count in counts.items() if count == len(answers)]
    at_times = [
        f"{PLAIN_NAMES[letter]} (in {count} of {len(answers)} clips)"
        for letter, count in counts.items()
        if 0 < count < len(answers)
    ]
    return f"A trained model read {_listed([*always, *at_times])}, and estimated which of {choice}"


def _recognizer(answer: Prediction | None) -> str:
    """Name the recogniser that wrote an answer's words; empty where they were given."""
    if answer is None or answer.transcript is None:
        return ""
    found = answer.transcript
    return f"{found.recognizer} (sha256 {found.sha256}, language {found.language})"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def section(
    number: int, outcome: Outcome, description: ModelDescription, colors: Mapping[str, str], *, detailed: bool
) -> Section:
    """Collect what the page shows of one utterance."""
    answer, evidence = outcome.prediction, outcome.evidence
    bare = Outcome(outcome.utterance, outcome.error, answer)
    if answer is None:
        return Section(number, bare)
    bar = small_bar(answer.probabilities, colors)
    if evidence is None or not detailed:
        return Section(number, bare, bar=bar)
    found = outcome.explanation
    shares = [(PLAIN_NAMES[letter], share) for letter, share in found.shares.items() if share] if found else []
    tracks, notes = _tracks(outcome, evidence, description, colors)
    return Section(
        number,
        bare,
        bar=bar,
        tracks=tracks,
        track_notes=notes,
        has_course=tracks is not None and outcome.course is not None and len(outcome.course.seconds) > 1,
        words=_words(found.words) if found else (),
        shares=shares,
        left_out=_left_out(answer, colors),
        absent=[
            (PLAIN_NAMES[letter], answer.modalities[name].reason)
            for letter, name in MODALITY_NAMES.items()
            if not answer.modalities[name].present
        ],
        detailed=True,
    )


def _words(words: Sequence[Contribution]) -> list[Word]:
    largest = max((abs(word.value) for word in words), default=0.0)
    return [Word(word.word, word.value / largest if largest else 0.0, word.value) for word in words]


def _left_out(answer: Prediction, colors: Mapping[str, str]) -> list[LeftOut]:
    rows = []
    for letter, name in MODALITY_NAMES.items():
        shares: Mapping[str, float] | None = answer.modalities[name].without
        if shares is not None:
            label = max(shares, key=lambda kind: shares[kind])
            rows.append(
                LeftOut(PLAIN_NAMES[letter], label, shares[label], small_bar(shares, colors), label != answer.label)
            )
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
        tracks.contributions("sound", times, time_step(times), found.acoustic, largest)
        tracks.shade_unread(read_sound, tracks.height - begin)
    if way is not None and len(way.seconds) > 1:
        ends = np.minimum(way.seconds, seconds)
        tracks.lines("the answer", "as more is read", ends, way.probabilities, description.labels)
        tracks.legend(description.labels)
    unread = any(0 < read < seconds for read in (read_faces, read_sound))
    label = found.label if found is not None else ""
    return tracks.svg(), list(_track_notes(evidence, label, len(explained), unread))


def _track_notes(evidence: Evidence, label: str, explained: int, unread: bool) -> Iterable[str]:
    if explained:
        yield f"Bars “relied on” point up at moments that spoke for “{label}” and down at moments against it."
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
        tracks.contributions("faces", times, time_step(times), found.visual, largest)
    expression = evidence.expression
    if expression is not None and description.expression_classes:
        tracks.stream("expression", "face alone", times, expression, description.expression_classes)
    tracks.shade_unread(read, tracks.height - begin)
    if expression is not None and description.expression_classes:
        tracks.legend(description.expression_classes)


def _seconds_read(frames: np.ndarray | None, times: np.ndarray | None, limit: int) -> float:
    """Return the time at which the last frame that was read ends; 0 without frames."""
    if frames is None or times is None or not len(times):
        return 0.0
    return float(times[min(len(times), limit) - 1]) + time_step(times)
