"""The page that a person reads: what the model made of some clips, and what its answers relied on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import UserError
from ..core.files import replaced_when_complete
from ..features.media.pictures import jpeg_address
from ..features.media.sound import SAMPLE_RATE
from ..pages.drawings import Tracks, emotion_colors, small_bar, time_step
from ..pages.template import load_template
from .explain import METHOD, Contribution
from .prediction import Prediction
from .run import Outcome
from .stills import LONGEST_SHOWN
from .utterance import MODALITY_NAMES, Evidence

if TYPE_CHECKING:
    from markupsafe import Markup

    from ..checkpoints.model_description import ModelDescription

MOST_DETAILED = 60
"""Utterances that are shown with all that belongs to them; the others only in the overview."""
PLAIN_NAMES = {"l": "what is said", "v": "the face", "a": "the voice"}


@dataclass(frozen=True)
class Word:
    """A word of the text and how strongly it is marked: -1 (against the answer) to 1 (for it)."""

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
        outcome: what became of it; media and explanation already dropped.
        bar: its probabilities.
        tracks: everything over time; None where there is no time.
        words: the text's words.
        shares: (name, share) of what was relied on.
        left_out: answers without each modality.
        absent: (name, reason) of what was not read.
        detailed: whether more than the overview's row is shown.
    """

    number: int
    outcome: Outcome
    bar: Markup | None = None
    tracks: Markup | None = None
    words: Sequence[Word] = ()
    shares: Sequence[tuple[str, float]] = ()
    left_out: Sequence[LeftOut] = ()
    absent: Sequence[tuple[str, str]] = ()
    detailed: bool = False


class Page:
    """Takes outcomes one by one, keeping no media but the small pictures that are shown.

    Args:
        description: of the model.
        timeline: whether the utterances follow each other in one file.
    """

    def __init__(self, description: ModelDescription, timeline: bool) -> None:
        self._description, self._timeline = description, timeline
        self._colors = emotion_colors([*description.labels, *description.expression_classes])
        self._sections: list[Section] = []

    def add(self, outcome: Outcome) -> None:
        """Add one utterance."""
        number = len(self._sections)
        detailed = number < MOST_DETAILED
        self._sections.append(section(number, outcome, self._description, self._colors, detailed=detailed))

    def write(self, path: Path) -> None:
        """Write the page, whole or not at all.

        Raises:
            UserError: it cannot be written.
        """
        try:
            with replaced_when_complete(path) as temporary:
                temporary.write_text(self.render(), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}); name another file") from None

    def render(self) -> str:
        """The page's HTML; whatever comes from a file is escaped."""
        from ..core.version import VERSION

        template = load_template(Path(__file__).with_name("page.html"))
        answered = [one for one in self._sections if one.outcome.prediction is not None]
        return template.render(
            colors=self._colors,
            title=self._title(),
            sections=self._sections,
            answered=answered,
            failed=[one for one in self._sections if one.outcome.prediction is None],
            overview=self._overview() if self._timeline else None,
            timeline=self._timeline,
            open_details=len(answered) <= 3,
            most_detailed=MOST_DETAILED,
            description=self._description,
            blank=self._description.template.replace("[MASK]", "____"),
            method=METHOD,
            facts=self._facts(),
            version=VERSION,
        )

    def _title(self) -> str:
        files = {str(one.outcome.utterance.clip) for one in self._sections}
        if len(files) == 1 and self._sections[0].outcome.utterance.clip is not None:
            return self._sections[0].outcome.utterance.clip.name
        return f"{len(self._sections)} clips" if len(self._sections) > 1 else self._sections[0].outcome.utterance.title

    def _overview(self) -> Markup:
        """The emotion timeline of a film."""
        spans = []
        for one in self._sections:
            asked, answer = one.outcome.utterance, one.outcome.prediction
            title = f"{asked.start or 0.0:.1f} s {asked.text}".strip()
            spans.append((asked.start or 0.0, asked.end or 0.0, answer.probabilities if answer else None, title))
        begin, end = min(span[0] for span in spans), max(span[1] for span in spans)
        if begin < end / 3:
            begin = 0.0
        shifted = [(start - begin, stop - begin, shares, title) for start, stop, shares, title in spans]
        tracks = Tracks(end - begin, "probabilities over the time of the film", self._colors, begin)
        tracks.columns("emotions", "", shifted)
        tracks.legend(self._description.labels)
        return tracks.svg()

    def _facts(self) -> list[tuple[str, str]]:
        description = self._description
        facts = [("emotions it can choose from", ", ".join(description.labels))]
        if description.template:
            facts.append(("question it answers", description.template.replace("[MASK]", "____")))
        for name, extractor in (("faces", description.visual_extractor), ("sound", description.acoustic_extractor)):
            if extractor is not None:
                rate = f", {extractor.frame_rate:.3g} frames per second" if extractor.frame_rate else ""
                facts.append((f"{name} prepared by", f"{extractor.name}{rate}"))
        limits = description.limits
        facts.append(
            (
                "of an utterance it reads at most",
                f"{limits['pieces']} word pieces, {limits['visual_frames']} faces, {limits['acoustic_frames']} frames "
                "of sound, from the start",
            )
        )
        for name in ("data", "updates", "selected_by", "best_value"):
            if name in description.training:
                value = description.training[name]
                shown = f"{value:.4g}" if isinstance(value, float) else str(value)
                facts.append((f"training: {name.replace('_', ' ')}", shown))
        return facts


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
    return Section(
        number,
        bare,
        bar=bar,
        tracks=_tracks(outcome, evidence, description, colors),
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
            bar = small_bar(shares, colors)
            rows.append(LeftOut(PLAIN_NAMES[letter], label, shares[label], bar, label != answer.label))
    return rows


def _tracks(
    outcome: Outcome, evidence: Evidence, description: ModelDescription, colors: Mapping[str, str]
) -> Markup | None:
    """Everything of a clip that has a time, above one axis."""
    preview, found, way = evidence.preview, outcome.explanation, outcome.course
    limits = description.limits
    read = [
        (float(times[min(len(times), limit) - 1]) + time_step(times)) if times is not None and len(times) else 0.0
        for times, limit in (
            (evidence.visual_times if evidence.visual is not None else None, limits["visual_frames"]),
            (evidence.acoustic_times if evidence.acoustic is not None else None, limits["acoustic_frames"]),
        )
    ]
    heard = 0.0 if preview.samples is None else len(preview.samples) / SAMPLE_RATE
    lasts = max(evidence.seconds or 0.0, heard, *read)
    seconds = max(min(lasts, LONGEST_SHOWN), *read)
    if not seconds:
        return None
    tracks = Tracks(seconds, f"{outcome.utterance.title} over time", colors)
    largest = 0.0
    if found is not None:
        largest = max(float(np.abs(values).max(initial=0.0)) for values in (found.visual, found.acoustic))
    shown = [(time, jpeg_address(rgb), rgb.shape[1], rgb.shape[0]) for time, rgb in preview.pictures if time < seconds]
    if shown:
        tracks.pictures("the clip", shown)
    if evidence.visual is not None and evidence.visual_times is not None:
        _face_rows(tracks, outcome, evidence, description, largest, read[0])
    if preview.samples is not None and evidence.utterance.clip != evidence.utterance.sound:
        begin = tracks.height
        tracks.waveform("the sound", "shaded: speech", preview.samples, SAMPLE_RATE, preview.voiced or ())
        if evidence.acoustic is not None:
            tracks.shade_unread(read[1], tracks.height - begin)
    if found is not None and evidence.acoustic_times is not None and len(found.acoustic):
        begin = tracks.height
        tracks.contributions(
            "sound", evidence.acoustic_times, time_step(evidence.acoustic_times), found.acoustic, largest
        )
        tracks.shade_unread(read[1], tracks.height - begin)
    if way is not None and len(way.seconds) > 1:
        ends = np.minimum(way.seconds, seconds)
        tracks.lines("the answer", "as more is read", ends, way.probabilities, description.labels)
        tracks.legend(description.labels)
    return tracks.svg()


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
    begin, step = tracks.height, time_step(times)
    if faces is not None:
        wanted = [index for index, time in enumerate(times.tolist()) if tracks.holds(time)]
        tracks.faces("the face", "as read", [(float(times[index]), jpeg_address(faces[index])) for index in wanted])
    if found is not None and len(found.visual):
        tracks.contributions("faces", times, step, found.visual, largest)
    expression = evidence.expression
    if expression is not None and description.expression_classes:
        tracks.stream("expression", "face alone", times, expression, description.expression_classes)
        tracks.shade_unread(read, tracks.height - begin)
        tracks.legend(description.expression_classes)
    else:
        tracks.shade_unread(read, tracks.height - begin)
