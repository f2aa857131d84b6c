"""One row of a table: the runs behind it on a common grid of folds and seeds, and the estimates they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from ..metrics.scores import Counts, Scores
from ..metrics.significance import accuracy, bootstrap_interval, unweighted_recall
from .predictions import LABEL_WORDS, VOCABULARY, PredictionReader, SpeakerCounts
from .runs import Condition, EmotionRun

METRICS = ("wa", "uar", "wf1", "macro_f1")
WITH_INTERVAL = {"wa": accuracy, "uar": unweighted_recall}


@dataclass(frozen=True)
class Estimate:
    """A metric of one row, as shares (not per cent); nan where there is nothing to tell.

    Attributes:
        mean: over folds, then seeds.
        sd_folds: standard deviation (n - 1) over the folds, of the scores averaged over seeds.
        sd_seeds: standard deviation over the seeds, of the scores averaged over folds; nan unless every seed has every
            fold.
        low, high: 95 % interval by bootstrap over speakers; nan for metrics that are reported without one.
    """

    mean: float
    sd_folds: float
    sd_seeds: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Result:
    """One row: a condition evaluated on a modality case by one rule of decision.

    Attributes:
        condition: what the runs have in common.
        case: modality case of the evaluation.
        decision: ``label words`` or ``full vocabulary``.
        transductive: one of the runs is.
        cells: counts by fold and seed, sorted.
        folds, seeds: of the whole table, whether there or not.
    """

    condition: Condition
    case: str
    decision: str
    transductive: bool
    cells: Mapping[tuple[int, int], SpeakerCounts]
    folds: tuple[int, ...]
    seeds: tuple[int, ...]

    @property
    def present_folds(self) -> list[int]:
        """Folds with at least one seed."""
        return sorted({fold for fold, _ in self.cells})

    @property
    def complete(self) -> bool:
        """Whether every fold has every seed."""
        return len(self.cells) == len(self.folds) * len(self.seeds)

    @property
    def speakers(self) -> int:
        """Number of test speakers."""
        return len({name for counts in self.cells.values() for name in counts.speakers})

    def counts(self, only: set[tuple[int, int]] | None = None) -> list[Counts]:
        """Per fold (R, S, C, C + 1) counts of its seeds and speakers, of all cells or of these only."""
        by_fold: dict[int, list[Counts]] = {}
        for (fold, seed), cell in self.cells.items():
            if only is None or (fold, seed) in only:
                by_fold.setdefault(fold, []).append(cell.counts[self.decision])
        return [np.stack(cells) for cells in by_fold.values()]

    def total(self) -> Scores:
        """All folds and seeds in one confusion matrix."""
        return Scores.from_confusion(np.sum([fold.sum(axis=(0, 1)) for fold in self.counts()], axis=0))

    def estimate(self, metric: str) -> Estimate:
        """The estimate of one of ``METRICS``."""
        scores = {
            place: Scores.from_confusion(cell.counts[self.decision].sum(axis=0)).as_dict()[metric]
            for place, cell in self.cells.items()
        }
        folds = [fmean(scores[place] for place in scores if place[0] == fold) for fold in self.present_folds]
        seeds: list[float] = []
        if self.complete:
            seeds = [fmean(scores[place] for place in scores if place[1] == seed) for seed in self.seeds]
        chosen = WITH_INTERVAL.get(metric)
        low, high = bootstrap_interval(self.counts(), chosen) if chosen else (float("nan"), float("nan"))
        return Estimate(fmean(folds), _deviation(folds), _deviation(seeds), low, high)


@dataclass(frozen=True, eq=False)
class Grid:
    """Rows on one grid of folds and seeds, and the places where nothing stands.

    Attributes:
        results: rows with at least one cell, in the order asked for.
        missing: one line per place without predictions.
    """

    results: tuple[Result, ...]
    missing: tuple[str, ...]


def fill_grid(
    wanted: Sequence[tuple[Condition, str]],
    runs: Sequence[EmotionRun],
    reader: PredictionReader,
    describe: Callable[[Condition], str],
    *,
    vocabulary: bool = False,
) -> Grid:
    """Read the predictions of all conditions and modality cases.

    Args:
        wanted: rows as condition and modality case of the evaluation.
        runs: of these conditions; their folds and seeds make the grid.
        reader: of the files.
        describe: a condition's name, for the lines about missing runs.
        vocabulary: add a row for decisions over the full vocabulary after each row that has them everywhere.
    """
    folds, seeds = (tuple(sorted({getattr(run, name) for run in runs})) for name in ("fold", "seed"))
    at = {(run.condition, run.fold, run.seed): run for run in runs}
    results: list[Result] = []
    missing: list[str] = []
    for condition, case in wanted:
        cells, transductive = {}, False
        for fold, seed in ((fold, seed) for fold in folds for seed in seeds):
            run = at.get((condition, fold, seed))
            reason = run.missing(case) if run else "no run"
            if run is None or reason:
                name = run.name if run else f"{describe(condition)}, fold {fold}, seed {seed}"
                missing.append(f"{name}: {reason}")
                continue
            cells[fold, seed] = reader.read(run, case)
            transductive |= run.transductive
        decisions = [LABEL_WORDS]
        if vocabulary and all(VOCABULARY in cell.counts for cell in cells.values()):
            decisions.append(VOCABULARY)
        if cells:
            results += [Result(condition, case, choice, transductive, cells, folds, seeds) for choice in decisions]
    return Grid(tuple(results), tuple(missing))


def _deviation(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else float("nan")
