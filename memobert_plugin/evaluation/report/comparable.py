"""What may stand in one table: runs that differ in what is compared and in nothing else, and all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ...core.errors import UserError
from .runs import EmotionRun

MOST_LISTED = 40

HINTS = {
    "corpus.name": "--corpus chooses one",
    "protocol": "--protocol chooses one",
}


def refuse_mixtures(table: str, runs: Sequence[EmotionRun], *, budgets: bool = True) -> None:
    """Hold the runs of a table to one corpus, set of labels, protocol and selection, and to one budget.

    Raises:
        UserError: every key that differs, with its values and a run that has each.
    """
    problems = _differences(runs, lambda run: run.shared)
    if budgets:
        problems += _differences(runs, lambda run: run.budget)
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
    """Runs without predictions, one line each; they are an error unless a partial report was asked for.

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
