"""Give every table its floors: chance, the most frequent label, and logistic regressions on the same folds and labels.

They are written as run folders beside the report, where the next report finds them.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.errors import UserError
from ...core.names import CLASSES, DIMENSIONS, FEATURES, FULL, LABEL_THRESHOLD, MODALITY_CASES, SEVERAL
from ...data.corpus import Corpus
from ...data.folds import choose_fold, folds_of, train_fraction
from ...data.indexed import IndexedReader
from ...data.targets import target_of
from ..metrics.dimensions import ccc, sums
from ..metrics.scores import Scores, confusion
from ..metrics.several import counts, macro_f1
from .results import FLOOR, FLOORS
from .runs import EmotionRun, read_run

ALL = f"{FLOOR}all"
_SIMPLEST: Mapping[str, tuple[str, str]] = {
    CLASSES: ("drawn by frequency", "most frequent label"),
    SEVERAL: ("drawn from training", "labels that most have"),
    DIMENSIONS: ("drawn from training", "mean in training"),
}
_REGRESSIONS = tuple(f"regression on {stream}" for stream in ("words", "faces", "voice", "all of these"))
_MODELS: Mapping[str, str] = {
    CLASSES: "labels drawn by their frequency in training, the most frequent one, and scikit-learn's logistic "
    "regression",
    SEVERAL: "labels of a training utterance drawn for each, how often each label occurs in training, and "
    "scikit-learn's logistic regression for each label",
    DIMENSIONS: "numbers of a training utterance drawn for each, their mean in training, and scikit-learn's ridge "
    "regression",
}


def floor_titles(kind: str) -> dict[str, str]:
    """Return the floors of a kind of target in the order of tables, with their titles."""
    return {name: f"Floor: {title}" for name, title in zip(FLOORS, (*_SIMPLEST[kind], *_REGRESSIONS), strict=True)}


def _note(kind: str) -> str:
    return (
        f"Floors: {_MODELS[kind]} on TF-IDF of word pieces, on mean and deviation of face and of speech frames, and on "
        "all of these; same folds, labels and draws of the training data; its penalty is the best in validation."
    )


_MOST_PIECES = 60
_PENALTIES = (0.01, 0.1, 1.0)
"""scikit-learn's C, or one over its alpha; the middle one where a fold has no validation."""

Rows = npt.NDArray[np.int64]
Answers = npt.NDArray[Any]
"""Codes of emotions ``(n,)``; of other targets numbers or probabilities ``(n, C)``."""


def write_floors(runs: Sequence[EmotionRun], folder: Path) -> list[str]:
    """Write the floors of these runs as run folders; those that are there already for the same features stay.

    Args:
        runs: of one report.
        folder: to write to.

    Returns:
        Remarks on runs that have no floors.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        return ["no floors: scikit-learn is missing; pip install scikit-learn, or give --no-floors"]
    remarks = []
    by_corpus: dict[tuple[str, ...], list[EmotionRun]] = {}
    for run in runs:
        if run.condition.ablation == FULL and not run.condition.setting.startswith(FLOOR):
            by_corpus.setdefault((*run.shared.values(), run.data, run.leave_out), []).append(run)
    written: dict[str, tuple[str, str]] = {}
    for alike in by_corpus.values():
        try:
            if remark := _write_alike(alike, folder, written):
                remarks.append(remark)
        except UserError as error:
            remarks.append(f"no floors: {error}")
    return list(dict.fromkeys(remarks))


def floors_of(runs: Sequence[EmotionRun], folder: Path) -> list[EmotionRun]:
    """Return the floors in a folder that belong to these runs: the same corpus, folds, seeds and shares."""

    def place(run: EmotionRun) -> tuple[object, ...]:
        return (*run.shared.values(), run.fold, run.seed, run.condition.train_fraction)

    beside = {place(run): run for run in sorted(runs, key=lambda run: bool(run.budget))}  # trained ones win
    found = [run for path in sorted(folder.rglob("run.json")) if isinstance(run := read_run(path), EmotionRun)]
    return [replace(run, budget=beside[place(run)].budget) for run in found if place(run) in beside]


def _write_alike(runs: Sequence[EmotionRun], folder: Path, written: dict[str, tuple[str, str]]) -> str:
    """Write the floors of runs on one data-bin; return a remark where those of another one stand for them.

    Args:
        runs: alike but for setting, share, fold and seed.
        folder: to write to.
        written: features and data-bin of the floors of this report by their folder, filled here.
    """
    first = runs[0]
    if not first.data:
        return ""  # predictions without runs beside them
    if not Path(first.data).is_dir():
        raise UserError(f"{first.data}: the data-bin is not there any more")
    corpus = Corpus(first.data)
    if corpus.sha256() != first.shared["corpus.sha256"]:
        raise UserError(f"{first.data}: has changed since the runs")
    utterances = _Utterances(corpus, first)
    fractions = sorted({run.condition.train_fraction for run in runs})
    case = min((run.condition.train_modalities for run in runs), key=MODALITY_CASES.index)
    key = hashlib.sha256(repr([*first.shared.values(), first.leave_out]).encode()).hexdigest()[:12]
    features = corpus.features_sha256()
    if _features_of(first.folder) not in (None, [features]):
        raise UserError(f"{first.data}: its words or frames have changed since the runs")
    known, at = written.setdefault(key, (features, first.data))
    if known != features:
        return f"floors: fitted on the frames and words of {at} alone; {first.data} has others"
    for fraction in fractions:
        at_share = [run for run in runs if run.condition.train_fraction == fraction]
        for fold in sorted({run.fold for run in at_share}):
            seeds = sorted({run.seed for run in at_share if run.fold == fold})
            template = json.loads((at_share[0].folder / "run.json").read_text(encoding="utf-8"))
            whole: dict[str, Answers] = {}
            for seed in seeds:
                places = {
                    name: Path(folder, key, name, f"fraction{100 * fraction:g}", f"fold{fold:02d}", f"seed{seed}")
                    for name in utterances.systems
                }
                if all(_features_of(place) == [features] for place in places.values()):
                    continue
                # All of the training data: nothing but chance depends on the seed.
                found = dict(utterances.answers(fold, fraction, seed, whole))
                whole = found if fraction == 1 else {}
                for name, place in places.items():
                    changes = {"seed": seed, "fold": fold, "test_speaker": "", "train_modalities": case}
                    changes[FEATURES] = [features]
                    lines = utterances.lines(fold, found[name])
                    title, note = floor_titles(first.target)[name], _note(first.target)
                    write_run_folder(place, template, name, title, note, changes, case, lines)
    return ""


def _features_of(place: Path) -> list[str] | None:
    """Return the digest of the features that a run or floor was fitted on; None where there is none."""
    try:
        features: list[str] | None = json.loads((place / "run.json").read_text(encoding="utf-8")).get(FEATURES)
    except (OSError, ValueError):
        return None
    return features


def write_run_folder(
    place: Path,
    template: Mapping[str, Any],
    setting: str,
    title: str,
    note: str,
    changes: Mapping[str, Any],
    case: str,
    lines: Sequence[Mapping[str, Any]],
) -> None:
    """Write predictions as a run that a report takes for one of the template's sweep."""
    place.mkdir(parents=True, exist_ok=True)
    with open(place / "predictions.jsonl", "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    content = {
        **template,
        "name": f"{setting}/{place.parent.parent.name}/{place.parent.name}/{place.name}",
        "commands": [],
        "setting": setting,
        "setting_title": title,
        "setting_note": note,
        "ablation": FULL,
        "modality_mixture": False,
        "transductive": False,
        "budget_of_setting": {},
        "predictions": {case: "predictions.jsonl"},
        **changes,
    }
    (place / "run.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _Parts:
    """Rows of a fold; empty where a fold has no validation."""

    train: Rows
    valid: Rows
    test: Rows


class _Utterances:
    """The labelled utterances of a data-bin and their features."""

    def __init__(self, corpus: Corpus, run: EmotionRun) -> None:
        self.corpus, self.run = corpus, run
        self.target = target_of(corpus, run.target, run.labels)
        everything = np.arange(len(corpus))
        self.labelled = self.target.known(corpus, everything)
        self.targets = self.target.values(corpus, everything)
        self._streams: dict[str, Any] | None = None

    @property
    def systems(self) -> list[str]:
        """Return the floors that the data-bin allows."""
        lacking = {f"{FLOOR}{name}" for name in ("visual", "acoustic") if getattr(self.corpus, name) is None}
        return [name for name in FLOORS if name not in lacking]

    def parts(self, number: int) -> _Parts:
        """Return the rows of a fold that have one of the labels."""
        if not number:
            of_split = {name: self.corpus.split == code for code, name in enumerate(self.corpus.splits)}
            nothing = np.zeros(len(self.corpus), dtype=bool)
            return _Parts(
                *(np.flatnonzero(self.labelled & of_split.get(n, nothing)) for n in ("train", "valid", "test"))
            )
        fold = choose_fold(folds_of(self.corpus, self.labelled, self.run.leave_out, self.run.protocol), number)
        none = np.empty(0, dtype=np.int64)
        rows = [fold.rows(self.corpus, "train"), fold.rows(self.corpus, "valid") if fold.valid_speakers else none]
        return _Parts(*(of_part[self.labelled[of_part]] for of_part in (*rows, fold.rows(self.corpus, "test"))))

    def answers(
        self, number: int, fraction: float, seed: int, known: Mapping[str, Answers]
    ) -> Iterator[tuple[str, Answers]]:
        """Yield each floor with its answers for the test part; those that are ``known`` already are not fitted."""
        parts = self.parts(number)
        train = parts.train
        if fraction < 1:
            strata = self.target.strata(self.corpus, train)
            train = train[train_fraction(self.corpus.uid[train], strata, fraction, seed)]
        if not len(train) or not len(parts.test):
            raise UserError(f"{self.corpus.path}: fold {number} has nothing to train or to test on")
        drawn = np.random.default_rng([seed, number])
        for name in self.systems:
            if name in (f"{FLOOR}chance", f"{FLOOR}majority"):
                yield name, self._without_input(name, train, len(parts.test), drawn)
            else:
                yield name, known[name] if name in known else self._regression(name, train, parts)

    def _without_input(self, name: str, train: Rows, tested: int, drawn: np.random.Generator) -> Answers:
        """Return answers ``(tested,)``, or ``(tested, C)``, that do not look at any utterance."""
        values = self.targets[train]
        if self.run.target != CLASSES:
            chosen = values[drawn.integers(len(values), size=tested)]
            return chosen if name == f"{FLOOR}chance" else np.tile(values.mean(axis=0), (tested, 1))
        shares = np.bincount(values, minlength=len(self.run.labels)) / len(train)
        if name == f"{FLOOR}chance":
            return drawn.choice(len(shares), tested, p=shares)
        return np.full(tested, shares.argmax())

    def lines(self, number: int, answers: Answers) -> list[dict[str, Any]]:
        """Return the lines of a file of predictions."""
        corpus, lines = self.corpus, []
        for row, answer in zip(self.parts(number).test.tolist(), answers.tolist(), strict=True):
            if self.run.target == CLASSES:
                told = {"label": self.run.labels[self.targets[row]], "prediction": self.run.labels[answer]}
            else:
                told = self.target.line(self.targets[row], answer)
            line = {
                "id": corpus.utterance_id(row),
                "speaker": corpus.speakers[corpus.speaker[row]],
                "fold": number,
                **told,
            }
            if corpus.part is not None:
                line["part"] = corpus.meta.parts[corpus.part[row]]
            lines.append(line)
        return lines

    def _regression(self, name: str, train: Rows, parts: _Parts) -> Answers:
        from scipy.sparse import csr_matrix, hstack
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.preprocessing import StandardScaler

        streams = self._features()
        wanted = [name.removeprefix(FLOOR)] if name != ALL else list(streams)
        columns: dict[str, list[Any]] = {"train": [], "valid": [], "test": []}
        for stream in wanted:
            scaler = TfidfTransformer(sublinear_tf=True) if stream == "text" else StandardScaler()
            scaler.fit(streams[stream][train])
            for part, rows in (("train", train), ("valid", parts.valid), ("test", parts.test)):
                if len(rows):
                    columns[part].append(csr_matrix(scaler.transform(streams[stream][rows])))
        values = {part: hstack(of_part).tocsr() for part, of_part in columns.items() if of_part}
        targets = self.targets
        if self.run.target == CLASSES and len(np.unique(targets[train])) < 2:
            return np.full(len(parts.test), targets[train][0])
        best, score = None, -math.inf
        for penalty in _PENALTIES if len(parts.valid) else _PENALTIES[1:2]:
            predict = _fitted(self.run.target, penalty, values["train"], targets[train])
            found = 0.0
            if len(parts.valid):
                found = self._score(targets[parts.valid], predict(values["valid"]))
            if best is None or found > score:
                best, score = predict, found
        assert best is not None
        return best(values["test"])

    def _score(self, truth: npt.NDArray[Any], answers: Answers) -> float:
        """Return the score that selects among penalties."""
        if self.run.target == DIMENSIONS:
            return float(np.mean(ccc(sums(truth, answers))))
        if self.run.target == SEVERAL:
            return float(macro_f1(counts(truth > 0.5, answers >= LABEL_THRESHOLD)))
        return Scores.from_confusion(confusion(truth, answers, len(self.run.labels), outside=True)).uar

    def _features(self) -> dict[str, Any]:
        """Return features of all utterances by stream, ``(n, D)`` each."""
        if self._streams is None:
            meta = self.corpus.meta
            self._streams = {"text": _piece_counts(self.corpus)}
            for stream, reader, dim in (
                ("visual", self.corpus.visual, meta.visual_dim),
                ("acoustic", self.corpus.acoustic, meta.acoustic_dim),
            ):
                if reader is not None and dim:
                    self._streams[stream] = _moments(reader, dim, self.labelled)
        return self._streams


def _fitted(kind: str, penalty: float, inputs: Any, targets: npt.NDArray[Any]) -> Callable[[Any], Answers]:
    """Fit a regression and return the function from inputs to answers."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier

    if kind == DIMENSIONS:
        ridge = Ridge(alpha=1 / penalty).fit(inputs, targets)
        return lambda given: ridge.predict(given).reshape(given.shape[0], -1)
    model = LogisticRegression(C=penalty, max_iter=300)
    if kind == SEVERAL:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about labels that all or no training utterances have
            several = OneVsRestClassifier(model).fit(inputs, targets)
        return lambda given: several.predict_proba(given)
    model.fit(inputs, targets)
    return lambda given: model.predict(given).astype(np.int64)


def _piece_counts(corpus: Corpus) -> Any:
    """Return how often each word piece stands at the start of each text, a sparse matrix."""
    from scipy.sparse import csr_matrix

    texts = [corpus.text.view(row)[:_MOST_PIECES].astype(np.int64) for row in range(len(corpus))]
    ends = np.cumsum([0, *map(len, texts)])
    columns = np.concatenate([*texts, np.empty(0, np.int64)])
    counts = csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(texts), len(corpus.symbols)))
    counts.sum_duplicates()
    return counts


def _moments(reader: IndexedReader, dim: int, wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return mean and deviation of each utterance's frames ``(n, 2 D)``; the mean utterance's where it has none."""
    values = np.full((len(reader), 2 * dim), np.nan, dtype=np.float32)
    for row in np.flatnonzero(wanted).tolist():
        frames = reader.view(row).reshape(-1, dim).astype(np.float32)
        if len(frames):
            values[row] = np.concatenate([frames.mean(axis=0), frames.std(axis=0)])
    absent = np.isnan(values[:, 0])
    values[absent] = values[~absent].mean(axis=0) if (~absent).any() else 0
    return values
