"""Draw the pictures of a report: shares of training data, modality cases, confusion matrices, training curves."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import UserError, pip_install
from ...core.names import MODALITY_CASES
from .curves import Curves, Line, mean_line
from .results import Estimate, Provenance, Result, coverage, marks, training_name
from .tables import OUTSIDE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Style:
    """The look of one series; colour, marker and line (in matplotlib's form) each tell it from the others."""

    color: str
    marker: str
    line: Any


# Paul Tol's bright colours, which colour-blind readers can tell apart; on pages Okabe and Ito's are those of emotions.
STYLES = (
    Style("#000000", "o", "-"),
    Style("#ee6677", "s", "--"),
    Style("#4477aa", "^", "-."),
    Style("#ccbb44", "D", ":"),
    Style("#228833", "v", (0, (5, 1, 1, 1, 1, 1))),
    Style("#aa3377", "P", (0, (1, 1))),
    Style("#66ccee", "X", (0, (8, 3))),
    Style("#666666", "<", (0, (3, 1, 1, 1))),
)

_SETTINGS = {
    # Names come from files: a dollar sign in one is no formula.
    "text.parse_math": False,
    "svg.hashsalt": "memobert-report",
    "svg.fonttype": "path",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "font.size": 9.0,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Picture:
    """A picture ready to be written.

    Attributes:
        stem: file name without its ending.
        title: what it shows, with the marks that concern all of it.
        caption: how to read it.
        png: the file.
        svg: the file.
    """

    stem: str
    title: str
    caption: str
    png: bytes
    svg: bytes


def style(number: int) -> Style:
    """Return the style of the series of that number, from 0; styles repeat after eight."""
    return STYLES[number % len(STYLES)]


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure of that size in inches. Inside the block it looks the same whatever the user's own
    matplotlib settings are.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib.style
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError(f"matplotlib is not installed; {pip_install('plot')}, or give --no-pictures") from None
    with matplotlib.style.context(["default", _SETTINGS]):
        yield Figure(figsize=(width, height), layout="constrained")


def finish(figure: Figure, stem: str, title: str, caption: str) -> Picture:
    """Put the title over a figure and render it, without dates or versions that would change the bytes."""
    figure.suptitle(title, fontsize=10, wrap=True)
    files = {}
    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        stream = io.BytesIO()
        figure.savefig(stream, format=ending, dpi=160, metadata=metadata)
        files[ending] = stream.getvalue()
    return Picture(stem, title, caption, files["png"], files["svg"])


BAND = "95 % intervals by bootstrap over the test {}s"
HOLLOW = " Hollow markers rest on a part of the folds or seeds."


@dataclass(frozen=True)
class Drawn:
    """The score that a picture shows.

    Attributes:
        title: of the score.
        axis: its axis.
        factor: 100 for per cent.
        estimate: of a row.
        chance: the score of guessing; None draws no line.
    """

    title: str
    axis: str
    factor: float
    estimate: Callable[[Result], Estimate]
    chance: float | None = None


def uar_of(provenance: Provenance) -> Drawn:
    """Return UAR as pictures show it."""
    return Drawn("UAR", "UAR (%)", 100.0, lambda result: result.estimate("uar"), 100 / len(provenance.labels))


def fraction_figure(
    series: Mapping[str, Sequence[Result]], provenance: Provenance, score: Drawn | None = None
) -> Picture:
    """Draw UAR, or another score, over the share of training data, one line per setting, with bands."""
    score = score or uar_of(provenance)
    with drawing(6.4, 4.2) as figure:
        axes = figure.subplots()
        fractions = sorted({100 * result.condition.train_fraction for line in series.values() for result in line})
        for number, (name, line) in enumerate(series.items()):
            own = sorted(line, key=lambda result: result.condition.train_fraction)
            shares = [100 * result.condition.train_fraction for result in own]
            look = style(number)
            estimates = [score.estimate(result) for result in own]
            low, high = ([score.factor * getattr(estimate, end) for estimate in estimates] for end in ("low", "high"))
            axes.fill_between(shares, low, high, color=look.color, alpha=0.1, linewidth=0)
            for end in (low, high):
                axes.plot(shares, end, color=look.color, linestyle=look.line, linewidth=0.5, alpha=0.6)
            means = [score.factor * estimate.mean for estimate in estimates]
            axes.plot(shares, means, color=look.color, linestyle=look.line, linewidth=1.6, label=name)
            for share, mean, result in zip(shares, means, own, strict=True):
                _marker(axes, share, mean, number, hollow=not result.complete)
        axes.set_xticks(fractions, [f"{fraction:g}" for fraction in fractions])
        axes.set_xlabel("share of the training data (%)")
        axes.set_ylabel(score.axis)
        axes.grid(alpha=0.3)
        _legend(axes, list(series))
        caption = f"Lines: mean over folds, then seeds; bands: {BAND.format(provenance.unit)}.{_hollow(series)}"
        title = provenance.title(f"{score.title} by share of the training data")
        return finish(figure, "figure3_train_fraction", title, caption)


def modality_figure(
    series: Mapping[str, Sequence[Result]], provenance: Provenance, score: Drawn | None = None
) -> Picture:
    """Draw UAR, or another score, by modality case, one marker per setting."""
    score = score or uar_of(provenance)
    with drawing(7.2, 4.2) as figure:
        axes = figure.subplots()
        cases = [case for case in MODALITY_CASES if any(row.case == case for line in series.values() for row in line)]
        width = 0.7 / len(series)
        for number, (_, line) in enumerate(series.items()):
            for result in line:
                at = cases.index(result.case) + (number - (len(series) - 1) / 2) * width
                found = score.estimate(result)
                low, mean, high = (score.factor * value for value in (found.low, found.mean, found.high))
                if not math.isnan(low):
                    axes.plot([at, at], [low, high], color=style(number).color, linewidth=1.0)
                _marker(axes, at, mean, number, hollow=not result.complete)
        for border in range(1, len(cases)):
            axes.axvline(border - 0.5, color="0.9", linewidth=0.8)
        if (chance := score.chance) is not None:
            axes.axhline(chance, color="0.5", linewidth=0.8, linestyle=(0, (2, 2)))
            at_end = ("axes fraction", "data")
            axes.annotate("chance", (1, chance), xycoords=at_end, ha="right", va="bottom", color="0.4")
        axes.set_xticks(range(len(cases)), cases)
        axes.set_xlim(-0.5, len(cases) - 0.5)
        axes.set_xlabel("evaluated on (l: text, v: faces, a: speech)")
        axes.set_ylabel(score.axis)
        axes.grid(alpha=0.3, axis="y")
        _legend(axes, list(series), lines=False)
        caption = f"Markers: mean over folds, then seeds; bars: {BAND.format(provenance.unit)}.{_hollow(series)}"
        rows = [result for line in series.values() for result in line]
        return finish(figure, "modality_cases", provenance.title(f"{score.title} by modality case", rows), caption)


def confusion_figure(results: Sequence[Result], provenance: Provenance) -> Picture:
    """Draw one confusion matrix per setting, in per cent of each label."""
    labels = provenance.labels
    totals = [result.total().counts for result in results]
    across = min(3, len(results))
    down = -(-len(results) // across)
    side = 0.4 * len(labels) + 1.2
    with drawing(max(5.0, across * side), down * side + 0.6) as figure:
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat[len(results) :]:
            axes.set_axis_off()
        for axes, result, counts in zip(grid.flat, results, totals, strict=False):
            columns = [*labels, *([OUTSIDE] if counts[:, -1].any() else [])]
            shares = 100 * counts[:, : len(columns)] / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            axes.imshow(shares, cmap="Greys", vmin=0, vmax=100)
            for row, column in np.ndindex(shares.shape):
                share = shares[row, column]
                axes.text(
                    column, row, f"{share:.0f}", ha="center", va="center", color="white" if share > 55 else "black"
                )
            name = training_name(result.condition) + marks(result) + coverage(result)
            axes.set_title("\n".join(wrap(name, 8 * len(labels))), fontsize=8)
            axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(len(labels)), labels)
            axes.spines[:].set_visible(True)
        figure.supxlabel("prediction", fontsize=9)
        figure.supylabel("label", fontsize=9)
        caption = "Each row is a label and adds up to 100 %: all utterances of all folds and seeds."
        return finish(figure, "confusion", provenance.title("Confusion matrices (%)", results), caption)


def _marker(axes: Axes, x: float, y: float, number: int, *, hollow: bool) -> None:
    look = style(number)
    axes.plot(
        [x], [y], marker=look.marker, markersize=6, color=look.color, markerfacecolor="white" if hollow else look.color
    )


def _legend(axes: Axes, names: Sequence[str], *, lines: bool = True) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=style(n).color, marker=style(n).marker, linestyle=style(n).line if lines else "none")
        for n in range(len(names))
    ]
    axes.figure.legend(handles, names, loc="outside lower center", ncols=2 if len(names) > 1 else 1, handlelength=4)


def _hollow(series: Mapping[str, Sequence[Result]]) -> str:
    return "" if all(result.complete for line in series.values() for result in line) else HOLLOW


def training_figure(curves: Sequence[Curves], provenance: Provenance) -> Picture:
    """Draw training loss and validation UAR over the updates, one column per setting."""
    names = list(dict.fromkeys(one.series for one in curves))
    panels = [("train", "loss", "training loss"), ("valid", "uar", "validation UAR (%)")]
    panels = [panel for panel in panels if any(one.line(*panel[:2]) for one in curves)]
    with drawing(max(5.0, 2.4 * len(names)), 2.3 * len(panels) + 0.7) as figure:
        grid = figure.subplots(len(panels), len(names), squeeze=False, sharex=True, sharey="row")
        for row, (subset, metric, title) in enumerate(panels):
            grid[row, 0].set_ylabel(title)
            for column, name in enumerate(names):
                axes = grid[row, column]
                lines = [one.line(subset, metric) for one in curves if one.series == name]
                for line in lines:
                    _plot(axes, line, color="0.75", linewidth=0.6)
                _plot(axes, mean_line(lines), color="black", linewidth=1.6)
                axes.grid(alpha=0.3)
                if not row:
                    axes.set_title(name, fontsize=9, wrap=True)
        figure.supxlabel("updates", fontsize=9)
        caption = (
            "Grey: single runs (one fold and seed each), black: their mean. Losses of prompting and finetuning are "
            "cross-entropies over different sets of classes. The validation speaker is never the test speaker under "
            "the protocol strict, and always is under reference."
        )
        return finish(figure, "training_curves", provenance.title("Training curves"), caption)


def pretraining_figure(curves: Sequence[Curves]) -> Picture | None:
    """Draw the loss of each pre-training objective over the updates, one line per variant; None without such losses."""
    found = {(point.subset, point.metric) for one in curves for point in one.points if point.metric.endswith("_loss")}
    subset = "valid" if any(key[0] == "valid" for key in found) else "train"
    metrics = sorted(metric for of, metric in found if of == subset)
    if not metrics:
        return None
    names = list(dict.fromkeys(one.series for one in curves))
    titles = {name: title for one in curves for name, title in one.titles.items()}
    across = min(2, len(metrics))
    down = -(-len(metrics) // across)
    with drawing(max(5.0, 3.6 * across), 2.5 * down + 0.9) as figure:
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat[len(metrics) :]:
            axes.set_axis_off()
        for axes, metric in zip(grid.flat, metrics, strict=False):
            for number, name in enumerate(names):
                look = style(number)
                lines = [one.line(subset, metric) for one in curves if one.series == name]
                for line in lines:
                    _plot(axes, line, color=look.color, linewidth=0.5, alpha=0.4)
                mean = mean_line(lines)
                every = max(1, len(mean) // 8)
                _plot(
                    axes,
                    mean,
                    color=look.color,
                    linestyle=look.line,
                    marker=look.marker,
                    markevery=every,
                    markersize=4,
                    label=name,
                )
            objective = metric.removesuffix("_loss")
            axes.set_title(f"{titles[objective]} ({objective})" if objective in titles else objective, fontsize=9)
            axes.set_xlabel("updates")
            axes.grid(alpha=0.3)
        figure.supylabel(f"{'validation' if subset == 'valid' else 'training'} loss", fontsize=9)
        handles = [line for line in grid[0, 0].get_lines() if not str(line.get_label()).startswith("_")]
        if len(names) > 1:
            figure.legend(handles=handles, loc="outside lower center", ncols=2, handlelength=4)
        caption = "Loss by objective; thin: single runs, with markers: the mean of a variant's runs."
        return finish(figure, "pretraining_curves", "Pre-training", caption)


def _plot(axes: Any, line: Line, **looks: Any) -> None:
    if len(line) == 1:
        looks = {"marker": ".", **looks}
    if line:
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.plot([updates for updates, _ in line], [value for _, value in line], **looks)
