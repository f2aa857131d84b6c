"""Give the floors that a network has to beat: logistic regressions on means, with all, few and no labels.

Per fold, which leaves one speaker out, three regressions read the mean of an utterance's text, faces and speech:

* each stream alone;
* their product. Streams that are independent witnesses of the emotion e give
  p(e | all) ~ p(e | text) p(e | faces) p(e | speech) / p(e)^2;
* with few labels or none also expectation-maximisation (EM): the product labels the training speakers' unlabelled
  utterances, the regressions are refitted on these soft labels, and so on. Given labels stay as they are. Without
  labels the first soft labels are softmax(0.5 x sum over faces of an expression's probability). "EM, equal shares"
  also knows that the emotions are about equally frequent, as --co-prompting-shares equal does.

Training speakers and draws of labelled utterances are those of the tasks (protocol "strict", --train-fraction,
--seed). The regressions' penalties and the number of refits favour the floors: the better of two sets on all speakers.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import StandardScaler

from memobert_plugin.checkpoints.text_encoder import read_text_encoder
from memobert_plugin.core.console import run_command
from memobert_plugin.core.errors import UserError
from memobert_plugin.core.files import replaced_when_complete
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.folds import Fold, choose_fold, make_folds, train_fraction
from memobert_plugin.data.indexed import IndexedReader
from memobert_plugin.data.vocabulary import CLS, SEP
from memobert_plugin.evaluation.metrics.scores import Counts, confusion
from memobert_plugin.evaluation.metrics.significance import accuracy, bootstrap_interval, unweighted_recall
from memobert_plugin.evaluation.report.formats import Table, as_markdown, interval, percent
from memobert_plugin.nn.text_encoder import FrozenTextEncoder
from memobert_plugin.objectives.prompt_flags import prior_of_shares

Array = npt.NDArray[np.float64]
Features: TypeAlias = Any
"""An array ``(n, D)``, or a sparse matrix of that shape."""

TEXT, PIECES, FACES, SPEECH = "text", "text (TF-IDF)", "faces", "speech"
PRODUCT, EM, EM_EQUAL, EXPRESSIONS = "product", "EM", "EM, equal shares", "expressions"
INVERSE_PENALTY = {TEXT: 0.01, PIECES: 1.0, FACES: 1.0, SPEECH: 0.003}
"""scikit-learn's C of each stream's regression: its default, and less for streams of many dimensions."""
ROUNDS = 5
"""Refits of EM."""
SHARPNESS = 0.5
"""Factor of the sum over faces in the first soft labels without labels."""
MAX_PIECES = 60
"""Word pieces read from the start of a text: the tasks' default."""
EXPRESSION_OF_LABEL = {"angry": "anger", "happy": "happiness", "joy": "happiness", "sad": "sadness"}
"""Expression classes of labels that have another name."""


@dataclass(frozen=True)
class Utterances:
    """Labelled utterances of a data-bin, one entry or row each.

    Attributes:
        labels: names of the codes in ``emotion``.
        speaker: names.
        sessions: of each speaker, for folds.
        streams: mean vectors by stream; counts of word pieces for text without an encoder.
        expression: sums over faces of the probabilities of the labels' expressions; None where the data-bin has no
            expressions or not one for every label.
    """

    labels: list[str]
    uid: npt.NDArray[np.uint64]
    emotion: npt.NDArray[np.int64]
    speaker: npt.NDArray[np.str_]
    sessions: dict[str, set[str]]
    streams: dict[str, Array]
    expression: Array | None


def read_utterances(path: Path, text_encoder: Path | None) -> Utterances:
    """Read a data-bin, and represent each stream of an utterance by one vector.

    Raises:
        UserError: no data-bin, an utterance without one of the three streams, or a text encoder that does not fit.
    """
    corpus = Corpus(path)
    rows = np.flatnonzero((corpus.emotion >= 0) & (corpus.emotion < len(corpus.meta.labels)))
    if corpus.visual is None or corpus.acoustic is None or not len(rows):
        raise UserError(f"{path}: has no faces, no speech or no labels; the floors need text, faces, speech and labels")
    for name in ("text", "visual", "acoustic"):
        absent = rows[getattr(corpus, f"{name}_lengths")[rows] == 0]
        if len(absent):
            raise UserError(
                f"{path}: {corpus.utterance_id(absent[0])} and {len(absent) - 1} others have no {name} stream; the "
                "floors need all three of every labelled utterance"
            )
    classes = corpus.meta.expression_classes
    names = [EXPRESSION_OF_LABEL.get(label, label) for label in corpus.meta.labels]
    expression = None
    if corpus.expression is not None and set(names) <= set(classes):
        sums = [_frames(corpus.expression, row, len(classes)).sum(axis=0) for row in rows]
        expression = np.stack(sums)[:, [classes.index(name) for name in names]]
    sessions: dict[str, set[str]] = defaultdict(set)
    for speaker, session in zip(corpus.speaker[rows], corpus.session[rows], strict=True):
        sessions[corpus.speakers[speaker]].add(corpus.sessions[session])
    visual_dim, acoustic_dim = corpus.meta.visual_dim or 0, corpus.meta.acoustic_dim or 0
    return Utterances(
        labels=corpus.meta.labels,
        uid=corpus.uid[rows],
        emotion=corpus.emotion[rows].astype(np.int64),
        speaker=np.array(corpus.speakers)[corpus.speaker[rows]],
        sessions=sessions,
        streams={
            **({TEXT: _encoded(corpus, rows, text_encoder)} if text_encoder else {PIECES: _piece_counts(corpus, rows)}),
            FACES: np.stack([_frames(corpus.visual, row, visual_dim).mean(axis=0) for row in rows]),
            SPEECH: np.stack([_frames(corpus.acoustic, row, acoustic_dim).mean(axis=0) for row in rows]),
        },
        expression=expression,
    )


def _frames(reader: IndexedReader, row: int, dim: int) -> Array:
    return reader.view(row).reshape(-1, dim).astype(np.float64)


def _pieces(corpus: Corpus, row: int) -> npt.NDArray[np.int64]:
    return corpus.text.view(row)[:MAX_PIECES].astype(np.int64)


def _encoded(corpus: Corpus, rows: npt.NDArray[np.int64], folder: Path) -> Array:
    """Return the mean of each text's states, [CLS] and [SEP] included, in a frozen BERT."""
    source = read_text_encoder(folder, corpus.symbols)
    encoder = FrozenTextEncoder(len(corpus.symbols), source.sizes)
    encoder.load_state_dict(dict(source.weights))
    encoder.eval()
    most = source.sizes.positions - 2
    texts, means = [np.concatenate([[CLS], _pieces(corpus, row)[:most], [SEP]]) for row in rows], []
    for begin in range(0, len(texts), 64):
        part = texts[begin : begin + 64]
        lengths = np.array([len(text) for text in part])
        states = encoder(torch.from_numpy(np.concatenate(part)), lengths)
        means += [of_text.double().mean(dim=0).numpy() for of_text in states.split(lengths.tolist())]
    return np.stack(means)


def _piece_counts(corpus: Corpus, rows: npt.NDArray[np.int64]) -> Array:
    """Return how often each word piece of the corpus stands in a text."""
    counts = np.stack([np.bincount(_pieces(corpus, row), minlength=len(corpus.symbols)) for row in rows])
    return counts[:, counts.any(axis=0)].astype(np.float64)


@dataclass(frozen=True)
class Regression:
    """A multinomial logistic regression.

    Attributes:
        weights: (D + 1, C), the last row is the intercept.
    """

    weights: Array

    @classmethod
    def fit(
        cls, values: Features, targets: Array, inverse_penalty: float, start: Regression | None = None
    ) -> Regression:
        """Minimise cross-entropy + |weights without intercept|^2 / (2 C), as scikit-learn does for hard labels.

        Args:
            values: (n, D).
            targets: (n, C) distributions.
            inverse_penalty: scikit-learn's C.
            start: weights to start from; they change the time it takes, hardly the result.
        """
        shape = values.shape[1] + 1, targets.shape[1]

        def loss(flat: Array) -> tuple[float, Array]:
            weights = flat.reshape(shape)
            answers = log_softmax(values @ weights[:-1] + weights[-1], axis=1)
            error = np.exp(answers) - targets
            gradient = np.vstack([values.T @ error + weights[:-1] / inverse_penalty, error.sum(axis=0)])
            penalty = (weights[:-1] ** 2).sum() / (2 * inverse_penalty)
            return float(penalty - (targets * answers).sum()), gradient.ravel()

        first = np.zeros(shape) if start is None else start.weights
        options = {"maxiter": 1000, "gtol": 1e-3, "ftol": 1e-8}
        return cls(minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options=options).x.reshape(shape))

    def log_probabilities(self, values: Features) -> Array:
        """Return ``(n, C)``."""
        return log_softmax(values @ self.weights[:-1] + self.weights[-1], axis=1)


@dataclass(frozen=True)
class Floors:
    """Three regressions and their product, fitted on the same utterances."""

    regressions: dict[str, Regression]
    log_prior: Array

    @classmethod
    def fit(
        cls, streams: dict[str, Features], targets: Array, start: Floors | None = None, equal: bool = False
    ) -> Floors:
        """Fit each stream's regression on the distributions ``(n, C)`` of n utterances.

        Args:
            start: regressions to start from.
            equal: choose the prior so that the product makes all emotions equally frequent, instead of the targets'.
        """
        regressions = {
            name: Regression.fit(values, targets, INVERSE_PENALTY[name], start.regressions[name] if start else None)
            for name, values in streams.items()
        }
        if not equal:
            return cls(regressions, np.log(targets.mean(axis=0)))
        each = [regressions[name].log_probabilities(values) for name, values in streams.items()]
        number, classes = torch.full((len(targets), 1), len(streams)), targets.shape[1]
        shares = torch.full((classes,), 1 / classes, dtype=torch.float64)
        return cls(regressions, prior_of_shares(torch.from_numpy(np.sum(each, axis=0)), number, shares).numpy())

    def answers(self, streams: dict[str, Features]) -> dict[str, Array]:
        """Return log-probabilities ``(n, C)`` by stream, and those of the product, not normalised."""
        found = {name: self.regressions[name].log_probabilities(values) for name, values in streams.items()}
        return {**found, PRODUCT: sum(found.values(), np.zeros(1)) - (len(found) - 1) * self.log_prior}


def maximise_expectation(
    streams: dict[str, Features], targets: Array, labelled: npt.NDArray[np.int64], equal: bool = False
) -> Floors:
    """Refit the product on its own soft labels.

    Args:
        streams: of all utterances of the training speakers.
        targets: (n, C) first soft labels.
        labelled: indices of utterances whose targets stay as they are.
        equal: hold all emotions equally frequent.
    """
    floors = Floors.fit(streams, targets, equal=equal)
    for _ in range(ROUNDS - 1):
        updated = softmax(floors.answers(streams)[PRODUCT], axis=1)
        updated[labelled] = targets[labelled]
        floors = Floors.fit(streams, updated, floors, equal)
    return floors


def fold_counts(
    utterances: Utterances, fold: Fold, shares: Sequence[float], seeds: Sequence[int]
) -> Iterator[tuple[float, str, Counts]]:
    """Yield share of the labels, system and the confusion counts of the test speaker.

    Raises:
        UserError: the training speakers never show one of the labels.
    """
    trained, tested = np.isin(utterances.speaker, fold.train), utterances.speaker == fold.test
    emotion, classes = utterances.emotion[trained], len(utterances.labels)
    for code, label in enumerate(utterances.labels):
        if code not in emotion:
            raise UserError(f"fold {fold.number}: its training speakers have no utterance of {label}; leave it out")
    train, test = (_scaled(utterances.streams, trained, wanted) for wanted in (trained, tested))
    one_hot = np.eye(classes)[emotion]

    def counts(scores: Array) -> Counts:
        return confusion(utterances.emotion[tested], scores.argmax(axis=1), classes, outside=True)

    def refitted(share: float, first: Array, labelled: npt.NDArray[np.int64]) -> Iterator[tuple[float, str, Counts]]:
        for system, equal in ((EM, False), (EM_EQUAL, True)):
            yield share, system, counts(maximise_expectation(train, first, labelled, equal).answers(test)[PRODUCT])

    for share in shares:
        if not share:
            if utterances.expression is not None:
                yield share, EXPRESSIONS, counts(utterances.expression[tested])
                first = softmax(SHARPNESS * utterances.expression[trained], axis=1)
                yield from refitted(share, first, np.empty(0, np.int64))
            continue
        for seed in seeds if share < 1 else [0]:
            drawn = train_fraction(utterances.uid[trained], emotion, share, seed)
            floors = Floors.fit({name: values[drawn] for name, values in train.items()}, one_hot[drawn])
            for system, scores in floors.answers(test).items():
                yield share, system, counts(scores)
            if share < 1:
                first = softmax(floors.answers(train)[PRODUCT], axis=1)
                first[drawn] = one_hot[drawn]
                yield from refitted(share, first, drawn)


def _scaled(
    streams: dict[str, Array], trained: npt.NDArray[np.bool_], wanted: npt.NDArray[np.bool_]
) -> dict[str, Features]:
    """Return the wanted rows, standardised (counts of pieces: TF-IDF) on all utterances of the training speakers."""
    scaled: dict[str, Features] = {}
    for name, values in streams.items():
        scaler = TfidfTransformer(sublinear_tf=True) if name == PIECES else StandardScaler()
        scaled[name] = scaler.fit(values[trained]).transform(values[wanted])
    return scaled


@dataclass(frozen=True, eq=False)
class Row:
    """A system at a share of the labels.

    Attributes:
        counts: (draws, 1, C, C + 1) by fold, as :mod:`memobert_plugin.evaluation.metrics.significance` reads them.
    """

    system: str
    share: float
    counts: list[Counts]

    @property
    def title(self) -> str:
        """Return the row's name in the table."""
        return f"{self.system}, {f'{100 * self.share:g} % of the labels' if self.share else 'no labels'}"

    def record(self, speakers: Sequence[str]) -> dict[str, object]:
        """Return the row of the machine-readable table: shares, not per cent; nan where undefined."""
        record: dict[str, object] = {
            "system": self.system,
            "share": self.share,
            "folds": len(self.counts),
            "draws": len(self.counts[0]),
            "utterances": int(sum(fold[0].sum() for fold in self.counts)),
        }
        by_speaker: list[float] = []
        for name, metric in (("wa", accuracy), ("uar", unweighted_recall)):
            scores = np.stack([metric(fold.sum(axis=1)) for fold in self.counts])
            by_speaker = scores.mean(axis=1).tolist()
            low, high = bootstrap_interval(self.counts, metric)
            record |= {
                name: fmean(by_speaker),
                f"{name}_low": low,
                f"{name}_high": high,
                f"{name}_sd_folds": _deviation(by_speaker),
                f"{name}_sd_draws": _deviation(scores.mean(axis=0).tolist()),
            }
        return record | {f"uar {speaker}": uar for speaker, uar in zip(speakers, by_speaker, strict=True)}


def _deviation(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else float("nan")


def measure(utterances: Utterances, folds: Sequence[Fold], shares: Sequence[float], seeds: Sequence[int]) -> list[Row]:
    """Fit and test everything on every fold."""
    cells: dict[tuple[float, str], list[list[Counts]]] = {}
    for place, fold in enumerate(folds):
        for share, system, counts in fold_counts(utterances, fold, shares, seeds):
            of_folds = cells.setdefault((share, system), [])
            if len(of_folds) == place:
                of_folds.append([])
            of_folds[place].append(counts)
    return [
        Row(system, share, [np.stack(draws)[:, None] for draws in of_folds])
        for (share, system), of_folds in cells.items()
    ]


def as_table(title: str, rows: Sequence[Row], speakers: Sequence[str]) -> Table:
    """Return the table in the form of memobert-report's."""
    records = [row.record(speakers) for row in rows]
    header = [""]
    for name in ("WA", "UAR"):
        header += [name, "95 %", "SD folds", "SD draws"]
    cells = []
    for row, record in zip(rows, records, strict=True):
        found = {name: value for name, value in record.items() if isinstance(value, float)}
        shown = [row.title]
        for name in ("wa", "uar"):
            shown += [
                percent(found[name]),
                interval(found[f"{name}_low"], found[f"{name}_high"]),
                percent(found[f"{name}_sd_folds"], 1),
                percent(found[f"{name}_sd_draws"], 1),
            ]
        cells.append((*shown, f"{record['folds']} x {record['draws']}"))
    notes = (
        "Per cent; mean over folds, each of which tests one speaker, and draws of the labelled utterances; 95 %: "
        "interval by bootstrap over the test speakers; n: folds x draws.",
        "EM: the product, refitted on unlabelled utterances of the training speakers. Expressions: the likeliest of "
        "the faces, without any training here.",
    )
    return Table("floors", title, (*header, "n"), tuple(cells), notes, tuple(records))


def write_records(path: Path, records: Sequence[Mapping[str, object]]) -> None:
    """Write tab-separated values with a header."""
    with replaced_when_complete(path, named_by_user=True) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(records[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("data_bin", type=Path, help="folder that memobert-binarize wrote, with text, faces and speech")
    parser.add_argument(
        "--text-encoder",
        type=Path,
        help="Hugging Face BERT folder whose mean state stands for a text (default: TF-IDF)",
    )
    parser.add_argument(
        "--shares",
        type=float,
        nargs="+",
        default=[1.0, 0.2, 0.1, 0.0],
        help="shares of the training labels; 0: no labels (default: 1 0.2 0.1 0)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[1, 2, 3, 4, 5],
        help="draws of the labelled utterances for shares between 0 and 1, as of --seed in training (default: 1 to 5)",
    )
    parser.add_argument("--folds", type=int, nargs="+", help="numbers of folds (default: all)")
    parser.add_argument("--output", type=Path, help="write the table here too, as tab-separated values")
    arguments = parser.parse_args()
    wrong = [share for share in arguments.shares if not 0 <= share <= 1]
    if wrong:
        raise UserError(f"--shares {wrong[0]:g}: give shares from 0 to 1")
    torch.set_num_threads(1)
    utterances = read_utterances(arguments.data_bin, arguments.text_encoder)
    folds = make_folds(utterances.sessions, "strict")
    if arguments.folds:
        folds = [choose_fold(folds, number) for number in dict.fromkeys(arguments.folds)]
    shares = [share for share in dict.fromkeys(arguments.shares) if share or utterances.expression is not None]
    if len(shares) < len(set(arguments.shares)):
        print(f"{arguments.data_bin}: has no expression class for each label; floors without labels are left out")
    if not shares:
        raise UserError("--shares: nothing is left; give a share above 0")
    rows = measure(utterances, folds, shares, list(dict.fromkeys(arguments.seeds)))
    title = f"Floors: logistic regressions on {arguments.data_bin.name}, protocol strict"
    table = as_table(title, rows, [fold.test for fold in folds])
    print(as_markdown(table))
    if arguments.output:
        write_records(arguments.output, table.records)


if __name__ == "__main__":
    run_command(main)
