"""Write the HTML page that shows answers and the words, faces and sounds that they relied on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from ..checkpoints.model_description import PROMPTED
from ..core.errors import UserError
from ..core.files import is_stream, replaced_when_complete
from ..core.names import CLASSES, DIMENSIONS, LABEL_THRESHOLD, SEVERAL
from ..pages.drawings import Tracks, emotion_colors
from ..pages.template import load_template, media_address
from .decision import model_notes
from .explain import method
from .page_section import PLAIN_NAMES, Section, section
from .prediction import Prediction
from .requests import Outcome
from .utterance import MODALITY_NAMES

if TYPE_CHECKING:
    from markupsafe import Markup

    from ..checkpoints.model_description import ModelDescription

NOT_COMPARED = "They were never compared with how often this model is right."
MOST_DETAILED = 60
"""Utterances that are shown with details; the others are in the overview only."""


class Page:
    """A page that takes outcomes one by one and keeps no media but the small pictures that are shown.

    Args:
        description: the model's.
        timeline: True if the utterances follow each other in one file.
        weights_license: of the model's weights, where it is known.
        title: the clips' name; empty: from the utterances.
        linked: True for links from moments to the clips' files.
        beside: a folder beside the page, from :func:`details_folder`, for the details of further utterances.
    """

    def __init__(
        self,
        description: ModelDescription,
        timeline: bool,
        weights_license: str = "",
        title: str = "",
        linked: bool = True,
        beside: Path | None = None,
    ) -> None:
        self._description, self._timeline, self._license = description, timeline, weights_license
        self._given_title, self._linked, self._beside = title, linked, beside
        self._colors = emotion_colors([*description.labels, *description.expression_classes])
        self._sections: list[Section] = []

    def add(self, outcome: Outcome) -> None:
        """Add one utterance."""
        number = len(self._sections)
        detailed = number < MOST_DETAILED or self._beside is not None
        self._sections.append(section(number, outcome, self._description, self._colors, detailed=detailed))
        if detailed and number >= MOST_DETAILED and (number + 1) % MOST_DETAILED == 0:
            self._write_details()

    def write(self, path: Path) -> None:
        """Write the page, completely or not at all.

        Raises:
            UserError: it cannot be written.
        """
        if self._beside is not None and len(self._sections) % MOST_DETAILED and len(self._sections) > MOST_DETAILED:
            self._write_details()
        _write(path, self.render(path.absolute().parent if self._linked and not is_stream(path) else None))

    def _write_details(self) -> None:
        """Write the last sections to a page of their own, and keep of them what the list of all answers shows."""
        assert self._beside is not None
        part = (len(self._sections) - 1) // MOST_DETAILED
        first = part * MOST_DETAILED
        path = self._beside / f"{part + 1}.html"
        html = self.render(self._beside.absolute() if self._linked else None, self._sections[first:])
        _write(path, html)
        place = quote(f"{self._beside.name}/{path.name}")
        for number in range(first, len(self._sections)):
            bare = replace(self._sections[number], tracks=None, words=(), moments=(), intervals=(), left_out=())
            self._sections[number] = replace(bare, page=place)

    def render(self, folder: Path | None = None, part: Sequence[Section] = ()) -> str:
        """Return the page's HTML; text from files is escaped.

        Args:
            folder: the page's, from which its links to the clips start; None: no links.
            part: the utterances of a page of details; none for the page itself.
        """
        from ..core.version import VERSION

        sections = part or self._sections
        answered = [one for one in sections if one.outcome.prediction is not None]
        answers = [one.outcome.prediction for one in answered if one.outcome.prediction is not None]
        return load_template(Path(__file__).with_name("page.html")).render(
            headline=headline(self._title(), answers, timeline=self._timeline),
            media=lambda clip: media_address(clip, folder),
            lead=lead(answers, self._description),
            kind=self._description.target_kind,
            model_notes=model_notes(self._description) if answers else (),
            colors=self._colors,
            label_colors={label: self._colors[label] for label in self._description.labels},
            legend_of=lambda names: {name: self._colors[name] for name in names},
            answered=answered,
            has_text=any(answer.text for answer in answers),
            failed=[one for one in sections if one.outcome.prediction is None],
            overview=self._overview() if self._timeline and not part else None,
            further=self._beside is not None,
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
        found = [one.outcome.utterance for one in self._sections]
        addresses = [f"{one.page}#u{one.number}" for one in self._sections]
        begin, end = min(one.start or 0.0 for one in found), max(one.end or 0.0 for one in found)
        if begin < end / 3:
            begin = 0.0
        spans = [((one.start or 0.0) - begin, (one.end or 0.0) - begin) for one in found]
        titles = [f"{one.start or 0.0:.1f} s {one.text}".strip() for one in found]
        kind, target = self._description.target_kind, self._description.target
        what = "numbers" if kind == DIMENSIONS else "probabilities"
        tracks = Tracks(end - begin, f"{what} over the time of the film", self._colors, begin)
        if kind == CLASSES:
            answers = [one.outcome.prediction for one in self._sections]
            shares = [None if answer is None else answer.probabilities for answer in answers]
            tracks.columns(
                [(*span, given, title) for span, given, title in zip(spans, shares, titles, strict=True)], addresses
            )
            return tracks.svg()
        for place, name in enumerate(self._description.labels):
            values = [one.values.get(name) for one in self._sections]
            row = [(*span, value, title) for span, value, title in zip(spans, values, titles, strict=True)]
            if kind == DIMENSIONS and target is not None:
                low, high = (f"{limit:.2f}".rstrip("0").rstrip(".") for limit in target["ranges"][place])
                tracks.values(name, "", row, addresses, (low, high))
            else:
                tracks.values(name, "", row, addresses, ("0%", "100%"), LABEL_THRESHOLD)
        return tracks.svg()

    def _explanations(self, answered: Sequence[Section]) -> list[tuple[str, str]]:
        """Explain the parts that this page has, and no others."""
        rows = []
        if answered:
            rows += self._values_explained()
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
            rows.append(
                (
                    "relied on, marked words, moments",
                    f"{method(self._description.target_kind)} It is taken {place}, where the answer is read.",
                )
            )
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

    def _values_explained(self) -> list[tuple[str, str]]:
        """Explain probabilities or numbers."""
        published = "How often a model is right is not on this page: see the numbers it was published with."
        kind, found = self._description.target_kind, self._description.calibration
        if kind == CLASSES:
            divided = "How the model divides its belief among the emotions it knows; they add up to 100 %."
            return [("probabilities", f"{divided} {published}"), ("confidence, unsure", self._confidence())]
        unsure = ("unsure", "It stands where nothing that was read is like anything in a training.")
        if kind == DIMENSIONS:
            scale = (
                "A bar fills its share of the range that the number has in the model's corpus, which stands beside it."
            )
            return [("numbers", f"{scale} How exact they are is not on this page: see the published numbers."), unsure]
        counted = f"A label counts from {100 * LABEL_THRESHOLD:.0f} % on."
        each = f"Of each label by itself; they need not add up to 100 %. {counted}"
        known = f"They were compared with {found.utterances} answers about other people." if found else NOT_COMPARED
        return [("probabilities", f"{each} {known} {published}"), unsure]

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
        what = {CLASSES: "emotions it can choose from", DIMENSIONS: "numbers it gives"}
        facts = [(what.get(description.target_kind, "labels it can give"), ", ".join(description.labels))]
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


def details_folder(page: Path, utterances: int, *, overwrite: bool) -> Path | None:
    """Make the folder for the details of more utterances than one page holds; None where one page is enough.

    Raises:
        UserError: it exists, and ``overwrite`` is False.
    """
    if utterances <= MOST_DETAILED or is_stream(page):
        return None
    folder = page.absolute().with_name(f"{page.stem}-details")
    if folder.exists() and not overwrite:
        raise UserError(f"{folder}: exists already, and would hold pages of details; give --overwrite or another page")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); name another page") from None
    return folder


def _write(path: Path, html: str) -> None:
    try:
        with replaced_when_complete(path, named_by_user=True) as temporary:
            temporary.write_text(html, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another file") from None


def headline(title: str, answers: Sequence[Prediction], *, timeline: bool) -> str:
    """Write what came out, such as ``film.mp4: happiness for 9 s, neutral for 3 s``."""
    if not answers:
        return f"{title}: no answer"
    if len(answers) == 1:
        return f"{title}: {answers[0].headline.replace('%', ' %')}"
    if answers[0].dimensions:
        means = {name: np.mean([one.dimensions[name].value for one in answers]) for name in answers[0].dimensions}
        return f"{title}: on average {', '.join(f'{name} {mean:.2f}' for name, mean in means.items())}"
    amounts: dict[str, float] = {}
    for answer in answers:
        amount = (answer.end or 0.0) - (answer.start or 0.0) if timeline else 1
        for label in answer.labels or (answer.label,):
            amounts[label] = amounts.get(label, 0.0) + amount
    listed = sorted(amounts.items(), key=lambda row: -row[1])
    unit = "{} for {:.0f} s" if timeline else "{} in {:.0f}"
    rest = f", {len(listed) - 3} others" if len(listed) > 3 else ""
    return f"{title}: {', '.join(unit.format(*row) for row in listed[:3])}{rest}"


def lead(answers: Sequence[Prediction], description: ModelDescription) -> str:
    """Write the page's first sentences: the modalities that were read, and what the model estimates."""
    names = ", ".join(description.labels)
    choice = {
        CLASSES: f"which of {len(description.labels)} emotions fits best: {names}. It chooses among these only; such",
        DIMENSIONS: f"these numbers: {names}. Such",
        SEVERAL: f"which of {len(description.labels)} labels fit: {names}. Any number of them can, also none. Such",
    }[description.target_kind] + " an estimate says nothing certain about what a person feels."
    if not answers:
        return f"A trained model can estimate {choice} It has no answer for what it was given."
    counts = {
        letter: sum(answer.modalities[name].present for answer in answers) for letter, name in MODALITY_NAMES.items()
    }
    always = [PLAIN_NAMES[letter] for letter, count in counts.items() if count == len(answers)]
    at_times = [
        f"{PLAIN_NAMES[letter]} (in {count} of {len(answers)} clips)"
        for letter, count in counts.items()
        if 0 < count < len(answers)
    ]
    return f"A trained model read {_listed([*always, *at_times])}, and estimated {choice}"


def _recognizer(answer: Prediction | None) -> str:
    """Name the recogniser that wrote an answer's words; empty where they were given."""
    if answer is None or answer.transcript is None:
        return ""
    found = answer.transcript
    return f"{found.recognizer} (sha256 {found.sha256}, language {found.language})"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
