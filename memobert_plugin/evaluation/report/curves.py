"""Read training curves from logs that ``fairseq-train --log-format json`` wrote."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .results import TRANSDUCTIVE, training_name
from .runs import EmotionRun, PretrainingRun

_LINE = re.compile(r"\| (train|train_inner|valid) \| (\{.*\})\s*$")
_OBJECTIVE = re.compile(r"\| objective (\w+): ([^|]+), sampling ratio ")
_BEYOND = re.compile(
    r"\| (?:train|valid|test): ((\d+\.\d) % of the (text|visual|acoustic) (?:pieces|frames) lie beyond the first \d.*)$"
)
_WITHIN_EPOCHS = "train_inner"
_METRICS = re.compile(r"^(loss|uar|wa|ccc|map|(?!best_)\w+_(loss|accuracy))$")

Line = Sequence[tuple[int, float]]
"""Updates and values, in order."""


@dataclass(frozen=True)
class Point:
    """One value, at the end of an epoch, of a validation within one, or of so many updates (``--log-interval``).

    Attributes:
        subset: ``train`` or ``valid``.
        metric: as logged, without the subset's prefix; shares of the log (wa, uar) stay in per cent.
        epoch: from 1.
        updates: made so far.
        value: finite.
    """

    subset: str
    metric: str
    epoch: int
    updates: int
    value: float


@dataclass(frozen=True)
class Curves:
    """Points of one run.

    Attributes:
        run: its name.
        series: what it is drawn with: setting or pre-training variant.
        points: by subset and metric, then updates.
        titles: of a pre-training's objectives, by name.
    """

    run: str
    series: str
    points: tuple[Point, ...]
    titles: Mapping[str, str] = field(default_factory=dict)

    def line(self, subset: str, metric: str) -> list[tuple[int, float]]:
        """Return (updates, value) of one metric."""
        return [
            (point.updates, point.value) for point in self.points if (point.subset, point.metric) == (subset, metric)
        ]


def read_points(log: Path) -> tuple[Point, ...]:
    """Read losses and scores; return nothing where there is no log.

    A line that a killed process cut off is skipped; of updates that were repeated after a restart the last count.
    Training is logged after every epoch and after so many updates: each metric is taken from where it has more points.
    """
    if not log.is_file():
        return ()
    points: dict[tuple[str, str, int], Point] = {}
    with open(log, encoding="utf-8", errors="replace") as stream:
        for text in stream:
            found = _LINE.search(text)
            if found is not None:
                for point in _points_of_line(found[1], found[2]):
                    points[point.subset, point.metric, point.updates] = point
    return _denser([points[key] for key in sorted(points)])


def read_titles(log: Path) -> dict[str, str]:
    """Return the titles of a pre-training's objectives by name, as the task logs them before training."""
    if not log.is_file():
        return {}
    with open(log, encoding="utf-8", errors="replace") as stream:
        return {found[1]: found[2] for found in map(_OBJECTIVE.search, stream) if found is not None}


def beyond_limits(logs: Iterable[Path]) -> list[str]:
    """Return the tasks' remarks on pieces and frames that were not read: for each stream that with the largest share.

    Logs of earlier versions have no such remarks.
    """
    largest: dict[str, tuple[float, str]] = {}
    for log in logs:
        if not log.is_file():
            continue
        with open(log, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if found := _BEYOND.search(line.rstrip()):
                    told, share, stream = found.groups()
                    largest[stream] = max(largest.get(stream, (0.0, "")), (float(share), told))
    return [told for share, told in largest.values() if share]


def emotion_curves(runs: Iterable[EmotionRun]) -> list[Curves]:
    """Return the curves of runs that have some, one series per setting."""
    found = [
        Curves(
            run.name,
            training_name(run.condition) + (f" ({TRANSDUCTIVE})" if run.transductive else ""),
            read_points(run.folder / "log.txt"),
        )
        for run in runs
    ]
    return [curves for curves in found if curves.points]


def pretraining_curves(runs: Iterable[PretrainingRun]) -> list[Curves]:
    """Return the curves of pre-trainings that have some; those of one variant (all but the last part of the name) share
    a series.
    """
    found = [
        Curves(
            run.name,
            run.name.rpartition("/")[0].removeprefix("pretraining/") or run.name,
            read_points(log),
            read_titles(log),
        )
        for run, log in ((run, run.folder / "log.txt") for run in runs)
    ]
    return [curves for curves in found if curves.points]


def mean_line(lines: Sequence[Line]) -> list[tuple[int, float]]:
    """Return the mean where all lines have values. Folds of different sizes end their epochs after different numbers of
    updates, so that values in between are interpolated.
    """
    drawn = [np.array(line, dtype=float) for line in lines if line]
    if not drawn:
        return []
    first, last = max(line[0, 0] for line in drawn), min(line[-1, 0] for line in drawn)
    places = np.unique(np.concatenate([line[:, 0] for line in drawn]))
    places = places[(places >= first) & (places <= last)]
    values = np.mean([np.interp(places, line[:, 0], line[:, 1]) for line in drawn], axis=0)
    return list(zip(places.astype(int).tolist(), values.tolist(), strict=True))


def curve_records(curves: Sequence[Curves]) -> list[dict[str, object]]:
    """Return the rows of the CSV file."""
    return [
        {
            "run": one.run,
            "series": one.series,
            "subset": point.subset,
            "metric": point.metric,
            "epoch": point.epoch,
            "updates": point.updates,
            "value": point.value,
        }
        for one in curves
        for point in one.points
    ]


def _denser(points: Sequence[Point]) -> tuple[Point, ...]:
    counts = Counter((point.subset, point.metric) for point in points)
    lost = {
        ("train" if counts["train", metric] < count else _WITHIN_EPOCHS, metric)
        for (subset, metric), count in counts.items()
        if subset == _WITHIN_EPOCHS
    }
    kept = [point for point in points if (point.subset, point.metric) not in lost]
    return tuple(replace(point, subset="train") if point.subset == _WITHIN_EPOCHS else point for point in kept)


def _points_of_line(subset: str, text: str) -> list[Point]:
    try:
        values = json.loads(text)
        prefix = "" if subset == _WITHIN_EPOCHS else f"{subset}_"
        epoch, updates = int(values["epoch"]), int(values[f"{prefix}num_updates"])
        named = {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
        # A validation without a value is logged as None.
        points = [
            Point(subset, metric, epoch, updates, float(value))
            for metric, value in named.items()
            if _METRICS.match(metric) and value not in (None, "None")
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    return [point for point in points if math.isfinite(point.value)]
