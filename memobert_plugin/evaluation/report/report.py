"""Make a report of some runs: choose the runs of each table, and return all files."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import UserError
from ...core.names import CLASSES, DIMENSIONS, PROTOCOLS, SEVERAL
from ...core.version import VERSION
from ...pages.template import load_template
from ..metrics.significance import DRAWS
from .curves import Curves, beyond_limits, curve_records, emotion_curves, pretraining_curves
from .diagnostics import gap_table, grid_choices, part_table
from .figures import Picture, confusion_figure, fraction_figure, modality_figure, pretraining_figure, training_figure
from .formats import Table, as_csv, as_latex, as_markdown, records_as_csv
from .layout import Grids, Layout, refuse_missing, refuse_mixtures
from .results import SELECTED_NOTE, TRANSDUCTIVE_NOTE, Provenance, order_settings, without_floors
from .runs import EmotionRun, PretrainingRun
from .tables import (
    ablations_table,
    ablations_tests,
    confusion_table,
    fraction_table,
    fraction_tests,
    modality_series,
    modality_table,
    settings_table,
    settings_tests,
    training_series,
)
from .targets import sections as other_sections


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: its address within the page.
        heading: its title.
        tables: shown below the pictures.
        pictures: shown first.
    """

    anchor: str
    heading: str
    tables: Sequence[Table]
    pictures: Sequence[Picture] = ()


def render(report: Report) -> str:
    """Render the page; whatever comes from a file is escaped."""
    return load_template(Path(__file__).with_name("page.html")).render(report=report, address_of=_data_address)


def _data_address(picture: Picture) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(picture.svg).decode()}"


PAGE = "index.html"
TABLES = (
    "table2_settings",
    "table2_tests",
    "parts",
    "selection_gap",
    "table3_ablations",
    "table3_tests",
    "figure3_train_fraction",
    "figure3_tests",
    "modality_cases",
    "confusion",
)
PICTURES = ("figure3_train_fraction", "modality_cases", "confusion", "training_curves", "pretraining_curves")
CURVES = ("training_curves", "pretraining_curves")
FILE_NAMES = (
    PAGE,
    *(f"{stem}.{ending}" for stem in TABLES for ending in ("md", "csv", "tex")),
    *(f"{stem}.{ending}" for stem in PICTURES for ending in ("png", "svg")),
    *(f"{stem}.csv" for stem in CURVES),
)
"""Every file a report can have."""


@dataclass(frozen=True)
class Choices:
    """The choices of a user about what is reported.

    Attributes:
        corpus: name of the only corpus to report, None for all there are (more than one is refused).
        protocol: the only protocol, likewise.
        settings: the settings in the order of the rows; empty for all.
        partial: report what is there although runs are missing.
        pictures: draw.
    """

    corpus: str | None = None
    protocol: str | None = None
    settings: tuple[str, ...] = ()
    partial: bool = False
    pictures: bool = True

    def allow(self, run: EmotionRun) -> bool:
        """Tell whether a run is to be reported."""
        return (
            self.corpus in (None, run.corpus)
            and self.protocol in (None, run.protocol)
            and (not self.settings or run.condition.setting in self.settings)
        )


@dataclass(frozen=True)
class Report:
    """The content of a report.

    Attributes:
        title: of the page.
        warnings: what concerns all numbers.
        sections: tables and pictures.
        facts: how the numbers were made, as names and values.
        missing: results that are not there, one line each.
        curve_files: CSV files of curves, by name.
    """

    title: str
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    facts: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    curve_files: dict[str, str] = field(default_factory=dict)

    def files(self) -> dict[str, bytes]:
        """Return all files by name; the same runs give the same bytes."""
        texts = {PAGE: render(self), **self.curve_files}
        files: dict[str, bytes] = {}
        for section in self.sections:
            for table in section.tables:
                texts[f"{table.stem}.md"] = as_markdown(table)
                texts[f"{table.stem}.csv"] = as_csv(table)
                texts[f"{table.stem}.tex"] = as_latex(table)
            for picture in section.pictures:
                files[f"{picture.stem}.png"] = picture.png
                files[f"{picture.stem}.svg"] = picture.svg
        return files | {name: text.encode("utf-8") for name, text in texts.items()}


_SUBJECTS = {CLASSES: "Emotion classification", SEVERAL: "Several labels at once", DIMENSIONS: "Dimensions"}


def build_report(emotion: Sequence[EmotionRun], pretraining: Sequence[PretrainingRun], choices: Choices) -> Report:
    """Choose the runs, check them, and compute the report.

    Raises:
        UserError: nothing to report, runs that do not belong into one table, missing runs without ``partial``, or a
            broken file.
    """
    runs = _chosen(emotion, choices)
    refuse_mixtures("the report", runs, budgets=False)
    layout = Layout(runs, choices.settings or order_settings(run.condition.setting for run in runs))
    grids = layout.grids()
    missing = refuse_missing(grids.missing, partial=choices.partial)
    if not grids.results:
        raise UserError("no run has predictions yet; run the sweep first")
    provenance = Provenance.of(runs[0])
    curves = dict(zip(CURVES, (emotion_curves(layout.main), pretraining_curves(pretraining)), strict=True))
    warnings = [SELECTED_NOTE] if provenance.selected_on_test else []
    warnings += [TRANSDUCTIVE_NOTE] if any(result.transductive for result in grids.results) else []
    warnings += layout.setting_budgets()
    warnings += [f"Partial: {len(missing)} results are missing; they are listed at the end."] if missing else []
    kind = runs[0].target
    if kind == CLASSES:
        sections = tuple(_sections(grids, layout.main, curves, provenance, layout.budget_notes(), choices.pictures))
    else:
        found = other_sections(kind, grids, layout.main, provenance, choices.pictures)
        sections = tuple(Section(*parts) for parts in found)
    return Report(
        title=provenance.title(_SUBJECTS[kind]),
        warnings=tuple(warnings),
        sections=sections,
        facts=tuple(_facts(layout, grids, provenance)),
        missing=tuple(missing),
        curve_files={f"{stem}.csv": records_as_csv(curve_records(lines)) for stem, lines in curves.items() if lines},
    )


def _chosen(runs: Sequence[EmotionRun], choices: Choices) -> list[EmotionRun]:
    for name, asked, known in (
        ("--corpus", {choices.corpus} - {None}, {run.corpus for run in runs}),
        ("--protocol", {choices.protocol} - {None}, {run.protocol for run in runs}),
        ("--settings", set(choices.settings), {run.condition.setting for run in runs}),
    ):
        if asked - known:
            unknown = ", ".join(sorted(map(str, asked - known)))
            raise UserError(f"{name} {unknown}: no such runs; there are {', '.join(sorted(known)) or 'none'}")
    chosen = [run for run in runs if choices.allow(run)]
    if not chosen:
        raise UserError("no run of kind emotion there; a report needs trained and evaluated folds")
    return chosen


def _sections(
    grids: Grids,
    runs: Sequence[EmotionRun],
    curves: dict[str, list[Curves]],
    provenance: Provenance,
    budget_notes: tuple[str, ...],
    draw: bool,
) -> Iterator[Section]:
    results = grids.settings.results
    if results:
        tables = [
            settings_table(results, provenance),
            settings_tests(results, provenance),
            part_table(results, provenance),
            gap_table(results, runs, provenance),
        ]
        yield Section("settings", "Settings", _present(tables))
    if grids.fractions.results:
        lines = training_series(grids.fractions.results)
        tables = [
            fraction_table(lines, provenance, budget_notes),
            fraction_tests(grids.fractions.results, provenance),
        ]
        pictures = _drawn(draw, fraction_figure, lines, provenance)
        yield Section("fractions", "Share of training data", _present(tables), pictures)
    if grids.modalities.results:
        lines = modality_series(grids.modalities.results)
        table = modality_table(lines, provenance)
        yield Section("modalities", "Modality cases", [table], _drawn(draw, modality_figure, lines, provenance))
    results = grids.ablations.results
    if results:
        tables = [ablations_table(results, provenance), ablations_tests(results, provenance)]
        yield Section("ablations", "Ablations", _present(tables))
    results = grids.settings.results
    if results:
        table = confusion_table(results, provenance)
        yield Section(
            "confusion",
            "Confusion matrices",
            [table],
            _drawn(draw, confusion_figure, without_floors(results), provenance),
        )
    emotion, pretraining = curves.values()
    pictures = _drawn(draw and bool(emotion), training_figure, emotion, provenance)
    pictures += _drawn(draw and bool(pretraining), pretraining_figure, pretraining)
    if pictures:
        yield Section("curves", "Training curves", (), pictures)


def _present(tables: Sequence[Table | None]) -> list[Table]:
    return [table for table in tables if table is not None]


def _drawn(draw: bool, figure: Callable[..., Picture | None], *arguments: object) -> list[Picture]:
    picture = figure(*arguments) if draw else None
    return [picture] if picture else []


def _facts(layout: Layout, grids: Grids, provenance: Provenance) -> Iterator[tuple[str, str]]:
    yield "corpus", f"{provenance.corpus}, sha256 {provenance.corpus_sha256}"
    yield "labels", ", ".join(provenance.labels)
    known = PROTOCOLS.get(provenance.protocol)
    description = known.description if known else "described by the authors of the runs"
    yield "protocol", f"{provenance.protocol}: {description}"
    yield "checkpoint", provenance.selection
    rows = grids.settings.results or grids.results
    first = max(rows, key=lambda result: len(result.cells))
    yield "folds", ", ".join(map(str, first.folds))
    yield "seeds", ", ".join(map(str, first.seeds))
    yield f"test {provenance.unit}s", f"{first.speakers}"
    (seed, *_) = first.seeds
    tested = sum(cell.utterances for (_, of), cell in first.cells.items() if of == seed)
    yield "test utterances", f"{tested}"
    if layout.main:
        budget = next((run.budget for run in layout.main if run.budget), {})
        given = {key.removeprefix("budget."): value for key, value in budget.items() if value != "null"}
        yield "budget", ", ".join(f"{key} {value}" for key, value in given.items())
    for number, choice in enumerate(grid_choices(layout.all_runs)):
        yield "grid" if not number else "", choice
    if unread := beyond_limits(run.folder / "log.txt" for run in layout.main):
        yield "not read", "; ".join(unread)
    yield "runs", f"{len(layout.main)} in table 2"
    yield "intervals", f"bootstrap over {provenance.unit}s, {DRAWS} draws, expanded percentiles"
    yield "memobert_plugin", VERSION
