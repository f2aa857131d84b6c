"""Read predictions of any system, as JSON lines or CSV, beside the runs of a sweep; name the runs of several sweeps."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.console import name_in_messages
from ...core.errors import UserError
from ...core.files import read_rows
from ...core.names import CLASSES, DIMENSIONS, FULL, SEVERAL
from .floors import write_run_folder
from .results import ENSEMBLE
from .runs import EmotionRun, PretrainingRun, find_runs

Named = tuple[str, Path]
GIVEN = "given_"
"""Settings that are files of predictions begin with it."""
_PREFIXES = ("p_", "prob_", "probability_", "")
_ROUNDED = 0.02
"""Probabilities that were rounded add up to 1 within this."""
_WITHOUT_RUNS: Mapping[str, Any] = {
    "format": 1,
    "kind": "emotion",
    "depends_on": [],
    "protocol": "given",
    "selection": "not known",
    "test_speaker": "",
    "train_fraction": 1.0,
    "train_modalities": "lva",
    "budget": {},
    "transductive": False,
}
"""The description of a run, where predictions are all there is."""


def named_sources(sources: Sequence[Path]) -> list[Named]:
    """Split ``NAME=PATH``; without a name folders have none, and files that of the file.

    Raises:
        UserError: there is no such file or folder; the name is that of other rows.
    """
    named = []
    for source in sources:
        name, separator, path = str(source).partition("=")
        if not separator or source.exists():
            name, path = "", str(source)
        if not Path(path).exists():
            raise UserError(f"{path}: no such file or folder; give run folders, or NAME=FILE for predictions")
        if f"@{name}" == ENSEMBLE and Path(path).is_dir():
            raise UserError(f"{source}: the rows of --ensembles have this name; choose another")
        named.append((name or (Path(path).stem if Path(path).is_file() else ""), Path(path)))
    return named


def read_sources(sources: Sequence[Named], folder: Path) -> tuple[list[EmotionRun], list[PretrainingRun]]:
    """Return the runs of folders and those made of files of predictions.

    Args:
        sources: names and paths; the settings of a named folder carry its name, so that sweeps stand side by side.
        folder: for the run folders that are made of files.

    Raises:
        UserError: a broken file, or predictions for other utterances than the runs'.
    """
    emotion: list[EmotionRun] = []
    pretraining: list[PretrainingRun] = []
    folders: dict[str, list[Path]] = {}
    files: dict[str, list[Path]] = {}
    for name, path in sources:
        (files if path.is_file() else folders).setdefault(name, []).append(path)
    for name in sorted(folders, key=bool):  # those without a name first
        runs, others = find_runs(folders[name])
        emotion += [_named(run, name) if len(folders) > 1 or name else run for run in runs]
        pretraining += others
    has_runs = bool(emotion)
    for name, paths in files.items():
        known = _known_utterances(emotion)
        lines = [line for path in paths for line in _lines(path, known, only_known=has_runs)]
        emotion += _runs_of(name, paths, lines, emotion, folder)
    return emotion, pretraining


def _named(run: EmotionRun, name: str) -> EmotionRun:
    condition = run.condition
    if name:
        title = f"{condition.title} [{name}]"
        condition = replace(condition, setting=f"{condition.setting}@{name}", title=title)
    # Budgets of two sweeps need not be equal; the report lists them.
    own = {key.removeprefix("budget."): value for key, value in run.budget.items()}
    return replace(run, condition=condition, budget={}, own_budget={**own, **run.own_budget})


def _known_utterances(runs: Sequence[EmotionRun]) -> dict[str, Mapping[str, Any]]:
    """Return speaker, label and fold of every utterance that some run tested, by its id."""
    known: dict[str, Mapping[str, Any]] = {}
    seen: set[int] = set()
    for run in runs:
        path = next((path for path in run.predictions.values() if path.is_file()), None)
        if path is None or run.fold in seen or run.status != "done":
            continue
        seen.add(run.fold)
        for _, line in read_rows(path):
            known[str(line.get("id"))] = {**line, "fold": run.fold}
    return known


def _lines(path: Path, known: Mapping[str, Mapping[str, Any]], *, only_known: bool) -> Iterator[dict[str, Any]]:
    """Yield lines with id, speaker, fold, label and prediction; what a file lacks comes from the runs.

    Args:
        path: of the file.
        known: utterances that others tested, by id.
        only_known: pass over the others.
    """
    rows = list(read_rows(path))
    true = (one.get("label", one.get("emotion")) for one in (*(row for _, row in rows), *known.values()))
    labels = {label for label in true if isinstance(label, str)}
    for place, given in rows:
        identity = str(given.get("id") or given.get("key") or given.get("utterance") or "")
        if not identity:
            raise UserError(f"{place}: no id; every prediction names its utterance")
        beside = known.get(identity, {})
        if only_known and not beside:
            continue  # an emotion that the runs leave out, or an utterance that they do not test
        given, own = _as_prediction(given), given
        label = given.get("label", given.get("emotion", beside.get("label")))
        if label is None and given is not own:
            raise UserError(
                f"{place}: an answer of memobert predict, whose label is no truth; give a sweep's runs too, or its "
                "answers as prediction beside the true label"
            )
        line = {
            "id": identity,
            "speaker": str(given.get("speaker") or beside.get("speaker") or ""),
            "fold": int(beside["fold"]) if beside else _number(place, given.get("fold")),
        }
        if isinstance(label, (Mapping, list)):
            line |= _answer(place, given, label)
        else:
            line |= _emotion(place, given, label, labels)
        yield {**line, **({"part": beside["part"]} if beside.get("part") else {})}


def _as_prediction(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an answer of ``memobert predict`` as a line without truth, and other lines as they are."""
    if "unsure" not in given or "prediction" in given:
        return given
    numbers = {name: one["value"] for name, one in (given.get("dimensions") or {}).items()}
    rest = {name: value for name, value in given.items() if name not in ("label", "labels")}
    return {**rest, "prediction": numbers or given.get("label")}


def _emotion(place: str, given: Mapping[str, Any], label: object, labels: Collection[str]) -> dict[str, str]:
    """Return label and prediction of one emotion of several."""
    shares = {} if given.get("prediction") else _shares(place, given, label, labels)
    prediction = given.get("prediction") or (max(shares, key=lambda name: shares[name]) if shares else None)
    if not label or not prediction:
        raise UserError(f"{place}: needs label, and prediction or probabilities (a column for each label)")
    return {"label": str(label), "prediction": str(prediction)}


def _answer(place: str, given: Mapping[str, Any], label: Mapping[str, Any] | list[Any]) -> dict[str, Any]:
    """Return label and prediction of numbers (a mapping), or of several labels; each name may be a column."""
    key = "prediction" if isinstance(label, Mapping) else "probabilities"
    answer = given.get(key)
    try:
        if not isinstance(answer, Mapping):
            prefixes = ("",) if isinstance(label, Mapping) else _PREFIXES[:-1]
            columns = {name.removeprefix(one): name for one in prefixes for name in given if name.startswith(one)}
            answer = {name: given[columns[name]] for name in (label if isinstance(label, Mapping) else columns)}
        numbers = {str(name): float(value) for name, value in answer.items()}
        truth = {str(name): float(value) for name, value in label.items()} if isinstance(label, Mapping) else numbers
    except (KeyError, TypeError, ValueError):
        numbers = truth = {}
    if not numbers or set(truth) != set(numbers) or not all(map(math.isfinite, (*truth.values(), *numbers.values()))):
        told = f"label and {key}" if isinstance(label, Mapping) else key
        raise UserError(f"{place}: needs {told}, a finite number for each name (a mapping, or columns)")
    return {"label": label, key: numbers}


def _number(place: str, fold: object) -> int:
    try:
        return int(str(fold)) if fold not in (None, "") else 1
    except ValueError:
        raise UserError(f"{place}: fold {fold!r}; give a number") from None


def _shares(place: str, given: Mapping[str, Any], label: object, labels: Collection[str]) -> dict[str, float]:
    """Return the probabilities of a line: a mapping, or columns of which one has the label's name.

    Columns without a prefix are probabilities where they are called as a label, so that a duration is none.

    Raises:
        UserError: such columns do not add up to 1, and others may belong to them.
    """
    if isinstance(given.get("probabilities"), Mapping):
        return {str(name): float(share) for name, share in given["probabilities"].items()}
    prefix = next((one for one in _PREFIXES if f"{one}{label}" in given), None)
    if prefix is None:
        return {}
    shares = {}
    for name, share in given.items():
        with contextlib.suppress(TypeError, ValueError):
            if name.startswith(prefix):
                shares[name.removeprefix(prefix)] = float(share)
    if prefix:
        return shares
    named = {name: share for name, share in shares.items() if name in labels}
    others = shares.keys() - named.keys() - {"fold", "seed", "start", "end"}
    if others and abs(sum(named.values()) - 1) > _ROUNDED:
        raise UserError(
            f"{place}: {', '.join(sorted(others))}: no label of any utterance, and the labels' columns do not add up "
            f"to 1; call every probability p_LABEL, as in p_{label}"
        )
    return named


_MEANING = {CLASSES: "one emotion of several", DIMENSIONS: "numbers", SEVERAL: "several labels at once"}


def _kind(lines: Sequence[Mapping[str, Any]], path: Path) -> str:
    """Return the kind of target of a system's predictions.

    Raises:
        UserError: there are predictions of several kinds.
    """
    kinds = {
        DIMENSIONS if isinstance(line["label"], Mapping) else SEVERAL if isinstance(line["label"], list) else CLASSES
        for line in lines
    }
    if len(kinds) > 1:
        raise UserError(f"{path}: has predictions of {' and of '.join(_MEANING[kind] for kind in sorted(kinds))}")
    return kinds.pop()


def _outputs(lines: Sequence[Mapping[str, Any]], kind: str) -> list[str]:
    """Return the names of a system's outputs."""
    if kind == CLASSES:
        return sorted({line["label"] for line in lines} | {line["prediction"] for line in lines})
    return list(lines[0]["label" if kind == DIMENSIONS else "probabilities"])


def _runs_of(
    name: str, paths: Sequence[Path], lines: list[dict[str, Any]], runs: Sequence[EmotionRun], folder: Path
) -> list[EmotionRun]:
    """Return a system's predictions as runs on the grid of the others, or as the only ones."""
    if not lines:
        raise UserError(f"{paths[0]}: has no prediction for an utterance that the runs test; ids are the manifest's")
    kind = _kind(lines, paths[0])
    outputs = _outputs(lines, kind)
    if kind == CLASSES and len(outputs) < 2:
        raise UserError(f"{paths[0]}: has one label alone, {outputs[0]}; a report compares two or more")
    digest = hashlib.sha256(repr(sorted((one["id"], one["label"]) for one in lines)).encode()).hexdigest()
    template = {
        **_WITHOUT_RUNS,
        **({} if kind == CLASSES else {"target": kind}),
        "labels": outputs,
        "corpus": {"name": "predictions", "path": "", "sha256": digest},
    }
    seeds, case, note = [1], "lva", ""
    if runs:
        full = [run for run in runs if run.condition.ablation == FULL]
        largest = max(full or runs, key=lambda run: run.condition.train_fraction)
        template = json.loads((largest.folder / "run.json").read_text(encoding="utf-8"))
        if (beside := template.get("target", CLASSES)) != kind:
            told = f"predicts {_MEANING[kind]}, and {largest.condition.title} {_MEANING[beside]}"
            raise UserError(f"{paths[0]}: {told}; report the two apart")
        template["test_speaker"] = ""
        seeds = sorted({run.seed for run in runs})
        case = largest.condition.train_modalities
        note = f"{name}: predictions from a file, the same for every seed." if len(seeds) > 1 else ""
    if not all(line["speaker"] for line in lines):
        note = f"{note} {name}: names no speakers; all utterances of a fold count as one speaker's.".strip()
        several = len({line["fold"] for line in lines}) > 1
        lines = [
            {**line, "speaker": line["speaker"] or (f"fold {line['fold']}" if several else "all")} for line in lines
        ]
    setting = GIVEN + "".join(letter if letter.isalnum() else "_" for letter in name.lower())
    name_in_messages(f"{folder / setting}/", f"{paths[0]}/")
    for fold in sorted({line["fold"] for line in lines}):
        of_fold = [line for line in lines if line["fold"] == fold]
        for seed in seeds:
            place = folder / setting / "fraction100" / f"fold{fold:02d}" / f"seed{seed}"
            changes = {"seed": seed, "fold": fold, "train_modalities": case}
            write_run_folder(place, template, setting, name, note, changes, case, of_fold)
    return find_runs([folder / setting])[0]
