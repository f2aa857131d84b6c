"""Make the tables of a report: settings, ablations, paired tests, shares of data, modality cases, confusion."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ...core.names import FULL, MODALITY_CASES, SETTINGS, counted
from ..metrics.significance import accuracy, difference_interval, mean_score, unweighted_recall
from .formats import UNDEFINED, Table, interval, percent
from .predictions import LABEL_WORDS
from .results import (
    METRICS,
    WITH_INTERVAL,
    Estimate,
    Provenance,
    Result,
    ablation_name,
    comparisons,
    coverage,
    marks,
    tested_pairs,
    training_name,
    without_floors,
)
from .runs import Condition


@dataclass(frozen=True)
class PublishedRow:
    """One published row, in per cent; None where nothing was published.

    Attributes:
        name: as published.
        setting: ours that it corresponds to.
        ablation: ours that it corresponds to.
        scores: (WA, UAR) by corpus, as :func:`published_corpus` names it.
    """

    name: str
    setting: str
    ablation: str
    scores: dict[str, tuple[float | None, float | None]]


def _row(
    name: str,
    setting: str,
    ablation: str,
    iemocap: tuple[float | None, float | None],
    msp_improv: tuple[float | None, float | None],
) -> PublishedRow:
    return PublishedRow(name, setting, ablation, {"IEMOCAP": iemocap, "MSP-IMPROV": msp_improv})


NOTHING = (None, None)
PUBLISHED = (
    _row("cLSTM-MMA", "clstm_mma", FULL, (73.94, None), NOTHING),
    _row("SSMM", "ssmm", FULL, (75.60, 74.50), NOTHING),
    _row("MMIN", "mmin", FULL, (None, 78.12), (None, 68.55)),
    _row("Direct", "direct", FULL, (74.64, 75.76), (67.17, 65.57)),
    _row("BERT+Finetune", "bert_finetune", FULL, (77.98, 78.98), (70.08, 69.67)),
    _row("Pretrain+Finetune", "pretrain_finetune", FULL, (79.63, 80.61), (71.77, 71.35)),
    _row("Pretrain+Prompt", "pretrain_prompt", FULL, (80.01, 81.09), (72.36, 72.22)),
    _row("w/o visual tasks", "pretrain_prompt", "no_visual", (79.73, 80.89), (71.04, 70.88)),
    _row("w/o acoustic task", "pretrain_prompt", "no_acoustic", (79.48, 80.82), (71.78, 71.52)),
    _row("w/o span and whole word", "pretrain_prompt", "no_span_no_whole_word", (79.46, 80.70), (70.73, 71.01)),
)

CONFOUNDS = (
    "Published numbers (paper, Tables 2 and 3) are those of the training step that was best on the test speaker, and "
    "the finetuning settings validated on the test speaker; prompting left out test utterances of more than 60 word "
    "pieces, finetuning did not; the ablations also changed warm-up, batch size and text limit. Numbers selected on a "
    "validation speaker are expected to be lower."
)


def published_corpus(name: str) -> str | None:
    """Return the published corpus that a corpus' name means, whatever its case and punctuation; None for any other."""
    plain = "".join(character for character in name.casefold() if character.isalnum())
    return {"iemocap": "IEMOCAP", "mspimprov": "MSP-IMPROV"}.get(plain)


def published_row(setting: str, ablation: str) -> PublishedRow | None:
    """Return the published row that corresponds to one of ours."""
    return next((row for row in PUBLISHED if (row.setting, row.ablation) == (setting, ablation)), None)


def other_systems(corpus: str, settings: Collection[str] = ()) -> list[PublishedRow]:
    """Return rows of other people's systems, published on that corpus, but for those that are among ``settings``."""
    others = {*SETTINGS, *settings}
    return [row for row in PUBLISHED if row.setting not in others and any(row.scores[corpus])]


SHOWN = ("wa", "uar")
SCORE_NOTE = (
    "Per cent; mean over folds, then seeds; SD: standard deviation over the folds (averaged over seeds) and over the "
    "seeds (averaged over folds); 95 %: interval by bootstrap over the test {unit}s."
)
TEST_NOTE = (
    "First minus second in percentage points. Intervals by bootstrap over {unit}s, the same draws for both. p: "
    "two-sided permutation test on UAR that swaps all predictions of a {unit} between the two (seeds together), "
    "because utterances of one {unit} are not independent; corrected for the number of rows by Holm's method."
)


def settings_table(results: Sequence[Result], provenance: Provenance) -> Table:
    """Return settings x WA and UAR, with published numbers beside ours where the corpus is the same."""
    names = [training_name(result.condition) + marks(result) for result in results]
    return _score_table(
        "table2_settings", provenance.title("Settings", results), names, results, provenance, others=True
    )


def ablations_table(results: Sequence[Result], provenance: Provenance) -> Table:
    """Return ablations of one setting or several x WA and UAR."""
    names = [ablated_name(result) + marks(result) for result in results]
    return _score_table(
        "table3_ablations", provenance.title("Ablations", results), names, results, provenance, others=False
    )


def settings_tests(results: Sequence[Result], provenance: Provenance, stem: str = "table2_tests") -> Table | None:
    """Test every setting against every other and against the regression on all streams; None with fewer than two.

    Ensembles are tested against each other and against their own setting.
    """
    return _tests_table(
        stem,
        provenance.title("Settings, paired tests", results),
        tested_pairs([result for result in results if result.decision == LABEL_WORDS]),
        lambda result: training_name(result.condition) + marks(result),
        provenance,
    )


def fraction_tests(results: Sequence[Result], provenance: Provenance) -> Table | None:
    """Test as :func:`settings_tests` does at the smallest share of the training data; None where all train on all."""
    least = min(result.condition.train_fraction for result in results)
    found = [result for result in results if result.condition.train_fraction == least < 1]
    return settings_tests(found, provenance, "figure3_tests")


def ablations_tests(results: Sequence[Result], provenance: Provenance) -> Table | None:
    """Test the full model against each of its ablations; None where there is nothing to compare."""
    return _tests_table(
        "table3_tests",
        provenance.title("Ablations, paired tests", results),
        ablation_pairs([result for result in results if result.decision == LABEL_WORDS]),
        lambda result: ablated_name(result) + marks(result),
        provenance,
    )


def ablation_pairs(results: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Return each full model with each of its ablations."""
    return [
        (full, other)
        for full in results
        for other in results
        if full.condition.ablation == FULL and other.condition.ablation != FULL and _same_training(full, other)
    ]


def score_columns(estimates: dict[str, Estimate]) -> dict[str, object]:
    """Return the CSV columns of all metrics, in per cent."""
    columns: dict[str, object] = {}
    for metric, estimate in estimates.items():
        columns[metric] = 100 * estimate.mean
        columns[f"{metric}_sd_folds"] = 100 * estimate.sd_folds
        columns[f"{metric}_sd_seeds"] = 100 * estimate.sd_seeds
        if metric in WITH_INTERVAL:
            columns[f"{metric}_low"] = 100 * estimate.low
            columns[f"{metric}_high"] = 100 * estimate.high
    return columns


def _score_table(
    stem: str, title: str, names: Sequence[str], results: Sequence[Result], provenance: Provenance, *, others: bool
) -> Table:
    corpus = published_corpus(provenance.corpus)
    header = [""]
    for metric in SHOWN:
        header += [metric.upper(), "95 %", "SD folds", "SD seeds"]
    if corpus:
        header += ["published WA", "published UAR"]
    rows, records = [], []
    for name, result in zip(names, results, strict=True):
        estimates = {metric: result.estimate(metric) for metric in METRICS}
        row = [name]
        for metric in SHOWN:
            estimate = estimates[metric]
            row += [
                percent(estimate.mean) + coverage(result),
                interval(estimate.low, estimate.high),
                percent(estimate.sd_folds, 1),
                percent(estimate.sd_seeds, 1),
            ]
        record = provenance.record(result) | score_columns(estimates)
        if corpus:
            published = published_row(result.condition.setting, result.condition.ablation)
            scores = published.scores[corpus] if published else (None, None)
            row += map(_published, scores)
            record |= dict(zip(("published_wa", "published_uar"), scores, strict=True))
        rows.append(tuple(row))
        records.append(record)
    if corpus and others:
        rows += [
            (system.name, *[""] * (len(header) - 3), *map(_published, system.scores[corpus]))
            for system in other_systems(corpus, {result.condition.setting for result in results})
        ]
    notes = (SCORE_NOTE.format(unit=provenance.unit), *provenance.notes(results), *([CONFOUNDS] if corpus else []))
    return Table(stem, title, tuple(header), tuple(rows), notes, tuple(records))


def _tests_table(
    stem: str,
    title: str,
    pairs: Sequence[tuple[Result, Result]],
    name: Callable[[Result], str],
    provenance: Provenance,
) -> Table | None:
    compared = comparisons(pairs, unweighted_recall)
    if not compared:
        return None
    rows, records = [], []
    for one in compared:
        first, second, common, test = one.first, one.second, one.common, one.test
        pair = one.counts
        uar_interval, wa_interval = (difference_interval(*pair, metric) for metric in (unweighted_recall, accuracy))
        wa = mean_score(pair[0], accuracy) - mean_score(pair[1], accuracy)
        folds = {fold for fold, _ in common}
        mark = f" [{len(folds)}/{len(first.folds)} folds]" if len(common) < len(first.folds) * len(first.seeds) else ""
        rows.append(
            (
                f"{name(first)} − {name(second)}{mark}",
                f"{100 * test.difference:+.2f}",
                interval(*uar_interval, signed=True),
                _p_value(test.p),
                _p_value(one.p_holm),
                f"{100 * wa:+.2f}",
                interval(*wa_interval, signed=True),
            )
        )
        record: dict[str, object] = {
            "corpus": provenance.corpus,
            "protocol": provenance.protocol,
            "selected_on_test": provenance.selected_on_test,
        }
        for side, result in (("first", first), ("second", second)):
            record[side] = result.condition.setting
            record[f"{side}_ablation"] = result.condition.ablation
            record[f"{side}_modality_mixture"] = result.condition.modality_mixture
            record[f"{side}_transductive"] = result.transductive
        record |= {"folds": len(folds), "runs": len(common)}
        record |= {"p": test.p, "p_holm": one.p_holm, "smallest_p": test.smallest_p}
        for metric, difference, ends in (("uar", test.difference, uar_interval), ("wa", wa, wa_interval)):
            record[f"{metric}_difference"] = 100 * difference
            record[f"{metric}_low"], record[f"{metric}_high"] = (100 * end for end in ends)
        records.append(record)
    notes = [
        TEST_NOTE.format(unit=provenance.unit),
        *_power_note([one.test.smallest_p for one in compared], provenance.unit),
    ]
    notes += provenance.notes([result for one in compared for result in (one.first, one.second)])
    header = ("", "UAR", "95 %", "p", "p, Holm", "WA", "95 %")
    return Table(stem, title, header, tuple(rows), tuple(notes), tuple(records))


def _power_note(smallest: Sequence[float], unit: str) -> list[str]:
    there = [one for one in smallest if not math.isnan(one)]
    notes = [] if len(there) == len(smallest) else [f"{UNDEFINED}: there is no test with a single test {unit}."]
    best = min(there, default=0.0) * len(there)
    if best <= 0.05:
        return notes
    comparisons = counted(len(there), "comparison")
    return [
        *notes,
        f"With so few {unit}s and {comparisons} the smallest corrected p that could come out is "
        f"{_p_value(min(1.0, best))}: this table cannot show any difference to be significant at 0.05.",
    ]


def ablated_name(result: Result) -> str:
    """Return the name of a row: its training, and what was left out."""
    condition = result.condition
    name = training_name(condition)
    return name if condition.ablation == FULL else f"{name}, {ablation_name(condition.ablation)}"


def _same_training(first: Result, second: Result) -> bool:
    one, other = first.condition, second.condition
    return (one.setting, one.modality_mixture) == (other.setting, other.modality_mixture)


def _published(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"


def _p_value(p: float) -> str:
    if math.isnan(p):
        return UNDEFINED
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"


OUTSIDE = "none"


def training_series(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Group rows by line of the picture over the share of training data, in the order given."""
    series: dict[str, list[Result]] = {}
    for result in results:
        series.setdefault(training_name(result.condition), []).append(result)
    return _marked(series)


def fraction_table(
    series: Mapping[str, Sequence[Result]], provenance: Provenance, budget_notes: Sequence[str] = ()
) -> Table:
    """Return UAR by share of the training data and setting."""
    results = [result for line in series.values() for result in line]
    fractions = sorted({result.condition.train_fraction for result in results})
    rows = []
    for fraction in fractions:
        row = [f"{100 * fraction:g} %"]
        for line in series.values():
            found = [result for result in line if result.condition.train_fraction == fraction]
            row.append(_with_interval(found[0]) if found else "")
        rows.append(tuple(row))
    return Table(
        "figure3_train_fraction",
        provenance.title("UAR by share of the training data"),
        ("training data", *series),
        tuple(rows),
        (
            "UAR in per cent, mean over folds, then seeds, with its 95 % interval by bootstrap over the test "
            f"{provenance.unit}s. Each smaller share is part of every larger one, with the labels in equal proportion.",
            *budget_notes,
            *provenance.notes(results),
        ),
        tuple(_record(result, provenance) for result in results),
    )


def modality_series(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Group the rows of the modality cases by setting and training: models of a mixture, models evaluated on several
    cases, and as one series the models that were trained and evaluated on one case each.
    """
    cases: dict[Condition, set[str]] = {}
    for result in results:
        cases.setdefault(result.condition, set()).add(result.case)
    matched = Counter(
        condition.setting
        for condition, evaluated in cases.items()
        if not condition.modality_mixture and evaluated == {condition.train_modalities}
    )
    series: dict[str, list[Result]] = {}
    for result in results:
        condition = result.condition
        name = condition.title
        if condition.modality_mixture:
            name = training_name(condition)
        elif cases[condition] != {condition.train_modalities}:
            name += f", trained on {condition.train_modalities}"
        elif matched[condition.setting] > 1:
            name += ", trained on each case"
        series.setdefault(name, []).append(result)
    return _marked(series)


def modality_table(series: Mapping[str, Sequence[Result]], provenance: Provenance) -> Table:
    """Return UAR by setting and modality case of the evaluation."""
    results = [result for line in series.values() for result in line]
    rows = []
    for name, line in series.items():
        by_case = {result.case: result for result in line}
        cells = [_with_interval(by_case[case]) if case in by_case else "" for case in MODALITY_CASES]
        rows.append((name, *cells))
    return Table(
        "modality_cases",
        provenance.title("UAR by modality case", results),
        ("", *MODALITY_CASES),
        tuple(rows),
        (
            "Evaluated on l: text, v: faces, a: speech and their combinations. UAR in per cent, mean over folds, then "
            f"seeds, with its 95 % interval by bootstrap over the test {provenance.unit}s.",
            *provenance.notes(results),
        ),
        tuple(_record(result, provenance) for result in results),
    )


def confusion_table(results: Sequence[Result], provenance: Provenance) -> Table:
    """Return the confusion counts of each setting over all folds and seeds."""
    results = without_floors(results)
    has_outside = any(result.total().counts[:, -1].any() for result in results)
    columns = [*provenance.labels, *([OUTSIDE] if has_outside else [])]
    rows, records = [], []
    for result in results:
        name = training_name(result.condition) + marks(result) + coverage(result)
        for label, counts in zip(provenance.labels, result.total().counts, strict=True):
            rows.append((f"{name}: {label}", *(f"{count}" for count in counts[: len(columns)])))
            for predicted, count in zip([*provenance.labels, OUTSIDE], counts, strict=True):
                cell = {"label": label, "prediction": predicted, "count": int(count)}
                records.append(provenance.record(result) | cell)
    return Table(
        "confusion",
        provenance.title("Confusion matrices", results),
        ("setting: label \\ prediction", *columns),
        tuple(rows),
        (
            "Utterances by label (row) and prediction (column), all folds and seeds; none: outside the labels.",
            *provenance.notes(results),
        ),
        tuple(records),
    )


def _record(result: Result, provenance: Provenance) -> dict[str, object]:
    return provenance.record(result) | score_columns({metric: result.estimate(metric) for metric in METRICS})


def _with_interval(result: Result) -> str:
    uar = result.estimate("uar")
    return f"{percent(uar.mean, 1)} ({interval(uar.low, uar.high)}){coverage(result)}"


def _marked(series: Mapping[str, list[Result]]) -> dict[str, list[Result]]:
    """Add the marks of rows to the names of their series."""
    return {name + max((marks(result) for result in line), key=len): line for name, line in series.items()}
