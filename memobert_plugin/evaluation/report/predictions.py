"""Read files of predictions: as confusion counts per speaker for reports, as probabilities for a calibration."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.errors import UserError
from ...core.files import regular
from ...core.names import CLASSES, DIMENSIONS, LABEL_THRESHOLD, SEVERAL, counted
from ..metrics import dimensions, several
from ..metrics.scores import Counts, confusion
from .runs import EmotionRun

LABEL_WORDS = "label words"
VOCABULARY = "full vocabulary"


@dataclass(frozen=True, eq=False)
class SpeakerCounts:
    """Confusion counts of one file, by speaker, or of all together where folds leave sessions or groups out.

    Attributes:
        speakers: S names, sorted; ``fold 2`` for all speakers of a fold together.
        counts: (S, C, C + 1) by decision: among the ``label words``; where every line has it, over the
            ``full vocabulary`` too. The last column counts predictions outside the labels. For other targets
            ``label words`` has the float64 sums of :mod:`memobert_plugin.evaluation.metrics.dimensions` or the counts
            of ``several`` there, with S in front.
    """

    speakers: tuple[str, ...]
    counts: Mapping[str, npt.NDArray[Any]]
    parts: Mapping[str, Counts] = field(default_factory=dict)
    """(C, C + 1) among the label words, by part of the corpus; empty where it has none."""
    whole: Mapping[str, float] = field(default_factory=dict)
    """Scores of all lines that no sums over speakers give; empty for one emotion of several."""
    utterances: int = 0
    """Number of lines."""


@dataclass(frozen=True)
class _Line:
    id: str
    speaker: str
    label: str
    """As text, by which files are compared."""
    prediction: str
    vocabulary: str | None
    has_vocabulary: bool
    part: str
    truth: Any = None
    """Of other targets than one emotion, like ``answer``: a row of numbers."""
    answer: Any = None


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
            together = "" if run.held_out == "speaker" else f"fold {run.fold}"
            count = _count if run.target == CLASSES else partial(_count_others, run.target)
            self._read[path] = count(lines, run.labels, together)
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
    for key in ("id", "speaker", *(("label", "prediction") if run.target == CLASSES else ())):
        if not isinstance(values.get(key), str):
            raise UserError(f'{place}: "{key}" is missing or no text; evaluate the run again')
    for key in ("label", "prediction") if run.target == CLASSES else ():
        if values[key] not in run.labels:
            raise UserError(f'{place}: {key} "{values[key]}" is unknown; the run has {", ".join(run.labels)}')
    if values.get("fold", run.fold) != run.fold:
        raise UserError(f"{place}: fold {values['fold']}, but the run's is {run.fold}")
    if run.test_speaker and values["speaker"] != run.test_speaker:
        raise UserError(f"{place}: speaker {values['speaker']}, but the run's test speaker is {run.test_speaker}")
    if run.target != CLASSES:
        truth, answer = _other_values(place, values, run)
        return _Line(values["id"], values["speaker"], _label_text(values["label"]), "", None, False, "", truth, answer)
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
        str(values.get("part", "")),
    )


def _other_values(place: str, values: Mapping[str, Any], run: EmotionRun) -> tuple[list[float], list[float]]:
    """Return truth and answer of a line, a number for each of the run's outputs."""
    label = values.get("label")
    answer = values.get("prediction" if run.target == DIMENSIONS else "probabilities")
    if run.target == SEVERAL and isinstance(label, list):
        label = {name: float(name in label) for name in {*run.labels, *map(str, label)}}
    for given in (label, answer):
        if (
            not isinstance(given, dict)
            or set(given) != set(run.labels)
            or not all(isinstance(one, (int, float)) and math.isfinite(one) for one in given.values())
        ):
            raise UserError(f"{place}: no label and prediction of {', '.join(run.labels)}; evaluate the run again")
    assert isinstance(label, dict) and isinstance(answer, dict)  # mypy
    return [label[name] for name in run.labels], [answer[name] for name in run.labels]


def _count_others(kind: str, lines: list[_Line], labels: tuple[str, ...], together: str = "") -> SpeakerCounts:
    names, speaker = np.unique([together or line.speaker for line in lines], return_inverse=True)
    truth, answers = (np.array([getattr(line, name) for line in lines], np.float64) for name in ("truth", "answer"))
    own = [speaker == number for number in range(len(names))]
    whole = {}
    if kind == SEVERAL:
        has, given = truth > 0.5, answers >= LABEL_THRESHOLD
        whole["map"] = several.mean_average_precision(has, answers)
        of_speakers = [several.counts(has[of], given[of]).astype(np.float64) for of in own]
    else:
        of_speakers = [dimensions.sums(truth[of], answers[of]) for of in own]
    counts = {LABEL_WORDS: np.stack(of_speakers)}
    return SpeakerCounts(tuple(names.tolist()), counts, whole=whole, utterances=len(lines))


def _count(lines: list[_Line], labels: tuple[str, ...], together: str = "") -> SpeakerCounts:
    code: dict[str | None, int] = {None: -1, **{label: number for number, label in enumerate(labels)}}
    names, speaker = np.unique([together or line.speaker for line in lines], return_inverse=True)
    targets = np.array([code[line.label] for line in lines])
    decisions: dict[str, list[str | None]] = {LABEL_WORDS: [line.prediction for line in lines]}
    if all(line.has_vocabulary for line in lines):
        decisions[VOCABULARY] = [line.vocabulary for line in lines]
    counts = {}
    for name, decided in decisions.items():
        predictions = np.array([code[prediction] for prediction in decided])
        own = [speaker == number for number in range(len(names))]
        counts[name] = np.stack([confusion(targets[of], predictions[of], len(labels), outside=True) for of in own])
    predicted, parts = np.array([code[line.prediction] for line in lines]), {}
    for part in sorted({line.part for line in lines} - {""}):
        of_part = np.array([line.part == part for line in lines])
        parts[part] = confusion(targets[of_part], predicted[of_part], len(labels), outside=True)
    return SpeakerCounts(tuple(names.tolist()), counts, parts, utterances=len(lines))


def _label_text(label: Any) -> str:
    return label if isinstance(label, str) else json.dumps(label, sort_keys=True)


def _difference(first: Path, lines: list[_Line]) -> str:
    """Return, in words, the difference between the utterances of the file that was read first and these."""
    with open(first, encoding="utf-8") as stream:
        known = {one["id"]: (one["speaker"], _label_text(one["label"])) for one in map(json.loads, stream)}
    here = {line.id: (line.speaker, line.label) for line in lines}
    parts = []
    for which, extra in (("first", known.keys() - here.keys()), ("second", here.keys() - known.keys())):
        if extra:
            parts.append(f"only the {which} has {counted(len(extra), 'utterance')} such as {min(extra)}")
    changed = sorted(key for key in known.keys() & here if known[key] != here[key])
    if changed:
        (was, said), (is_now, says) = known[changed[0]], here[changed[0]]
        parts.append(
            f"{counted(len(changed), 'utterance')} with another speaker or label, such as {changed[0]}: {was}, {said} "
            f"and {is_now}, {says}"
        )
    return ", ".join(parts)


def read_probabilities(
    paths: Sequence[Path],
    labels: Sequence[str],
    fold: int | None = None,
    trained_on: Collection[str] = (),
    several: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Read the probabilities (N, C) of files of predictions and the utterances' labels (N,) as codes.

    Of several labels at once, the second array tells which of them each utterance has, (N, C).

    Args:
        paths: the files, of one or several folds.
        labels: C emotions in the order of the columns.
        fold: number of the fold of the model that is calibrated.
        trained_on: the speakers that this fold trains on; predictions of the same fold for them are refused.
        several: an utterance has any number of labels.

    Raises:
        UserError: a broken line, other emotions, an utterance that a file holds twice, or a speaker of the training.
    """
    rows: list[list[float]] = []
    codes: list[Any] = []
    for path in paths:
        known: set[str] = set()
        for place, values in _objects(path):
            shares, truth = values.get("probabilities"), values.get("label")
            chosen: Any = truth if several else [truth]
            named = isinstance(truth, list if several else str) and set(map(str, chosen)) <= set(labels)
            if not isinstance(shares, dict) or set(shares) != set(labels) or not named:
                raise UserError(f"{place}: not a prediction among {', '.join(labels)}; name this model's predictions")
            row = [shares[label] for label in labels]
            if not all(isinstance(share, (int, float)) and 0 <= share <= 1 for share in row) or (
                abs(sum(row) - 1) > 1e-2 and not several
            ):
                wrong = "are not all from 0 to 1" if several else "do not add up to 1"
                raise UserError(f"{place}: the probabilities {wrong}; evaluate the run again")
            if values.get("id") in known:
                raise UserError(f"{place}: utterance {values.get('id')} again; name each file once")
            if fold is not None and values.get("fold") == fold and values.get("speaker") in trained_on:
                raise UserError(
                    f"{place}: speaker {values['speaker']} is one of those that the model was trained on; name "
                    "predictions of speakers that were held out"
                )
            known.add(str(values.get("id")))
            rows.append(row)
            codes.append([int(label in chosen) for label in labels] if several else labels.index(chosen[0]))
    return np.array(rows, dtype=np.float64).reshape(-1, len(labels)), np.array(codes, dtype=np.int64)


def _objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the content of each line."""
    try:
        with open(regular(path), encoding="utf-8") as stream:
            for number, text in enumerate(stream, start=1):
                try:
                    values = json.loads(text)
                except (ValueError, RecursionError):
                    values = None
                if not isinstance(values, dict):
                    raise UserError(f"{path}:{number}: no JSON object; name a file of fairseq-validate --predictions")
                yield f"{path}:{number}", values
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); name a file of fairseq-validate --predictions") from None
