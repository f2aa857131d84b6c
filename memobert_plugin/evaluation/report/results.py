"""Compute the rows of tables: runs on a common grid of folds and seeds, their estimates, names and marks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean, stdev

import numpy as np

from ...core.names import FULL, MODALITY_CASES, SETTINGS
from ..metrics.scores import Counts, Scores
from ..metrics.significance import (
    Folds,
    Metric,
    PermutationTest,
    accuracy,
    bootstrap_interval,
    holm,
    permutation_test,
    unweighted_recall,
)
from .predictions import LABEL_WORDS, VOCABULARY, PredictionReader, SpeakerCounts
from .runs import Condition, EmotionRun

METRICS = ("wa", "uar", "wf1", "macro_f1")
WITH_INTERVAL = {"wa": accuracy, "uar": unweighted_recall}


@dataclass(frozen=True)
class Estimate:
    """A metric of one row, as shares (not per cent); nan where it is undefined.

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
        """Return the folds with at least one seed."""
        return sorted({fold for fold, _ in self.cells})

    @property
    def complete(self) -> bool:
        """Tell whether every fold has every seed."""
        return len(self.cells) == len(self.folds) * len(self.seeds)

    @property
    def speakers(self) -> int:
        """Count the test speakers."""
        return len({name for counts in self.cells.values() for name in counts.speakers})

    def counts(self, only: set[tuple[int, int]] | None = None) -> list[Counts]:
        """Return per fold the (R, S, C, C + 1) counts of its seeds and speakers, of all cells or of these only."""
        by_fold: dict[int, list[Counts]] = {}
        for (fold, seed), cell in self.cells.items():
            if only is None or (fold, seed) in only:
                by_fold.setdefault(fold, []).append(cell.counts[self.decision])
        return [np.stack(cells) for cells in by_fold.values()]

    def total(self) -> Scores:
        """Return the scores of all folds and seeds in one confusion matrix."""
        return Scores.from_confusion(np.sum([fold.sum(axis=(0, 1)) for fold in self.counts()], axis=0))

    def estimate(self, metric: str) -> Estimate:
        """Return the estimate of one of ``METRICS``."""

        def score(cell: SpeakerCounts) -> float:
            return Scores.from_confusion(cell.counts[self.decision].sum(axis=0)).as_dict()[metric]

        return self.estimated(score, WITH_INTERVAL.get(metric))

    def estimated(self, score: Callable[[SpeakerCounts], float], metric: Metric | None) -> Estimate:
        """Return the estimate of a score of a cell, with an interval where a metric of summed counts gives it."""
        scores = {place: score(cell) for place, cell in self.cells.items()}
        folds = [fmean(scores[place] for place in scores if place[0] == fold) for fold in self.present_folds]
        seeds: list[float] = []
        if self.complete:
            seeds = [fmean(scores[place] for place in scores if place[1] == seed) for seed in self.seeds]
        low, high = bootstrap_interval(self.counts(), metric) if metric else (float("nan"), float("nan"))
        of_seeds = math.nan if self.condition.setting.endswith(ENSEMBLE) else _deviation(seeds)
        return Estimate(fmean(folds), _deviation(folds), of_seeds, low, high)


@dataclass(frozen=True, eq=False)
class Grid:
    """Rows on one grid of folds and seeds, and the places without predictions.

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
    return stdev(values) if len(values) > 1 and not any(map(math.isnan, values)) else float("nan")


FLOOR = "floor_"
"""Beginning of the names of settings that are no systems but floors."""
ENSEMBLE = "@ensemble"
"""End of the names of settings whose seeds answer together."""
FLOORS = tuple(f"{FLOOR}{name}" for name in ("chance", "majority", "text", "visual", "acoustic", "all"))
"""The floors in the order of tables."""
SELECTED_ON_TEST = "selected on test"
TRANSDUCTIVE = "transductive"

ENOUGH_SPEAKERS = 5
"""Below this number the bootstrap has too few different samples for a 95 % interval."""

SELECTED_NOTE = (
    "Selected on test: the checkpoint is the one with the best score on the test speaker, as in the published "
    "evaluation, so these numbers are optimistic and no estimate of the performance on new speakers."
)
TRANSDUCTIVE_NOTE = "Transductive: clips of the test speakers, without labels, were part of the pre-training."


def order_settings(names: Iterable[str]) -> list[str]:
    """Sort settings: floors, comparators by name, then MEmoBERT's own from the plainest to the paper's.

    Those of several sweeps (``direct@ours``) stand side by side.
    """
    own = list(SETTINGS)

    def place(name: str) -> tuple[int, int, str]:
        base = name.partition("@")[0]
        if base in FLOORS:
            return -2, FLOORS.index(base), name
        return own.index(base) if base in own else -1, 0, name

    return sorted(set(names), key=place)


def without_floors(results: Sequence[Result]) -> list[Result]:
    """Return the rows of systems; all rows where there are only floors."""
    return [result for result in results if not result.condition.setting.startswith(FLOOR)] or list(results)


def tested_pairs(results: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Return the rows of settings, and of the regression on all streams, that are tested, the later row first.

    Ensembles are tested against each other and against their own setting.
    """
    floor = f"{FLOOR}all"
    chosen = [(one.condition.setting, one) for one in results]
    chosen = [(name, one) for name, one in chosen if not name.startswith(FLOOR) or name == floor]
    return [
        (second, first)
        for (name, first), (other, second) in combinations(chosen, 2)
        if name.endswith(ENSEMBLE) == other.endswith(ENSEMBLE)
        or name.removesuffix(ENSEMBLE) == other.removesuffix(ENSEMBLE)
    ]


def ablation_name(ablation: str) -> str:
    """Return an ablation in words."""
    return ablation.replace("_", " ").replace("-", " ")


def training_name(condition: Condition) -> str:
    """Return the setting, and the training modalities if they are not all."""
    parts = [condition.title]
    if condition.modality_mixture:
        parts.append("modality mixture")
    if condition.train_modalities != MODALITY_CASES[0]:
        parts.append(f"trained on {condition.train_modalities}")
    return ", ".join(parts)


def describe(condition: Condition) -> str:
    """Return a condition in words, with everything that distinguishes it."""
    parts = [training_name(condition)]
    if condition.ablation != FULL:
        parts.append(ablation_name(condition.ablation))
    return ", ".join([*parts, f"{100 * condition.train_fraction:g} % of the training data"])


def marks(result: Result) -> str:
    """Format a table row's suffix: decision rule and transductive."""
    parts = []
    if result.decision == VOCABULARY:
        parts.append("over the full vocabulary")
    if result.transductive:
        parts.append(TRANSDUCTIVE)
    return f" ({', '.join(parts)})" if parts else ""


def coverage(result: Result) -> str:
    """Format the suffix of a row that lacks runs: the folds (and runs) it rests on; empty for a complete row."""
    if result.complete:
        return ""
    folds = f"{len(result.present_folds)}/{len(result.folds)} folds"
    runs = f", {len(result.cells)}/{len(result.folds) * len(result.seeds)} runs" if len(result.seeds) > 1 else ""
    return f" [{folds}{runs}]"


@dataclass(frozen=True)
class Provenance:
    """The values that all runs of a report share."""

    corpus: str
    corpus_sha256: str
    labels: tuple[str, ...]
    protocol: str
    selection: str
    selected_on_test: bool
    unit: str = "speaker"
    """The unit that folds leave out, and that intervals and tests resample."""

    @classmethod
    def of(cls, run: EmotionRun) -> Provenance:
        """Return those of a run."""
        return cls(
            run.corpus,
            run.shared["corpus.sha256"],
            run.labels,
            run.protocol,
            run.selection,
            run.selected_on_test,
            run.held_out,
        )

    def title(self, subject: str, results: Iterable[Result] = ()) -> str:
        """Return the title of a table or picture, with the mark that concerns all of it and the share of these rows."""
        mark = f" ({SELECTED_ON_TEST})" if self.selected_on_test else ""
        shares = sorted({result.condition.train_fraction for result in results})
        share = f", {' and '.join(f'{100 * one:g} %' for one in shares)} of the training data" if shares else ""
        return f"{subject}, {self.corpus}, protocol {self.protocol}{share}{mark}"

    def notes(self, results: Iterable[Result]) -> tuple[str, ...]:
        """Return explanations of the marks on these rows."""
        chosen = list(results)
        notes = [SELECTED_NOTE] if self.selected_on_test else []
        fewest = min((result.speakers for result in chosen), default=0)
        if 1 < fewest < ENOUGH_SPEAKERS:
            notes.append(f"With {fewest} test {self.unit}s a 95 % interval is too narrow: it cannot leave their range.")
        if any(result.transductive for result in chosen):
            notes.append(TRANSDUCTIVE_NOTE)
        notes += dict.fromkeys(result.condition.note for result in chosen if result.condition.note)
        if not all(result.complete for result in chosen):
            notes.append("Partial: numbers with [n/N folds] rest on the runs that were there, the others on all.")
        return tuple(notes)

    def record(self, result: Result) -> dict[str, object]:
        """Return the columns that every CSV file has for a row."""
        condition = result.condition
        return {
            "corpus": self.corpus,
            "protocol": self.protocol,
            "selection": self.selection,
            "selected_on_test": self.selected_on_test,
            "setting": condition.setting,
            "ablation": condition.ablation,
            "train_fraction": condition.train_fraction,
            "train_modalities": condition.train_modalities,
            "modality_mixture": condition.modality_mixture,
            "test_modalities": result.case,
            "decision": result.decision,
            "transductive": result.transductive,
            "folds": len(result.present_folds),
            "folds_expected": len(result.folds),
            "runs": len(result.cells),
            "runs_expected": len(result.folds) * len(result.seeds),
            "speakers": result.speakers,
        }


@dataclass(frozen=True)
class Comparison:
    """Two results, tested over the runs that both have.

    Attributes:
        common: folds and seeds of these runs.
        counts: what the metric reads of them, of either result.
        test: paired, over what folds leave out; its p are nan where a single speaker leaves nothing to swap.
        p_holm: p after Holm's correction for all comparisons of a table.
    """

    first: Result
    second: Result
    common: set[tuple[int, int]]
    counts: tuple[Folds, Folds]
    test: PermutationTest
    p_holm: float


def comparisons(pairs: Sequence[tuple[Result, Result]], metric: Metric) -> list[Comparison]:
    """Test the first of each pair against the second; pairs without a common run are left out."""
    shared = [(first, second, set(first.cells) & set(second.cells)) for first, second in pairs]
    shared = [(first, second, common) for first, second, common in shared if common]
    counts = [(first.counts(common), second.counts(common)) for first, second, common in shared]
    tests = [permutation_test(*of_both, metric) for of_both in counts]
    # With a single speaker nothing can be swapped: there is no test, and Holm's correction does not count it.
    swapped = [sum(fold.shape[1] for fold in first) > 1 for first, _ in counts]
    tests = [
        test if can_be else replace(test, p=math.nan, smallest_p=math.nan)
        for test, can_be in zip(tests, swapped, strict=True)
    ]
    found = iter(holm([test.p for test, can_be in zip(tests, swapped, strict=True) if can_be]))
    corrected = [next(found) if can_be else math.nan for can_be in swapped]
    return [
        Comparison(*three, of_both, test, p_holm)
        for three, of_both, test, p_holm in zip(shared, counts, tests, corrected, strict=True)
    ]
