"""Ensembles: rows whose answer is the mean of what the seeds of a setting answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from ...core.errors import UserError
from ...core.files import read_rows
from ...core.names import CLASSES, DIMENSIONS, FULL
from .given import GIVEN
from .results import ENSEMBLE, FLOOR
from .runs import EmotionRun

_NOTE = "Ensembles answer with the mean over seeds of an utterance's {averaged}, and have no deviation over seeds."
_ANSWER = {DIMENSIONS: "prediction"}
"""The field of a prediction that holds its numbers; ``probabilities`` of other targets."""


def ensembles_of(runs: Sequence[EmotionRun], folder: Path) -> list[EmotionRun]:
    """Return the runs of a row beside every setting that was trained on all labels with several seeds.

    Below all labels every seed draws its own, and an ensemble would have seen more of them than its row says. Floors,
    and systems whose files have no probabilities, have no ensemble.

    Args:
        runs: of a report; those without predictions are left out.
        folder: for the files of predictions.

    Raises:
        UserError: no setting has an ensemble, or the seeds of a fold tested different utterances.
    """
    together: dict[tuple[object, ...], list[EmotionRun]] = {}
    for run in runs:
        condition = run.condition
        others = condition.setting.startswith((FLOOR, GIVEN))
        usable = condition.train_fraction == 1 and condition.ablation == FULL and not others
        if usable and run.missing(condition.train_modalities) is None:
            together.setdefault((run.corpus, run.protocol, condition, run.fold), []).append(run)
    found = []
    for number, same in enumerate(together.values()):
        case = same[0].condition.train_modalities
        paths = sorted({run.predictions[case] for run in same})
        lines = _mean_lines(paths, same[0].target)
        if len(paths) < 2 or not lines:
            continue
        path = folder / f"ensemble{number}.jsonl"
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
        found += [_in_ensemble(run, path, len(same)) for run in same]
    if not found:
        raise UserError("--ensembles: no setting has probabilities of two seeds on all labels; add seeds to the plan")
    return found


def with_ensembles(settings: Sequence[str], runs: Sequence[EmotionRun]) -> tuple[str, ...]:
    """Return the settings, each followed by its ensemble where there is one."""
    there = {run.condition.setting for run in runs}
    return tuple(
        one for setting in settings for one in (setting, f"{setting}{ENSEMBLE}") if one == setting or one in there
    )


def _in_ensemble(run: EmotionRun, predictions: Path, seeds: int) -> EmotionRun:
    condition = replace(
        run.condition,
        setting=f"{run.condition.setting}{ENSEMBLE}",
        title=f"{run.condition.title}, ensemble of {seeds} seeds",
        note=_NOTE.format(averaged="numbers" if run.target == DIMENSIONS else "probabilities"),
    )
    return replace(
        run,
        name=f"{run.name}{ENSEMBLE}",
        folder=predictions.with_suffix(""),  # it has no log
        condition=condition,
        predictions={condition.train_modalities: predictions},
    )


def _mean_lines(paths: Sequence[Path], target: str) -> list[dict[str, Any]]:
    """Return the lines of the first file with the mean of all files' answers; no line where one has no probabilities.

    Raises:
        UserError: files with different utterances or answers.
    """
    key = _ANSWER.get(target, "probabilities")
    files = [{str(line.get("id")): line for _, line in read_rows(path)} for path in paths]
    if not all(isinstance(line.get(key), Mapping) for lines in files for line in lines.values()):
        return []
    averaged = []
    for identity, line in files[0].items():
        answers = [lines[identity][key] if identity in lines else {} for lines in files]
        if any(answer.keys() != line[key].keys() for answer in answers):
            raise UserError(f"{paths[0]}: other seeds lack {identity} or its {key}; evaluate the runs again")
        mean = {name: fmean(float(answer[name]) for answer in answers) for name in line[key]}
        kept = {name: value for name, value in line.items() if name != "vocabulary_prediction"}
        decided = {"prediction": max(mean, key=lambda name: mean[name])} if target == CLASSES else {}
        averaged.append({**kept, key: mean, **decided})
    return averaged
