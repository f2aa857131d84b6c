"""The answer about one utterance, a list of answers, and how they show themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..core.errors import UserError, pip_install
from ..core.names import counted
from ..pages.drawings import emotion_colors, rgb_of, small_bar, small_bars, value_bars
from .utterance import MODALITY_NAMES, PLAIN_NAMES, Utterance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from ..features.extraction.transcription import Transcript

UNITS = {"text": "word piece", "visual": "face", "acoustic": "sound frame"}


def bars(line: Mapping[str, Any]) -> dict[str, tuple[float, str]]:
    """Return for each output the filled share of its bar, from 0 to 1, and its value in words.

    A probability fills its share, a number that of its range in the model's corpus.
    """
    if numbers := line.get("dimensions"):
        lengths = {
            name: (one["value"] - one["low"]) / ((one["high"] - one["low"]) or 1.0) for name, one in numbers.items()
        }
        return {name: (min(max(lengths[name], 0.0), 1.0), f"{one['value']:.2f}") for name, one in numbers.items()}
    return {label: (share, f"{share:.0%}") for label, share in line["probabilities"].items()}


@dataclass(frozen=True)
class ModalityUse:
    """The part of one modality in an answer.

    Attributes:
        present: True if it was read.
        frames: number of word pieces or frames that were read.
        found: number of those that there were; more than ``frames`` if the model reads only the beginning.
        seconds: length of the clip's part that the frames cover; None for text.
        reason: the reason why it was not read.
        without: probabilities of the emotions without this modality; None if that was not asked for, or if nothing
            else was read.
    """

    present: bool
    frames: int = 0
    found: int = 0
    seconds: float | None = None
    reason: str = ""
    without: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Dimension:
    """A number such as valence, on the scale of the model's corpus.

    Attributes:
        value: the answer.
        low, high: least and largest number in that corpus; an answer may lie beyond them.
    """

    value: float
    low: float
    high: float

    @property
    def range(self) -> str:
        """Return the scale in words."""
        return f"{self.low:.3g} to {self.high:.3g}"


class PageWriter(Protocol):
    """The model, as an answer needs it."""

    def write_page(self, asked: Sequence[Asked], path: Path, *, timeline: bool = False) -> None:
        """Read the clips again and write their page."""


@dataclass(frozen=True)
class Asked:
    """The question that an answer belongs to: reading it again gives the page its pictures and reasons."""

    model: PageWriter
    utterance: Utterance
    modalities: str | None


@dataclass(frozen=True, repr=False)
class Prediction:
    """The answer about one utterance: ``print`` shows a small table, a notebook bars.

    Attributes:
        name: the utterance's name.
        label: the most probable emotion.
        probabilities: of every emotion, at the temperature of the model's calibration; they add up to 1.
        confidence: the probability of the label.
        unsure: True if the label is right in less than 60 % of such cases: the confidence is below the threshold of the
            model's calibration, or below 60 % for a model without one, or nothing that was read is like the training.
        modalities: the part of ``text``, ``visual`` and ``acoustic`` in it.
        text: the text as given, or as transcribed.
        text_source: ``typed``, ``subtitles``, ``manifest`` or ``transcribed``; empty without text.
        transcript: the recogniser of transcribed words, and how sure they are.
        asked: the question, for :meth:`page`; not part of the answer's value, and not pickled.
        start: beginning of the utterance in its file, in seconds.
        end: end of the utterance in its file, in seconds.
        word: the most likely word of the whole vocabulary at the mask (prompted models).
        notes: remarks to read before relying on the answer.
        file: the clip as given, or the sound file; empty for text, a waveform or ready frames.
        labels: of a model that gives several labels at once, those with a probability of 0.5 at least; ``label`` is all
            of them, ``probabilities`` do not add up to 1, and ``confidence`` is the largest of them. None for others.
        dimensions: of a model that predicts numbers, each with its range; ``label`` is empty then, and there are no
            probabilities.
    """

    name: str
    label: str
    probabilities: Mapping[str, float]
    modalities: Mapping[str, ModalityUse]
    text: str = ""
    start: float | None = None
    end: float | None = None
    word: str | None = None
    confidence: float = 0.0
    unsure: bool = False
    notes: tuple[str, ...] = field(default=())
    text_source: str = ""
    transcript: Transcript | None = None
    asked: Asked | None = field(default=None, compare=False)
    labels: tuple[str, ...] | None = None
    dimensions: Mapping[str, Dimension] = field(default_factory=dict)
    file: str = ""

    @property
    def headline(self) -> str:
        """Return the answer in a few words."""
        if self.dimensions:
            return ", ".join(f"{name} {one.value:.2f}" for name, one in self.dimensions.items())
        return f"{self.label}, {self.confidence:.0%}{', unsure' if self.unsure else ''}"

    @property
    def short_text(self) -> str:
        """Return the beginning of the text."""
        return self.text if len(self.text) <= 40 else f"{self.text[:39]}…"

    @property
    def parts_read(self) -> str:
        """Return what was read, such as ``36 faces, 50 sound frames``."""
        counts = {what: self.modalities[name].frames for name, what in UNITS.items()}
        return ", ".join(counted(count, what) for what, count in counts.items() if count)

    @property
    def parts_missing(self) -> dict[str, str]:
        """Return the reason for each modality that was not read, by its plain name."""
        uses = {PLAIN_NAMES[letter]: self.modalities[name] for letter, name in MODALITY_NAMES.items()}
        return {name: use.reason for name, use in uses.items() if not use.present}

    def __repr__(self) -> str:
        return f"<{self.name}: {self.headline}>"

    def __str__(self) -> str:
        width = max(map(len, self.probabilities or self.dimensions))
        rows = sorted(self.probabilities.items(), key=lambda row: -row[1])
        lines = [f"{self.name}: {self.headline}"]
        lines += [
            f"  {name:<{width}}  {one.value:>6.2f}  (in training {one.range})" for name, one in self.dimensions.items()
        ]
        lines += [f"  {label:<{width}}  {share:>4.0%}  {'#' * round(24 * share)}".rstrip() for label, share in rows]
        lines.append(f"read: {self.parts_read}")
        lines += [f"not read: {name} ({reason})" for name, reason in self.parts_missing.items()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        colors = emotion_colors(self._bars)
        return str(value_bars(f"{self.name}: {self.headline}", self._bars, colors, self._remarks()))

    @property
    def _bars(self) -> dict[str, tuple[float, str]]:
        return bars(self.to_dict())

    @property
    def _independent(self) -> bool:
        """Tell whether the values are several, and no shares of one whole."""
        return bool(self.dimensions) or self.labels is not None

    def _remarks(self) -> list[str]:
        missing = [f"not read: {name} ({reason})" for name, reason in self.parts_missing.items()]
        return [f"read: {self.parts_read}", *missing, *self.notes]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model out of pickles and copies for other processes."""
        return {**self.__dict__, "asked": None}

    def to_frame(self) -> DataFrame:
        """Return a table with one row; see :meth:`Predictions.to_frame`."""
        return Predictions([self]).to_frame()

    def page(self, path: str | os.PathLike[str]) -> Path:
        """Write a page with the words and moments that the answer relied on; see :meth:`Predictions.page`."""
        return Predictions([self]).page(path)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON line."""
        return {
            "id": self.name,
            "file": self.file or None,
            "start": self.start,
            "end": self.end,
            "text": self.text,
            "text_source": self.text_source or None,
            "transcript": None if self.transcript is None else asdict(self.transcript),
            "label": self.label,
            "confidence": None if self.dimensions else self.confidence,
            "unsure": self.unsure,
            "probabilities": dict(self.probabilities),
            "word": self.word,
            **({"labels": list(self.labels)} if self.labels is not None else {}),
            **({"dimensions": {name: asdict(one) for name, one in self.dimensions.items()}} if self.dimensions else {}),
            "modalities": {
                name: {
                    "present": use.present,
                    "frames": use.frames,
                    "found": use.found,
                    "seconds": use.seconds,
                    "reason": use.reason,
                    "without": None if use.without is None else dict(use.without),
                }
                for name, use in self.modalities.items()
            },
            "notes": list(self.notes),
        }


class Predictions(list[Prediction]):
    """Answers in the order of the clips, or of the stretches of one film.

    Attributes:
        timeline: True if the utterances follow each other in one file.
        failed: the reason for each stretch of a timeline that has no answer, by its name.
    """

    def __init__(
        self, answers: Sequence[Prediction] = (), *, timeline: bool = False, failed: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(answers)
        self.timeline, self.failed = timeline, dict(failed or {})

    def __str__(self) -> str:
        from tabulate import tabulate

        rows = [
            (
                one.name,
                one.short_text,
                one.headline if one.dimensions else one.label + (" (unsure)" if one.unsure else ""),
                "" if one.dimensions else f"{one.confidence:.0%}",
                one.parts_read,
            )
            for one in self
        ]
        table = tabulate(rows, headers=("clip", "text", "answer", "", "read"), disable_numparse=True)
        return "\n".join([table, *(f"failed: {name}: {reason}" for name, reason in self.failed.items())])

    def _repr_html_(self) -> str:
        from markupsafe import Markup

        colors = emotion_colors(label for one in self for label in one._bars)
        row = Markup("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>")
        rows = [
            row.format(
                one.name,
                one.short_text,
                one.headline,
                small_bars(one._bars, colors) if one._independent else small_bar(one.probabilities, colors),
            )
            for one in self
        ]
        rows += [row.format(name, "", "failed", reason) for name, reason in self.failed.items()]
        head = Markup("<tr><th>clip</th><th>text</th><th>answer</th><th>{}</th></tr>").format(
            "values" if any(one.dimensions for one in self) else "probabilities"
        )
        return str(Markup("<table>{}{}</table>").format(head, Markup("").join(rows)))

    def to_dict(self) -> list[dict[str, Any]]:
        """Return plain values, one dictionary for each answer."""
        return [one.to_dict() for one in self]

    def to_frame(self) -> DataFrame:
        """Return a table with a row for each answer; a column for each emotion holds its probability.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError:
            raise UserError("to_frame: pandas is not installed; pip install pandas") from None
        columns = ("id", "start", "end", "text", "label", "confidence", "unsure")
        rows = []
        for values in self.to_dict():
            read = {f"{name}_frames": use["frames"] for name, use in values["modalities"].items()}
            notes = "; ".join(values["notes"])
            numbers = {name: one["value"] for name, one in values.get("dimensions", {}).items()}
            shown = {name: values[name] for name in columns} | values["probabilities"] | numbers
            rows.append(shown | read | {"notes": notes})
        return DataFrame(rows)

    def page(self, path: str | os.PathLike[str]) -> Path:
        """Write a page with the words and moments that the answers relied on, and return its path.

        The clips are read again for it.

        Raises:
            UserError: the answers belong to no model (they were unpickled), or the page cannot be written.
        """
        asked = [one.asked for one in self if one.asked is not None]
        if not asked or len(asked) < len(self):
            raise UserError(f"{path}: these answers have lost their model; predict again, then write the page")
        asked[0].model.write_page(asked, Path(path), timeline=self.timeline)
        return Path(path)

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw the probabilities over time (over the clips, for answers that are no timeline), stacked.

        Numbers, and the probabilities of several labels, are lines.

        Args:
            axes: draws there; None: into a new figure.

        Raises:
            UserError: there is no answer, or matplotlib is not installed.
        """
        if not self:
            raise UserError("plot: there is no answer to draw")
        try:
            from matplotlib import pyplot
        except ImportError:
            raise UserError(f"plot: matplotlib is not installed; {pip_install('plot')}") from None
        if axes is None:
            _, axes = pyplot.subplots(figsize=(9, 2.8), layout="constrained")
        spans = [(float(index), index + 0.9) for index in range(len(self))]
        if self.timeline:
            spans = [(one.start or 0.0, one.end or 0.0) for one in self]
        lefts, widths = [begin for begin, _ in spans], [end - begin for begin, end in spans]
        first = self[0]
        lines = bool(first.dimensions) or first.labels is not None
        below = np.zeros(len(self))
        for label, named in emotion_colors(first.dimensions or first.probabilities).items():
            color = [part / 255 for part in rgb_of(named)]  # matplotlib knows no hsl
            shares = np.array(
                [one.dimensions[label].value if one.dimensions else one.probabilities[label] for one in self]
            )
            if lines:
                axes.plot(np.add(lefts, np.divide(widths, 2)), shares, "o-", color=color, label=label, markersize=3)
                continue
            axes.bar(lefts, shares, widths, bottom=below, align="edge", color=color, label=label, linewidth=0)
            below += shares
        axes.set(ylabel="value" if first.dimensions else "probability", xlabel="seconds" if self.timeline else "clip")
        if not first.dimensions:
            axes.set(ylim=(0, 1))
        if not self.timeline:
            axes.set_xticks([left + 0.45 for left in lefts], [one.name for one in self])
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        return axes


@dataclass(frozen=True)
class Encoding:
    """The transformer's last layer for one utterance, D numbers for each piece and frame.

    Attributes:
        pieces: the text's pieces, ``[CLS]`` first and ``[SEP]`` last.
        text: (n, D) float32, one for each piece.
        visual: (T, D) float32.
        visual_times: (T,) seconds from the clip's beginning.
        acoustic: (A, D) float32.
        acoustic_times: (A,) seconds at which each speech frame begins.
    """

    pieces: tuple[str, ...]
    text: np.ndarray
    visual: np.ndarray
    visual_times: np.ndarray
    acoustic: np.ndarray
    acoustic_times: np.ndarray
