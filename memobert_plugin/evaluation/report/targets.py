"""Report runs whose target is not one emotion: numbers such as valence, or several labels at once.

Intervals and tests resample the same speakers as for emotions: what is summed over utterances is another array, and a
score is another function of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from ...core.names import DIMENSIONS, MODALITY_CASES, SELECTED_BY, SEVERAL
from ..metrics import dimensions, several
from ..metrics.significance import Metric, difference_interval
from .diagnostics import GAP_NOTE, best_in_validation
from .figures import Drawn, Picture, fraction_figure, modality_figure
from .formats import UNDEFINED, Table
from .layout import Grids
from .predictions import LABEL_WORDS
from .results import Estimate, Provenance, Result, comparisons, coverage, marks, tested_pairs, training_name
from .runs import EmotionRun
from .tables import ablated_name, ablation_pairs, modality_series, training_series


@dataclass(frozen=True)
class Score:
    """A score of a kind of target.

    Attributes:
        title: its column.
        metric: of summed statistics; None for a score that no sums give, which has no interval.
        factor: 100 for per cent.
        digits: behind the point.
    """

    title: str
    metric: Metric | None
    factor: float = 1.0
    digits: int = 3

    def shown(self, value: float) -> str:
        """Format a value, nan as a dash."""
        return UNDEFINED if math.isnan(value) else f"{self.factor * value:.{self.digits}f}"

    def interval(self, low: float, high: float, sign: str = "") -> str:
        """Format both ends of an interval."""
        if math.isnan(low) or math.isnan(high):
            return UNDEFINED
        return " to ".join(f"{self.factor * end:{sign}.{self.digits}f}" for end in (low, high))


def scores_of(kind: str, labels: Sequence[str]) -> dict[str, Score]:
    """Return the scores of a kind of target by name; the first is the one that selects checkpoints and is tested."""
    if kind == SEVERAL:
        return {
            "macro_f1": Score("macro F1", several.macro_f1, 100.0, 2),
            "micro_f1": Score("micro F1", several.micro_f1, 100.0, 2),
            "map": Score("mAP", None, 100.0, 2),
        }
    assert kind == DIMENSIONS  # find_runs refuses others
    titles = {"ccc": "CCC", "pearson": "r", "rmse": "RMSE"}
    scores = {}
    if len(labels) > 1:
        scores = {name: Score(titles[name], _mean_of(metric)) for name, metric in dimensions.METRICS.items()}
    for place, label in enumerate(labels):
        for name, metric in dimensions.METRICS.items():
            scores[f"{name}_{label}"] = Score(f"{titles[name]} {label}", _one_of(metric, place))
    return scores


def _mean_of(metric: Metric) -> Metric:
    return lambda sums: metric(sums).mean(axis=-1)


def _one_of(metric: Metric, place: int) -> Metric:
    return lambda sums: metric(sums[..., place, :])


def estimate(result: Result, name: str, score: Score) -> Estimate:
    """Return the estimate of a score of a row."""
    metric = score.metric
    if metric is None:
        return result.estimated(lambda cell: cell.whole[name], None)
    return result.estimated(lambda cell: float(metric(cell.counts[LABEL_WORDS].sum(axis=0))), metric)


NOTE = (
    "Mean over folds, then seeds; 95 %: interval by bootstrap over the test {unit}s. The CSV has the other intervals "
    "and the deviations."
)
NOTES: Mapping[str, str] = {
    DIMENSIONS: "CCC: concordance correlation coefficient (Lin 1989); r: Pearson's correlation; RMSE: root mean "
    "squared error on the corpus' own scale. Without a name: mean over the dimensions.",
    SEVERAL: "Per cent. A label is given from a probability of 0.5 on. mAP: mean average precision, which has no "
    "interval, since no sums over speakers give it.",
}


SectionParts = tuple[str, str, list[Table], list[Picture]]


def sections(kind: str, grids: Grids, runs: Sequence[EmotionRun], of: Provenance, draw: bool) -> Iterator[SectionParts]:
    """Yield anchor, heading, tables and pictures of each section of the page.

    Args:
        kind: of the target.
        grids: the rows of each table.
        runs: of the settings, whose logs say what selected the checkpoint.
        of: what all runs share.
        draw: make pictures.
    """
    scores = scores_of(kind, of.labels)
    name, score = next(iter(scores.items()))
    axis = f"{score.title} (%)" if score.factor == 100 else score.title
    lead = Drawn(score.title, axis, score.factor, lambda result: estimate(result, name, score))
    if rows := grids.settings.results:
        further = [
            _tests_table("table2_tests", "Settings", tested_pairs(rows), scores, of),
            _gap_table(kind, rows, runs, scores, of),
        ]
        table = _score_table("table2_settings", "Settings", kind, rows, scores, of)
        yield "settings", "Settings", [table, *(one for one in further if one is not None)], []
    if rows := grids.fractions.results:
        shares = sorted({result.condition.train_fraction for result in rows})
        columns = {share: f"{100 * share:g} %" for share in shares}
        about = ("figure3_train_fraction", "by share of the training data")
        table = _lead_table(*about, rows, columns, lambda result: result.condition.train_fraction, scores, of)
        yield (
            "fractions",
            "Share of training data",
            [table],
            ([fraction_figure(training_series(rows), of, lead)] if draw else []),
        )
    if rows := grids.modalities.results:
        cases = {case: case for case in MODALITY_CASES if any(result.case == case for result in rows)}
        table = _lead_table("modality_cases", "by modality case", rows, cases, lambda result: result.case, scores, of)
        yield (
            "modalities",
            "Modality cases",
            [table],
            ([modality_figure(modality_series(rows), of, lead)] if draw else []),
        )
    if rows := grids.ablations.results:
        table = _score_table("table3_ablations", "Ablations", kind, rows, scores, of)
        tests = _tests_table("table3_tests", "Ablations", ablation_pairs(rows), scores, of)
        yield "ablations", "Ablations", [table, *([tests] if tests else [])], []


def _score_table(
    stem: str, subject: str, kind: str, results: Sequence[Result], scores: Mapping[str, Score], of: Provenance
) -> Table:
    header = [""]
    for score in scores.values():
        header += [score.title, *(["95 %"] if _has_interval(score, scores) else [])]
    rows, records = [], []
    for result in results:
        row, record = [ablated_name(result) + marks(result)], of.record(result)
        for name, score in scores.items():
            found = estimate(result, name, score)
            row.append(score.shown(found.mean) + coverage(result))
            record |= _columns(name, score, found)
            if _has_interval(score, scores):
                row.append(score.interval(found.low, found.high))
        rows.append(tuple(row))
        records.append(record)
    notes = (NOTE.format(unit=of.unit), NOTES[kind], *of.notes(results))
    return Table(stem, of.title(subject, results), tuple(header), tuple(rows), notes, tuple(records))


def _has_interval(score: Score, scores: Mapping[str, Score]) -> bool:
    """Tell whether the table shows a score's interval; for more than one dimension, single ones show that of CCC."""
    return score.metric is not None and (score in list(scores.values())[:3] or score.title.startswith("CCC"))


def _columns(name: str, score: Score, found: Estimate) -> dict[str, object]:
    columns: dict[str, object] = {name: score.factor * found.mean, f"{name}_sd_folds": score.factor * found.sd_folds}
    columns[f"{name}_sd_seeds"] = score.factor * found.sd_seeds
    if score.metric is not None:
        columns |= {f"{name}_low": score.factor * found.low, f"{name}_high": score.factor * found.high}
    return columns


def _tests_table(
    stem: str, subject: str, pairs: Sequence[tuple[Result, Result]], scores: Mapping[str, Score], of: Provenance
) -> Table | None:
    """Test the first of each pair against the second on the leading score, paired; None where there is nothing."""
    name, score = next(iter(scores.items()))
    metric = score.metric
    assert metric is not None  # the leading score has one
    compared = comparisons(pairs, metric)
    if not compared:
        return None
    chosen = [result for one in compared for result in (one.first, one.second)]
    rows, records = [], []
    for one in compared:
        first, second, test = one.first, one.second, one.test
        low, high = difference_interval(*one.counts, metric)
        names = [ablated_name(result) + marks(result) for result in (first, second)]
        rows.append(
            (
                " − ".join(names),
                f"{score.factor * test.difference:+.{score.digits}f}",
                score.interval(low, high, "+"),
                *(UNDEFINED if math.isnan(p) else f"{p:.4f}" for p in (test.p, one.p_holm)),
            )
        )
        record: dict[str, object] = {"corpus": of.corpus, "protocol": of.protocol}
        for which, result in (("first", first), ("second", second)):
            record |= {which: result.condition.setting, f"{which}_ablation": result.condition.ablation}
        record["runs"] = len(one.common)
        record |= {f"{name}_difference": score.factor * test.difference, "p": test.p, "p_holm": one.p_holm}
        records.append(record | {f"{name}_low": score.factor * low, f"{name}_high": score.factor * high})
    notes = (
        f"First minus second. Intervals by bootstrap over {of.unit}s, the same draws for both. p: two-sided "
        f"permutation test that swaps all predictions of a {of.unit} between the two; corrected by Holm's method.",
        *of.notes(chosen),
    )
    header = ("", score.title, "95 %", "p", "p, Holm")
    return Table(stem, of.title(f"{subject}, paired tests", chosen), header, tuple(rows), notes, tuple(records))


def _gap_table(
    kind: str, results: Sequence[Result], runs: Sequence[EmotionRun], scores: Mapping[str, Score], of: Provenance
) -> Table | None:
    """Return the score by which checkpoints were selected beside the tested one; None where no log holds it."""
    metric = SELECTED_BY[kind]
    name = metric if metric in scores else f"{metric}_{of.labels[0]}"
    score, selected = scores[name], best_in_validation(runs, metric)
    rows, records, chosen = [], [], []
    for result in results:
        at = {place for place in result.cells if (result.condition, *place) in selected}
        if not at or of.selected_on_test:
            continue
        valid = fmean(selected[result.condition, fold, seed] for fold, seed in sorted(at)) / score.factor
        there = replace(result, cells={place: cell for place, cell in result.cells.items() if place in at})
        tested = estimate(there, name, score).mean
        gap = f"{score.factor * (valid - tested):+.{score.digits}f}"
        rows.append((training_name(result.condition) + marks(result), score.shown(valid), score.shown(tested), gap))
        values = {f"selected_{metric}": score.factor * valid, f"tested_{metric}": score.factor * tested}
        records.append({**of.record(result), **values, "gap": score.factor * (valid - tested)})
        chosen.append(result)
    if not rows:
        return None
    title, notes = of.title("Selected and tested", chosen), (f"{score.title}, {GAP_NOTE}", *of.notes(chosen))
    return Table("selection_gap", title, ("", "selected", "tested", "gap"), tuple(rows), notes, tuple(records))


def _lead_table(
    stem: str,
    subject: str,
    results: Sequence[Result],
    columns: Mapping[Any, str],
    column_of: Callable[[Result], Any],
    scores: Mapping[str, Score],
    of: Provenance,
) -> Table:
    """Return the leading score by setting and another property of the rows."""
    name, score = next(iter(scores.items()))
    lines: dict[str, dict[Any, str]] = {}
    records = []
    for result in results:
        found = estimate(result, name, score)
        cell = f"{score.shown(found.mean)} ({score.interval(found.low, found.high)}){coverage(result)}"
        lines.setdefault(training_name(result.condition) + marks(result), {})[column_of(result)] = cell
        records.append(of.record(result) | _columns(name, score, found))
    rows = tuple((line, *(cells.get(column, "") for column in columns)) for line, cells in lines.items())
    notes = (f"{score.title} with its 95 % interval by bootstrap over the test {of.unit}s.", *of.notes(results))
    title = of.title(f"{score.title} {subject}")
    return Table(stem, title, ("", *columns.values()), rows, notes, tuple(records))
