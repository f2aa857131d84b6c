"""Read files of predictions as confusion counts per speaker; every file of a fold must hold the same utterances."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError
from ...core.files import regular
from ..metrics.scores import Counts, confusion
from .runs import EmotionRun

LABEL_WORDS = "label words"
VOCABULARY = "full vocabulary"


@dataclass(frozen=True, eq=False)
class SpeakerCounts:
    """Confusion counts of one file, by speaker.

    Attributes:
        speakers: S names, sorted.
        counts: (S, C, C + 1) by decision: among the ``label words``; where every line has it, over the
            ``full vocabulary`` too. The last column counts predictions outside the labels.
    """

    speakers: tuple[str, ...]
    counts: Mapping[str, Counts]


@dataclass(frozen=True)
class _Line:
    id: str
    speaker: str
    label: str
    prediction: str
    vocabulary: str | None
    has_vocabulary: bool


class PredictionReader:
    """Reader of prediction files: reads each once, and checks that all files of a fold hold the same utterances."""

    def __init__(self) -> None:
        self._read: dict[Path, SpeakerCounts] = {}
        self._first: dict[int, tuple[Path, bytes]] = {}
        self._fold_of_speaker: dict[str, tuple[int, Path]] = {}

    def read(self, run: EmotionRun, case: str) -> SpeakerCounts:
        """Return the counts of a run's predictions for a modality case.

        Raises:
            UserError: a broken line, by file and row; utterances that differ from those of the fold's other files;
                a speaker tested in two folds.
        """
        path = run.predictions[case]
        if path not in self._read:
            lines = _read_lines(path, run)
            self._compare(path, run.fold, lines)
            self._read[path] = _count(lines, run.labels)
        return self._read[path]

    def _compare(self, path: Path, fold: int, lines: list[_Line]) -> None:
        digest = hashlib.sha256(repr(sorted((line.id, line.speaker, line.label) for line in lines)).encode()).digest()
        first, expected = self._first.setdefault(fold, (path, digest))
        if digest != expected:
            raise UserError(f"{first} and {path}: {_difference(first, lines)}; compare runs on the same utterances")
        for speaker in {line.speaker for line in lines}:
            other, where = self._fold_of_speaker.setdefault(speaker, (fold, path))
            if other != fold:
                raise UserError(
                    f"{where} and {path}: speaker {speaker} is tested in fold {other} and in fold {fold}; folds of "
                    "one report test different speakers"
                )


def _read_lines(path: Path, run: EmotionRun) -> list[_Line]:
    lines: list[_Line] = []
    rows_of: dict[str, int] = {}
    try:
        with open(regular(path), encoding="utf-8") as stream:
            for row, text in enumerate(stream, start=1):
                line = _parse(f"{path}:{row}", text, run)
                if line.id in rows_of:
                    raise UserError(f"{path}:{row}: utterance {line.id} again, after row {rows_of[line.id]}")
                rows_of[line.id] = row
                lines.append(line)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); evaluate the run again") from None
    if not lines:
        raise UserError(f"{path}: holds no prediction; evaluate the run again")
    return lines


def _parse(place: str, text: str, run: EmotionRun) -> _Line:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UserError(f"{place}: no JSON ({error}); evaluate the run again") from None
    if not isinstance(values, dict):
        raise UserError(f"{place}: no JSON object; evaluate the run again")
    for key in ("id", "speaker", "label", "prediction"):
        if not isinstance(values.get(key), str):
            raise UserError(f'{place}: "{key}" is missing or no text; evaluate the run again')
    for key in ("label", "prediction"):
        if values[key] not in run.labels:
            raise UserError(f'{place}: {key} "{values[key]}" is unknown; the run has {", ".join(run.labels)}')
    if values.get("fold", run.fold) != run.fold:
        raise UserError(f"{place}: fold {values['fold']}, but the run's is {run.fold}")
    if run.test_speaker and values["speaker"] != run.test_speaker:
        raise UserError(f"{place}: speaker {values['speaker']}, but the run's test speaker is {run.test_speaker}")
    vocabulary: Any = values.get("vocabulary_prediction")
    if vocabulary is not None and vocabulary not in run.labels:
        raise UserError(f'{place}: vocabulary_prediction "{vocabulary}" is neither a label nor null')
    return _Line(
        values["id"],
        values["speaker"],
        values["label"],
        values["prediction"],
        vocabulary,
        "vocabulary_prediction" in values,
    )


def _count(lines: list[_Line], labels: tuple[str, ...]) -> SpeakerCounts:
    code: dict[str | None, int] = {None: -1, **{label: number for number, label in enumerate(labels)}}
    names, speaker = np.unique([line.speaker for line in lines], return_inverse=True)
    targets = np.array([code[line.label] for line in lines])
    decisions: dict[str, list[str | None]] = {LABEL_WORDS: [line.prediction for line in lines]}
    if all(line.has_vocabulary for line in lines):
        decisions[VOCABULARY] = [line.vocabulary for line in lines]
    counts = {}
    for name, decided in decisions.items():
        predictions = np.array([code[prediction] for prediction in decided])
        own = [speaker == number for number in range(len(names))]
        counts[name] = np.stack([confusion(targets[of], predictions[of], len(labels), outside=True) for of in own])
    return SpeakerCounts(tuple(names.tolist()), counts)


def _difference(first: Path, lines: list[_Line]) -> str:
    """Return, in words, the difference between the utterances of the file that was read first and these."""
    with open(first, encoding="utf-8") as stream:
        known = {values["id"]: (values["speaker"], values["label"]) for values in map(json.loads, stream)}
    here = {line.id: (line.speaker, line.label) for line in lines}
    parts = []
    for which, extra in (("first", known.keys() - here.keys()), ("second", here.keys() - known.keys())):
        if extra:
            parts.append(f"only the {which} has {len(extra)} utterances such as {min(extra)}")
    changed = sorted(key for key in known.keys() & here if known[key] != here[key])
    if changed:
        (was, said), (is_now, says) = known[changed[0]], here[changed[0]]
        parts.append(
            f"{len(changed)} utterances have another speaker or label, such as {changed[0]}: {was}, {said} and "
            f"{is_now}, {says}"
        )
    return ", ".join(parts)
