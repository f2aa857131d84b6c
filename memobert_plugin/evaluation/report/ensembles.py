"""Ensembles: rows whose answer is the mean of what the seeds of a setting answer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from ...core.errors import UserError
from ...core.files import read_rows
from ...core.names import CLASSES, DIMENSIONS, FULL, MODALITY_CASES
from .given import GIVEN
from .report import Choices
from .results import ENSEMBLE, FLOOR
from .runs import Condition, EmotionRun

_NOTE = "Ensembles answer with the mean over seeds of an utterance's {averaged}, and have no deviation over seeds."
_ANSWER = {DIMENSIONS: "prediction"}
"""The field of a prediction that holds its numbers; ``probabilities`` of other targets."""


def ensembles_of(runs: Sequence[EmotionRun], choices: Choices, folder: Path) -> list[EmotionRun]:
    """Return the runs of a row beside every setting that was trained on all labels with several seeds.

    Below all labels every seed draws its own, and an ensemble would have seen more of them than its row says. Floors,
    and systems whose files have no probabilities, have no ensemble.

    Args:
        runs: of which a report chooses; those without predictions are left out.
        choices: of the report; the name of an ensemble stands for its setting too.
        folder: for the files of predictions.

    Raises:
        UserError: the seeds of a fold tested different utterances, or an answer is broken.
    """
    chosen = replace(choices, settings=tuple(name.removesuffix(ENSEMBLE) for name in choices.settings))
    found: list[EmotionRun] = []
    seeds: dict[Condition, set[int]] = {}
    for number, same in enumerate(_seeds_together(filter(chosen.allow, runs))):
        predictions = _write_means(same, folder, f"ensemble{number}")
        found += [replace(run, predictions=of) for run, of in zip(same, predictions, strict=True) if of]
        averaged = {sum(case in of for of in predictions) for case in MODALITY_CASES} - {0}
        seeds.setdefault(same[0].condition, set()).update(averaged)
    return [_in_ensemble(run, seeds[run.condition]) for run in found]


def with_ensembles(settings: Sequence[str], runs: Sequence[EmotionRun]) -> tuple[str, ...]:
    """Return the settings, each followed by its ensemble where there is one."""
    there = {run.condition.setting for run in runs}
    return tuple(
        one for setting in settings for one in (setting, f"{setting}{ENSEMBLE}") if one == setting or one in there
    )


def _seeds_together(runs: Iterable[EmotionRun]) -> list[list[EmotionRun]]:
    """Return the runs that have an ensemble, in groups that differ by the seed alone."""
    together: dict[tuple[object, ...], list[EmotionRun]] = {}
    for run in runs:
        condition = run.condition
        others = condition.setting.startswith((FLOOR, GIVEN))
        if condition.train_fraction == 1 and condition.ablation == FULL and not others:
            together.setdefault((run.corpus, run.protocol, condition, run.fold), []).append(run)
    return list(together.values())


def _write_means(runs: Sequence[EmotionRun], folder: Path, name: str) -> list[dict[str, Path]]:
    """Write the mean answers of runs, a file for each case that two of them have; return each run's files by case."""
    predictions: list[dict[str, Path]] = [{} for _ in runs]
    for case in MODALITY_CASES:
        there = [place for place, run in enumerate(runs) if run.missing(case) is None]
        lines = _mean_lines([runs[place].predictions[case] for place in there], runs[0]) if len(there) > 1 else []
        if lines:
            path = folder / f"{name}-{case}.jsonl"
            path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
            for place in there:
                predictions[place][case] = path
    return predictions


def _in_ensemble(run: EmotionRun, seeds: set[int]) -> EmotionRun:
    """Return a run with the predictions of an ensemble as one of it; folds that lack runs have fewer seeds."""
    number = " to ".join(map(str, sorted({min(seeds), max(seeds)})))
    condition = replace(
        run.condition,
        setting=f"{run.condition.setting}{ENSEMBLE}",
        title=f"{run.condition.title}, ensemble of {number} seeds",
        note=_NOTE.format(averaged="numbers" if run.target == DIMENSIONS else "probabilities"),
    )
    nowhere = next(iter(run.predictions.values())).with_suffix("")  # it has no log
    return replace(run, name=f"{run.name}{ENSEMBLE}", folder=nowhere, condition=condition)


def _mean_lines(paths: Sequence[Path], run: EmotionRun) -> list[dict[str, Any]]:
    """Return the lines of the first file with the mean of all files' answers; no line where one has no probabilities.

    Args:
        paths: of the seeds of a fold.
        run: one of them, for its labels and its target.

    Raises:
        UserError: files with different utterances, or an answer without a finite number for each label.
    """
    key = _ANSWER.get(run.target, "probabilities")
    files: list[dict[str, tuple[Mapping[str, Any], dict[str, float]]]] = []
    for path in paths:
        files.append({})
        for place, line in read_rows(path):
            if not isinstance(line.get(key), Mapping):
                return []
            files[-1][str(line.get("id"))] = line, _numbers(place, line[key], run.labels)
    averaged = []
    for identity in {identity: None for lines in files for identity in lines}:
        lacking = [path for path, lines in zip(paths, files, strict=True) if identity not in lines]
        if lacking:
            raise UserError(f"{lacking[0]}: lacks {identity}, which other seeds have; evaluate the runs again")
        mean = {name: fmean(lines[identity][1][name] for lines in files) for name in run.labels}
        kept = {name: value for name, value in files[0][identity][0].items() if name != "vocabulary_prediction"}
        decided = {"prediction": max(mean, key=lambda name: mean[name])} if run.target == CLASSES else {}
        averaged.append({**kept, key: mean, **decided})
    return averaged


def _numbers(place: str, answer: Mapping[str, Any], labels: Sequence[str]) -> dict[str, float]:
    """Return the number that an answer has for each label.

    Raises:
        UserError: it has other labels, or one of them is no finite number.
    """
    try:
        numbers = {name: float(answer[name]) for name in labels}
    except (KeyError, TypeError, ValueError, OverflowError):
        numbers = {}
    if not numbers or numbers.keys() != answer.keys() or not all(map(math.isfinite, numbers.values())):
        raise UserError(f"{place}: needs a finite number for each of {', '.join(labels)}; evaluate the run again")
    return numbers
