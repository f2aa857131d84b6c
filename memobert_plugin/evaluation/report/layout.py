"""Choose the runs of each table, and refuse runs that cannot be compared in one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...core.errors import UserError
from ...core.names import FULL, MODALITY_CASES
from .predictions import PredictionReader
from .results import Grid, Result, describe, fill_grid
from .runs import UNTRAINED, Condition, EmotionRun

MOST_LISTED = 40

HINTS = {
    "corpus.name": "--corpus chooses one",
    "protocol": "--protocol chooses one",
}


def refuse_mixtures(table: str, runs: Sequence[EmotionRun], *, budgets: bool = True) -> None:
    """Check that the runs of a table share one corpus, set of labels, protocol and selection, and one budget.

    Settings that learn nothing from labels have no budget.

    Raises:
        UserError: every key that differs, with its values and a run that has each.
    """
    problems = _differences(runs, lambda run: run.shared)
    if budgets:
        trained = [run for run in runs if run.condition.setting.partition("@")[0] not in UNTRAINED]
        problems += _differences(trained, lambda run: run.budget)
    if problems:
        raise UserError(f"{table}: runs that cannot be compared in one table. " + " ".join(problems))


def _differences(runs: Sequence[EmotionRun], choose: Callable[[EmotionRun], Mapping[str, str]]) -> list[str]:
    keys = dict.fromkeys(key for run in runs for key in choose(run))
    problems = []
    for key in keys:
        holders: dict[str, list[EmotionRun]] = {}
        for run in runs:
            holders.setdefault(choose(run).get(key, "nothing"), []).append(run)
        if len(holders) > 1:
            listed = "; ".join(
                f"{value} in {_count(len(having), 'run')} such as {having[0].folder}"
                for value, having in holders.items()
            )
            hint = f" ({HINTS[key]})" if key in HINTS else ""
            problems.append(f"{key} differs{hint}: {listed}.")
    return problems


def refuse_missing(missing: Iterable[str], *, partial: bool) -> list[str]:
    """Return the runs without predictions, one line each; they are an error unless a partial report was asked for.

    Raises:
        UserError: there are some and ``partial`` is False.
    """
    lines = sorted(set(missing))
    if lines and not partial:
        shown = lines[:MOST_LISTED]
        more = [f"and {len(lines) - len(shown)} more"] if len(lines) > len(shown) else []
        raise UserError(
            f"{_count(len(lines), 'result')} missing; finish the sweep, or give --partial to report the rest:\n  "
            + "\n  ".join([*shown, *more])
        )
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True)
class Grids:
    """The rows of every table; a table without rows has an empty grid."""

    settings: Grid
    ablations: Grid
    fractions: Grid
    modalities: Grid

    @property
    def missing(self) -> list[str]:
        """Return the places without predictions, of all tables."""
        grids = (self.settings, self.ablations, self.fractions, self.modalities)
        return [line for grid in grids for line in grid.missing]

    @property
    def results(self) -> list[Result]:
        """Return all rows of all tables."""
        grids = (self.settings, self.ablations, self.fractions, self.modalities)
        return [result for grid in grids for result in grid.results]


class Layout:
    """The runs of each table.

    Tables 2 and 3 and the modality cases stand at the largest share of training data of the sweep; all but the last at
    its widest modality case.

    Args:
        runs: of one corpus and protocol.
        settings: in the order of the rows.
    """

    def __init__(self, runs: Sequence[EmotionRun], settings: Sequence[str]) -> None:
        self._settings = list(settings)
        self.all_runs = list(runs)
        fraction = max(run.condition.train_fraction for run in runs)
        at_most = [run for run in runs if run.condition.train_fraction == fraction]
        self.case = min((run.condition.train_modalities for run in at_most), key=MODALITY_CASES.index)
        widest = [run for run in at_most if run.condition.train_modalities == self.case]
        ablated = {_model(run.condition) for run in widest if run.condition.ablation != FULL}
        self.main = sorted(
            (run for run in widest if run.condition.ablation == FULL), key=lambda run: self._place(run.condition)
        )
        self.ablations = [run for run in widest if _model(run.condition) in ablated]
        self.cases = [run for run in at_most if run.condition.ablation == FULL]
        full = [run for run in runs if run.condition.ablation == FULL and run.condition.train_modalities == self.case]
        shares: dict[Condition, set[float]] = {}
        for run in full:
            shares.setdefault(_line(run.condition), set()).add(run.condition.train_fraction)
        self.lines = [run for run in full if len(shares[_line(run.condition)]) > 1]

    def grids(self) -> Grids:
        """Read the predictions of all tables.

        Raises:
            UserError: a table whose runs differ in what they have to share, or a broken file of predictions.
        """
        refuse_mixtures("table 2 (settings)", self.main)
        refuse_mixtures("table 3 (ablations)", self.ablations)
        refuse_mixtures("the table of modality cases", self.cases)
        shares = sorted({run.condition.train_fraction for run in self.lines})
        for share in shares:
            at_share = [run for run in self.lines if run.condition.train_fraction == share]
            refuse_mixtures(f"figure 3 (share of training data) at {100 * share:g} %", at_share)
        reader = PredictionReader()

        def grid(runs: Sequence[EmotionRun], wanted: Iterable[tuple[Condition, str]], vocabulary: bool = False) -> Grid:
            return fill_grid(list(wanted), runs, reader, describe, vocabulary=vocabulary)

        lines = dict.fromkeys(_line(condition) for condition in self._sorted(self.lines))
        by_case = [
            (condition, case)
            for condition in self._sorted(self.cases)
            for case in MODALITY_CASES
            if any(case in run.predictions for run in self.cases if run.condition == condition)
        ]
        return Grids(
            settings=grid(self.main, ((one, self.case) for one in self._sorted(self.main)), vocabulary=True),
            ablations=grid(self.ablations, ((one, self.case) for one in self._sorted(self.ablations))),
            fractions=grid(
                self.lines,
                ((dataclasses.replace(line, train_fraction=share), self.case) for line in lines for share in shares),
            ),
            modalities=grid(self.cases, by_case if len({case for _, case in by_case}) > 1 else ()),
        )

    def budget_notes(self) -> tuple[str, ...]:
        """Return a sentence if the budget depends on the share of training data."""
        keys = sorted({key for run in self.lines for key in run.budget})
        listed = []
        for key in keys:
            by_share = {run.condition.train_fraction: run.budget.get(key, "nothing") for run in self.lines}
            if len(set(by_share.values())) > 1:
                values = ", ".join(f"{value} at {100 * share:g} %" for share, value in sorted(by_share.items()))
                listed.append(f"{key.removeprefix('budget.')} is {values}")
        return (f"Budgets are equal within a share but not between shares: {'; '.join(listed)}.",) if listed else ()

    def setting_budgets(self) -> tuple[str, ...]:
        """Return a sentence that lists the budgets of the settings where the plan lets them differ."""
        budgets: dict[str, str] = {}
        for run in sorted((*self.main, *self.lines), key=lambda run: self._place(run.condition)):
            values = ", ".join(f"{key} {value}" for key, value in run.own_budget.items() if value != "null")
            if values:
                budgets.setdefault(describe(run.condition), values)
        listed = "; ".join(f"{name}: {values}" for name, values in budgets.items())
        return (f"Budgets differ between settings, as the plan says. {listed}.",) if listed else ()

    def _sorted(self, runs: Iterable[EmotionRun]) -> list[Condition]:
        return sorted({run.condition for run in runs}, key=self._place)

    def _place(self, condition: Condition) -> tuple[int, bool, int, bool, str, float]:
        return (
            self._settings.index(condition.setting),
            condition.modality_mixture,
            MODALITY_CASES.index(condition.train_modalities),
            condition.ablation != FULL,
            condition.ablation,
            condition.train_fraction,
        )


def _model(condition: Condition) -> tuple[str, bool]:
    """Return the values that an ablation shares with its full model."""
    return condition.setting, condition.modality_mixture


def _line(condition: Condition) -> Condition:
    """Return the condition of one line of figure 3, with the share of training data set to all."""
    return dataclasses.replace(condition, train_fraction=1.0)
