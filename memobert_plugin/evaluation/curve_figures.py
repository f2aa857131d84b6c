"""Pictures of training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .curves import Curves, Line, mean_line
from .names import Provenance
from .pictures import Picture, drawing, finish, style

OBJECTIVES: Mapping[str, str] = {
    "wwmlm": "masked words (wwmlm)",
    "mvfr": "face frames (mvfr)",
    "mvfc": "expressions of faces (mvfc)",
    "mafr": "speech frames (mafr)",
}


def training_figure(curves: Sequence[Curves], provenance: Provenance) -> Picture:
    """Training loss and validation UAR over the updates, one column per setting."""
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
    """Loss of each pre-training objective over the updates, one line per variant; None without such losses."""
    found = {(point.subset, point.metric) for one in curves for point in one.points if point.metric.endswith("_loss")}
    subset = "valid" if any(key[0] == "valid" for key in found) else "train"
    metrics = sorted(metric for of, metric in found if of == subset)
    if not metrics:
        return None
    names = list(dict.fromkeys(one.series for one in curves))
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
            axes.set_title(OBJECTIVES.get(objective, objective), fontsize=9)
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
