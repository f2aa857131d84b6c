"""Pictures of results: share of training data, modality cases, confusion matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from .names import Provenance, coverage, marks, training_name
from .pictures import Picture, drawing, finish, style
from .results import Result
from .runs import MODALITY_CASES
from .sweep_tables import OUTSIDE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAND = "95 % intervals by bootstrap over the test speakers"
HOLLOW = " Hollow markers rest on a part of the folds or seeds."


def fraction_figure(series: Mapping[str, Sequence[Result]], provenance: Provenance) -> Picture:
    """UAR over the share of training data, one line per setting, with bands."""
    with drawing(6.4, 4.2) as figure:
        axes = figure.subplots()
        fractions = sorted({100 * result.condition.train_fraction for line in series.values() for result in line})
        for number, (name, line) in enumerate(series.items()):
            own = sorted(line, key=lambda result: result.condition.train_fraction)
            shares = [100 * result.condition.train_fraction for result in own]
            look = style(number)
            estimates = [result.estimate("uar") for result in own]
            low, high = ([100 * getattr(estimate, end) for estimate in estimates] for end in ("low", "high"))
            axes.fill_between(shares, low, high, color=look.color, alpha=0.1, linewidth=0)
            for end in (low, high):
                axes.plot(shares, end, color=look.color, linestyle=look.line, linewidth=0.5, alpha=0.6)
            means = [100 * estimate.mean for estimate in estimates]
            axes.plot(shares, means, color=look.color, linestyle=look.line, linewidth=1.6, label=name)
            for share, mean, result in zip(shares, means, own, strict=True):
                _marker(axes, share, mean, number, hollow=not result.complete)
        axes.set_xticks(fractions, [f"{fraction:g}" for fraction in fractions])
        axes.set_xlabel("share of the training data (%)")
        axes.set_ylabel("UAR (%)")
        axes.grid(alpha=0.3)
        _legend(axes, list(series))
        caption = f"Lines: mean over folds, then seeds; bands: {BAND}.{_hollow(series)}"
        return finish(figure, "figure3_train_fraction", provenance.title("UAR by share of the training data"), caption)


def modality_figure(series: Mapping[str, Sequence[Result]], provenance: Provenance) -> Picture:
    """UAR by modality case, one marker per setting."""
    with drawing(7.2, 4.2) as figure:
        axes = figure.subplots()
        cases = [case for case in MODALITY_CASES if any(row.case == case for line in series.values() for row in line)]
        width = 0.7 / len(series)
        for number, (_, line) in enumerate(series.items()):
            for result in line:
                at = cases.index(result.case) + (number - (len(series) - 1) / 2) * width
                uar = result.estimate("uar")
                if not math.isnan(uar.low):
                    axes.plot([at, at], [100 * uar.low, 100 * uar.high], color=style(number).color, linewidth=1.0)
                _marker(axes, at, 100 * uar.mean, number, hollow=not result.complete)
        for border in range(1, len(cases)):
            axes.axvline(border - 0.5, color="0.9", linewidth=0.8)
        chance = 100 / len(provenance.labels)
        axes.axhline(chance, color="0.5", linewidth=0.8, linestyle=(0, (2, 2)))
        axes.annotate("chance", (1, chance), xycoords=("axes fraction", "data"), ha="right", va="bottom", color="0.4")
        axes.set_xticks(range(len(cases)), cases)
        axes.set_xlim(-0.5, len(cases) - 0.5)
        axes.set_xlabel("evaluated on (l: text, v: faces, a: speech)")
        axes.set_ylabel("UAR (%)")
        axes.grid(alpha=0.3, axis="y")
        _legend(axes, list(series), lines=False)
        caption = f"Markers: mean over folds, then seeds; bars: {BAND}.{_hollow(series)}"
        return finish(figure, "modality_cases", provenance.title("UAR by modality case"), caption)


def confusion_figure(results: Sequence[Result], provenance: Provenance) -> Picture:
    """One matrix per setting, in per cent of each label."""
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
        return finish(figure, "confusion", provenance.title("Confusion matrices (%)"), caption)


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
