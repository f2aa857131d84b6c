"""Make tables that say how far to trust the others: scores by part of the corpus, selected beside tested scores."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ...core.errors import UserError
from ..metrics.scores import Scores
from .curves import read_points
from .formats import Table, percent
from .predictions import LABEL_WORDS
from .results import Provenance, Result, describe, marks, training_name
from .runs import EmotionRun

SCRIPTED = "scripted"
SCRIPTED_WARNING = (
    "Scripted turns repeat: all sessions of IEMOCAP play the same scripts, and a quarter of the scripted turns stand "
    "word for word in another session. Words alone score high there, so that only improvised turns tell how a system "
    "does on new words; --drop-repeated-texts scripted leaves the repeated lines out of training."
)


def part_table(results: Sequence[Result], provenance: Provenance) -> Table | None:
    """Return WA and UAR of every setting by part of the corpus; None for a corpus without parts."""
    rows, records = [], []
    chosen = [result for result in results if result.decision == LABEL_WORDS]
    parts = sorted({part for result in chosen for cell in result.cells.values() for part in cell.parts})
    if not parts:
        return None
    for result in chosen:
        row = [training_name(result.condition) + marks(result)]
        for part in parts:
            cells = [cell.parts[part] for cell in result.cells.values() if part in cell.parts]
            scores = [Scores.from_confusion(counts) for counts in cells]
            wa, uar = (fmean(getattr(one, name) for one in scores) for name in ("wa", "uar"))
            row += [percent(wa), percent(uar)]
            tested = int(sum(counts.sum() for counts in cells)) // max(len(result.seeds), 1)
            values: Mapping[str, object] = {"part": part, "utterances": tested, "wa": 100 * wa, "uar": 100 * uar}
            records.append({**provenance.record(result), **values})
        rows.append(tuple(row))
    header = ("", *(f"{part} {metric}" for part in parts for metric in ("WA", "UAR")))
    notes = ["Per cent; mean over folds and seeds of the scores on the utterances of one part."]
    if SCRIPTED in parts:
        notes.append(SCRIPTED_WARNING)
    title = provenance.title("Settings by part of the corpus", chosen)
    return Table("parts", title, header, tuple(rows), (*notes, *provenance.notes(chosen)), tuple(records))


GAP_NOTE = (
    "mean over folds and seeds: the best in validation, which selects the checkpoint, and that of the test. The best "
    "of many validations is optimistic; a large gap says that speakers differ, or that validation is too small to "
    "select by."
)


def best_in_validation(runs: Sequence[EmotionRun], metric: str) -> dict[tuple[object, ...], float]:
    """Return the best logged score of each run that has any, by condition, fold and seed."""
    found: dict[tuple[object, ...], float] = {}
    for run in runs:
        points = read_points(run.folder / "log.txt")
        if scores := [point.value for point in points if (point.subset, point.metric) == ("valid", metric)]:
            found[run.condition, run.fold, run.seed] = max(scores)
    return found


def gap_table(results: Sequence[Result], runs: Sequence[EmotionRun], provenance: Provenance) -> Table | None:
    """Return the UAR by which checkpoints were selected beside the tested one; None where no log holds it."""
    rows, records, chosen = [], [], []
    selected = {place: score / 100 for place, score in best_in_validation(runs, "uar").items()}
    for result in results:
        at = [place for place in result.cells if (result.condition, *place) in selected]
        if result.decision != LABEL_WORDS or not at:
            continue
        valid = fmean(selected[result.condition, fold, seed] for fold, seed in at)
        tested = fmean(Scores.from_confusion(result.cells[place].counts[LABEL_WORDS].sum(axis=0)).uar for place in at)
        name = training_name(result.condition) + marks(result)
        rows.append((name, percent(valid), percent(tested), f"{100 * (valid - tested):+.2f}"))
        values = {"selected_uar": 100 * valid, "tested_uar": 100 * tested, "gap": 100 * (valid - tested)}
        records.append({**provenance.record(result), **values})
        chosen.append(result)
    if not rows or provenance.selected_on_test:
        return None
    notes = (
        f"UAR in per cent, {GAP_NOTE}",
        *provenance.notes(chosen),
    )
    title = provenance.title("Selected and tested", chosen)
    return Table("selection_gap", title, ("", "selected", "tested", "gap"), tuple(rows), notes, tuple(records))


def _budget(choice: Mapping[str, Any]) -> str:
    """Return how many values were tried, and how they were found."""
    count, search = len(choice["candidates"]), choice.get("search")
    if not search:
        return f"{count} trainings"
    ranges = ", ".join(f"{name} {value}" for name, value in search["ranges"].items())
    if search.get("sampler") == "tpe":
        found = f"{count} trainings of a search by TPE (Optuna; the first {search['random']} at random"
        return f"{found}; seed {search['seed']}; {ranges})"
    return f"{count} trainings of a random search (seed {search['seed']}; {ranges})"


def grid_choices(runs: Sequence[EmotionRun]) -> list[str]:
    """Return, for every condition with a grid of flags, its budget and how often each candidate was chosen."""
    chosen: dict[str, Counter[str]] = {}
    tried: dict[str, str] = {}
    for run in runs:
        path = run.folder / "choice.json"
        if not path.is_file():
            continue
        try:
            choice = json.loads(path.read_text(encoding="utf-8"))
            values = ", ".join(f"{name} {value}" for name, value in choice["chosen"].items())
            tried[describe(run.condition)] = _budget(choice)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{path}: unreadable; make this run again") from None
        chosen.setdefault(describe(run.condition), Counter())[values] += 1
    return [
        f"{name}: {tried[name]} for each fold and seed, the best in validation taken: "
        + "; ".join(f"{values} in {count} of {counts.total()} runs" for values, count in counts.most_common())
        for name, counts in chosen.items()
    ]
