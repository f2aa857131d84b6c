"""Tables over what a sweep varies beside the setting: share of training data, modality case; and confusion matrices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ...core.names import MODALITY_CASES
from .main_tables import score_columns
from .names import Provenance, coverage, marks, training_name
from .results import METRICS, Result
from .runs import Condition
from .tables import Table, interval, percent

OUTSIDE = "none"


def training_series(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Rows by line of the picture over the share of training data, in the order given."""
    series: dict[str, list[Result]] = {}
    for result in results:
        series.setdefault(training_name(result.condition), []).append(result)
    return _marked(series)


def fraction_table(
    series: Mapping[str, Sequence[Result]], provenance: Provenance, budget_notes: Sequence[str] = ()
) -> Table:
    """UAR by share of the training data and setting."""
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
            "UAR in per cent, mean over folds, then seeds, with its 95 % interval by bootstrap over the test speakers. "
            "Each smaller share is part of every larger one, with the labels in equal proportion.",
            *budget_notes,
            *provenance.notes(results),
        ),
        tuple(_record(result, provenance) for result in results),
    )


def modality_series(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Rows of the modality cases by setting and training: models of a mixture, models evaluated on several cases,
    and as one series the models that were trained and evaluated on one case each.
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
    """UAR by setting and modality case of the evaluation."""
    results = [result for line in series.values() for result in line]
    rows = []
    for name, line in series.items():
        by_case = {result.case: result for result in line}
        cells = [_with_interval(by_case[case]) if case in by_case else "" for case in MODALITY_CASES]
        rows.append((name, *cells))
    return Table(
        "modality_cases",
        provenance.title("UAR by modality case"),
        ("", *MODALITY_CASES),
        tuple(rows),
        (
            "Evaluated on l: text, v: faces, a: speech and their combinations. UAR in per cent, mean over folds, then "
            "seeds, with its 95 % interval by bootstrap over the test speakers.",
            *provenance.notes(results),
        ),
        tuple(_record(result, provenance) for result in results),
    )


def confusion_table(results: Sequence[Result], provenance: Provenance) -> Table:
    """Confusion counts of each setting over all folds and seeds."""
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
        provenance.title("Confusion matrices"),
        ("setting: label \\ prediction", *columns),
        tuple(rows),
        (
            "Utterances by label (row) and prediction (column), all folds and seeds; none: none of the labels.",
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
    """The series with the marks of those rows that have some behind their names."""
    return {name + max((marks(result) for result in line), key=len): line for name, line in series.items()}
