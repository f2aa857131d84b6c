"""Read run folders as a sweep leaves them: the description of each run (``run.json``) and its state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from ...core.errors import UserError
from ...core.files import regular
from ...core.names import CLASSES, DIMENSIONS, MODALITY_CASES, SELECTED_BY, SETTINGS

FORMAT = 1
UNTRAINED = frozenset(name for name, setting in SETTINGS.items() if not setting.trains)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Condition:
    """The values that a sweep varies on purpose; runs of one condition differ in fold and seed only.

    Attributes:
        setting: such as ``direct`` or ``pretrain_prompt``.
        ablation: ``full``, or the name of what was left out.
        train_fraction: share of the training utterances, in (0, 1].
        train_modalities: the modality case trained on.
        modality_mixture: trained on cases within ``train_modalities``, drawn per utterance.
        title: the setting's name in tables; conditions that differ in it only are equal.
        note: what a reader of its row has to know; likewise.
    """

    setting: str
    ablation: str
    train_fraction: float
    train_modalities: str
    modality_mixture: bool
    title: str = field(default="", compare=False)
    note: str = field(default="", compare=False)


@dataclass(frozen=True)
class PretrainingRun:
    """One pre-training; a report shows its curves."""

    folder: Path
    name: str


@dataclass(frozen=True)
class EmotionRun:
    """One training on one fold with one seed, and its files of predictions.

    Attributes:
        folder: of the run.
        name: within its sweep.
        status: ``done``, ``running``, ``failed`` …; ``done`` for a folder made by hand, which has no ``state.json``.
        condition: what was varied.
        fold: number of the fold; 0 stands for the manifest's own split.
        seed: of the run.
        test_speaker: the fold's, ``""`` where it has several.
        shared: what all runs of one table have in common (corpus, labels, protocol, selection), by key.
        budget: what the runs compared with each other have in common too, by key.
        own_budget: a setting's budget where the plan lets settings differ; empty where they may not.
        corpus: name of the corpus.
        labels: the emotions, in the order of the confusion counts.
        protocol: one of ``strict``, ``all_but_one``, ``reference``.
        selection: how the checkpoint was chosen.
        transductive: the test speakers' clips were used for pre-training.
        predictions: file per evaluated modality case.
        held_out: what a fold leaves out: ``speaker``, ``session`` or ``group``; intervals and tests resample it.
        data: path of the data-bin; empty where it is not known.
        leave_out: the plan's key of that name.
        target: kind of what is predicted; ``labels`` are the names of its outputs.
    """

    folder: Path
    name: str
    status: str
    condition: Condition
    fold: int
    seed: int
    test_speaker: str
    shared: Mapping[str, str]
    budget: Mapping[str, str]
    own_budget: Mapping[str, str]
    corpus: str
    labels: tuple[str, ...]
    protocol: str
    selection: str
    transductive: bool
    predictions: Mapping[str, Path]
    held_out: str = "speaker"
    data: str = ""
    leave_out: str = "speakers"
    target: str = CLASSES

    @property
    def selected_on_test(self) -> bool:
        """Tell whether the checkpoint was chosen by its score on the test speaker, which makes numbers optimistic."""
        return self.protocol == "reference" or "test" in self.selection

    def missing(self, case: str) -> str | None:
        """Return the reason why predictions of this modality case are missing; None if they are there."""
        if self.status != "done":
            return self.status
        if case not in self.predictions:
            return f"not evaluated on {case}"
        return None if self.predictions[case].is_file() else f"{self.predictions[case]} is missing"


def find_runs(folders: Iterable[Path]) -> tuple[list[EmotionRun], list[PretrainingRun]]:
    """Find all runs in the folders, at any depth; sort them by name.

    Raises:
        UserError: a folder without a run, a ``run.json`` that is none, or two runs of one condition, fold and seed.
    """
    emotion: dict[Path, EmotionRun] = {}
    pretraining: dict[Path, PretrainingRun] = {}
    for folder in folders:
        found = sorted(folder.rglob("run.json"))
        if not found:
            raise UserError(f"{folder}: no run.json there or below; give folders that memobert-sweep wrote")
        for path in found:
            run = read_run(path)
            if isinstance(run, EmotionRun):
                emotion[path.resolve()] = run
            elif isinstance(run, PretrainingRun):
                pretraining[path.resolve()] = run
    runs = sorted(emotion.values(), key=lambda run: (run.name, str(run.folder)))
    _refuse_twins(runs)
    return runs, sorted(pretraining.values(), key=lambda run: (run.name, str(run.folder)))


def read_run(path: Path) -> EmotionRun | PretrainingRun | None:
    """Read a ``run.json``; return None for a run without results of its own, such as an import.

    Raises:
        UserError: the file and the key that is missing or wrong.
    """
    fields = _Fields(path, _read_object(path))
    if fields.take("format", int) != FORMAT:
        raise UserError(f"{path}: format {fields.take('format', int)} is not {FORMAT}; use the version that wrote it")
    kind, name = fields.take("kind", str), fields.take("name", str)
    if kind == "pretraining":
        return PretrainingRun(path.parent, name)
    return _emotion_run(fields, name) if kind == "emotion" else None


class _Fields:
    """Values of a JSON object by key, with errors that name the file and the key."""

    def __init__(self, path: Path, values: Mapping[str, Any], prefix: str = "") -> None:
        self.path, self.values, self.prefix = path, values, prefix

    def take(self, key: str, kind: type[Value]) -> Value:
        value = self.values.get(key)
        # bool is an int for isinstance
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            found = "is missing" if key not in self.values else f"is {json.dumps(value, ensure_ascii=False)[:60]}"
            raise UserError(f'{self.path}: "{self.prefix}{key}" {found}; it must be of type {kind.__name__}')
        return value

    def within(self, key: str) -> _Fields:
        return _Fields(self.path, self.take(key, dict), f"{self.prefix}{key}.")


def _emotion_run(fields: _Fields, name: str) -> EmotionRun:
    path = fields.path
    corpus = fields.within("corpus")
    labels = fields.take("labels", list)
    target = _text(fields, "target", CLASSES)
    if target not in SELECTED_BY:
        raise UserError(f'{path}: "target" is {target!r}; known are {", ".join(SELECTED_BY)}')
    least = 1 if target == DIMENSIONS else 2
    different = len(set(map(str, labels))) == len(labels) and all(isinstance(name, str) for name in labels)
    if len(labels) < least or not different:
        raise UserError(f'{path}: "labels" must be two or more different names')
    fraction = fields.values.get("train_fraction")
    if not isinstance(fraction, (int, float)) or isinstance(fraction, bool) or not 0 < fraction <= 1:
        raise UserError(f'{path}: "train_fraction" must be a number above 0 and at most 1')
    setting = fields.take("setting", str)
    budget = {} if setting in UNTRAINED else _values(fields, "budget")
    shared = {
        "corpus.name": corpus.take("name", str),
        "corpus.sha256": corpus.take("sha256", str),
        "labels": ", ".join(labels),
        "protocol": fields.take("protocol", str),
        "selection": fields.take("selection", str),
        "held_out": _text(fields, "held_out", "speaker"),
        **({"target": target} if target != CLASSES else {}),
    }
    return EmotionRun(
        folder=path.parent,
        name=name,
        status=_status(path.parent),
        condition=Condition(
            setting=setting,
            ablation=fields.take("ablation", str),
            train_fraction=float(fraction),
            train_modalities=_modality_case(path, fields.take("train_modalities", str)),
            modality_mixture=fields.take("modality_mixture", bool),
            title=_title(fields, setting),
            note=_text(fields, "setting_note", ""),
        ),
        fold=fields.take("fold", int),
        seed=fields.take("seed", int),
        test_speaker=fields.take("test_speaker", str),
        shared=shared,
        budget={f"budget.{key}": value for key, value in budget.items()},
        own_budget=_values(fields, "budget_of_setting") if "budget_of_setting" in fields.values else {},
        corpus=shared["corpus.name"],
        labels=tuple(labels),
        protocol=shared["protocol"],
        selection=shared["selection"],
        transductive=fields.take("transductive", bool),
        predictions={
            _modality_case(path, case): _inside(path, file) for case, file in fields.take("predictions", dict).items()
        },
        held_out=shared["held_out"],
        data=_text(corpus, "path", ""),
        leave_out=_text(fields, "leave_out", "speakers"),
        target=target,
    )


def _text(fields: _Fields, key: str, default: str) -> str:
    """Return a text that runs of earlier versions lack."""
    return fields.take(key, str) if key in fields.values else default


def _values(fields: _Fields, key: str) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in sorted(fields.take(key, dict).items())}


def _title(fields: _Fields, setting: str) -> str:
    """Return the title that a run brings; runs of earlier versions bring none."""
    if "setting_title" in fields.values:
        return fields.take("setting_title", str)
    return SETTINGS[setting].title if setting in SETTINGS else setting.replace("_", " ").capitalize()


def _modality_case(path: Path, case: str) -> str:
    if case not in MODALITY_CASES:
        raise UserError(f"{path}: {case!r} is no modality case; known are {', '.join(MODALITY_CASES)}")
    return case


def _inside(path: Path, file: object) -> Path:
    if not isinstance(file, str) or PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
        raise UserError(f'{path}: "predictions" names {file!r}; it must be a file inside the run\'s folder')
    return path.parent / file


def _status(folder: Path) -> str:
    path = folder / "state.json"
    return _Fields(path, _read_object(path)).take("status", str) if path.exists() else "done"


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(regular(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); the run has to be made again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds no JSON object; the run has to be made again")
    return value


def _refuse_twins(runs: Iterable[EmotionRun]) -> None:
    # Runs of two protocols or corpora are not twins but a mixture, which is refused with its own words.
    seen: dict[tuple[object, ...], EmotionRun] = {}
    for run in runs:
        key = (*run.shared.values(), run.condition, run.fold, run.seed)
        first = seen.setdefault(key, run)
        if first is not run:
            raise UserError(f"{first.folder} and {run.folder}: the same setting, fold and seed twice; give one of them")
