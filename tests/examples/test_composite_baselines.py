"""The floors of the composite corpus: regressions, their product, and EM with few labels and none."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from transformers import BertModel

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.folds import Fold, make_folds, train_fraction
from tests.data_bins import CorpusShape, make_data_bin
from tests.reference.bert_folder import bert_config, random_bert, write_bert_folder

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "composite" / "baselines.py"
EMOTIONS = ["anger", "happy", "neutral", "sad"]


@pytest.fixture(scope="module")
def baselines() -> Iterator[ModuleType]:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("composite_baselines", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["composite_baselines"] = module  # where a dataclass looks for its own module
    spec.loader.exec_module(module)
    # Streams made here have few dimensions.
    vars(module)["INVERSE_PENALTY"] = dict.fromkeys(module.INVERSE_PENALTY, 1.0)
    yield module
    del sys.modules["composite_baselines"]


@pytest.fixture
def utterances(baselines: ModuleType) -> Any:
    """Four speakers, 160 utterances each, three streams that are independent given the emotion."""
    rng = np.random.default_rng(1)
    emotion = np.tile(np.arange(4), 160)
    speaker = np.array([f"s{number}" for number in np.repeat(np.arange(1, 5), 160)])
    shown = np.where(rng.random((640, 6)) < 0.3, emotion[:, None], rng.integers(0, 4, (640, 6)))
    sums = (shown[:, :, None] == np.arange(4)).sum(axis=1).astype(float)
    return baselines.Utterances(
        labels=EMOTIONS,
        uid=np.arange(640, dtype=np.uint64) * 7919,
        emotion=emotion,
        speaker=speaker,
        sessions={name: {""} for name in np.unique(speaker).tolist()},
        streams={
            baselines.TEXT: 0.8 * np.eye(4)[emotion] + rng.normal(size=(640, 4)),
            baselines.FACES: np.eye(4)[shown].mean(axis=1) + 0.1 * rng.normal(size=(640, 4)),
            baselines.SPEECH: 1.4 * np.eye(4)[emotion] + rng.normal(size=(640, 4)),
        },
        expression=sums,
    )


def uar_by_row(baselines: ModuleType, utterances: Any, shares: list[float], seeds: list[int]) -> dict[str, float]:
    folds = make_folds(utterances.sessions, "strict")
    rows = baselines.measure(utterances, folds, shares, seeds)
    return {row.title: row.record([fold.test for fold in folds])["uar"] for row in rows}


@pytest.mark.parametrize("inverse_penalty", [1.0, 0.1])
def test_a_regression_on_hard_labels_equals_scikit_learns(baselines: ModuleType, inverse_penalty: float) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 80)
    values = rng.normal(size=(80, 6)) + np.eye(4, 6)[labels]
    ours = baselines.Regression.fit(values, np.eye(4)[labels], inverse_penalty).log_probabilities(values)
    theirs = LogisticRegression(C=inverse_penalty, tol=1e-8, max_iter=1000).fit(values, labels)
    np.testing.assert_allclose(np.exp(ours), theirs.predict_proba(values), atol=2e-3)


def test_soft_labels_count_as_weighted_copies(baselines: ModuleType) -> None:
    rng = np.random.default_rng(1)
    values, soft = rng.normal(size=(40, 3)), rng.dirichlet(np.ones(3), size=40)
    ours = baselines.Regression.fit(values, soft, 1.0).log_probabilities(values)
    theirs = LogisticRegression(tol=1e-8, max_iter=1000)
    theirs.fit(np.repeat(values, 3, axis=0), np.tile(np.arange(3), 40), sample_weight=soft.ravel())
    np.testing.assert_allclose(np.exp(ours), theirs.predict_proba(values), atol=2e-3)


def test_labelled_utterances_are_those_of_the_tasks(
    baselines: ModuleType, utterances: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def recorded(*arguments: Any) -> Any:
        drawn.append((*arguments, train_fraction(*arguments)))
        return drawn[-1][-1]

    monkeypatch.setattr(baselines, "train_fraction", recorded)
    fold = make_folds(utterances.sessions, "strict")[1]
    systems = [(share, system) for share, system, _ in baselines.fold_counts(utterances, fold, [0.1], [3, 4])]
    of_draw = [(0.1, name) for name in ("text", "faces", "speech", "product", "EM", "EM, equal shares")]
    assert systems == of_draw * 2
    rows = np.flatnonzero(np.isin(utterances.speaker, ["s1", "s4"]))  # s2 tests, s3 validates
    for (uid, emotion, share, seed, chosen), expected in zip(drawn, (3, 4), strict=True):
        assert uid.tolist() == utterances.uid[rows].tolist()
        assert emotion.tolist() == utterances.emotion[rows].tolist()
        assert (share, seed, len(chosen)) == (0.1, expected, 32)


def test_the_product_is_better_than_a_stream_and_unlabelled_utterances_help(
    baselines: ModuleType, utterances: Any
) -> None:
    uar = uar_by_row(baselines, utterances, [1.0, 0.05, 0.0], [1, 2])
    streams = [uar[f"{name}, 100 % of the labels"] for name in ("text", "faces", "speech")]
    assert uar["product, 100 % of the labels"] > max(streams) + 0.03
    assert uar["EM, 5 % of the labels"] > uar["product, 5 % of the labels"]
    assert uar["EM, no labels"] > uar["expressions, no labels"] + 0.05
    assert uar["EM, no labels"] > uar["product, 5 % of the labels"]


def test_em_keeps_given_labels(baselines: ModuleType, utterances: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[np.ndarray] = []
    fit = baselines.Floors.fit.__func__

    def recorded(cls: Any, streams: Any, targets: np.ndarray, start: Any = None, equal: bool = False) -> Any:
        fitted.append(targets.copy())
        return fit(cls, streams, targets, start, equal)

    monkeypatch.setattr(baselines.Floors, "fit", classmethod(recorded))
    first = np.full((640, 4), 0.25)
    labelled = np.arange(40)
    first[labelled] = np.eye(4)[(utterances.emotion[labelled] + 1) % 4]  # wrong on purpose
    baselines.maximise_expectation(utterances.streams, first, labelled)
    assert len(fitted) == baselines.ROUNDS
    assert all((targets[labelled] == first[labelled]).all() for targets in fitted)
    assert not (fitted[-1][40:] == first[40:]).all(axis=1).any()


def test_a_prior_of_equal_shares_makes_the_emotions_equally_frequent(baselines: ModuleType, utterances: Any) -> None:
    skewed = 0.9 * np.eye(4)[np.where(utterances.emotion == 0, 1, utterances.emotion)] + 0.025
    for equal, spread in ((False, 0.1), (True, 0.0)):
        floors = baselines.Floors.fit(utterances.streams, skewed, equal=equal)
        product = floors.answers(utterances.streams)[baselines.PRODUCT]
        shares = np.exp(product - np.logaddexp.reduce(product, axis=1, keepdims=True)).mean(axis=0)
        assert (np.ptp(shares) > spread) if spread else np.allclose(shares, 0.25, atol=1e-3)


def test_a_data_bin_without_the_labels_expressions_has_no_floor_without_labels(
    baselines: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_data_bin(tmp_path, CorpusShape(speakers=4, classes=3, absent=0.0))
    monkeypatch.setattr(sys, "argv", ["baselines.py", str(other), "--shares", "0", "--folds", "1"])
    with pytest.raises(UserError, match="--shares: nothing is left"):
        baselines.main()
    assert "no expression class for each label" in capsys.readouterr().out


def test_training_speakers_without_a_label_are_an_error_of_one_line(baselines: ModuleType, utterances: Any) -> None:
    fold = Fold(2, "s2", "s3", ("s1",), "strict", False, ("s2",), ("s3",))
    emotion = np.where((utterances.speaker == "s1") & (utterances.emotion == 3), 0, utterances.emotion)
    with pytest.raises(UserError, match="fold 2: its training speakers have no utterance of sad"):
        list(baselines.fold_counts(replace(utterances, emotion=emotion), fold, [1.0], [1]))


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=4, utterances=24, absent=0.0))


def test_the_command_prints_a_table_and_writes_it(
    baselines: ModuleType,
    data_bin: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ["--shares", "1", "0.5", "--seeds", "1", "2", "--folds", "1", "3", "--output", str(tmp_path / "floors.tsv")]
    monkeypatch.setattr(sys, "argv", ["baselines.py", str(data_bin), *flags])
    baselines.main()
    printed = capsys.readouterr().out
    assert "| text (TF-IDF), 100 % of the labels" in printed
    assert "| EM, 50 % of the labels" in printed
    assert "2 x 2 |" in printed
    with open(tmp_path / "floors.tsv", newline="") as stream:
        records = {(record["system"], record["share"]): record for record in csv.DictReader(stream, delimiter="\t")}
    assert len(records) == 4 + 6
    # The generated frames tell the emotion.
    assert float(records["speech", "1.0"]["uar"]) > 0.9
    record = records["EM", "0.5"]
    assert (record["folds"], record["draws"], record["utterances"]) == ("2", "2", "48")
    mean = (float(record["uar spk0"]) + float(record["uar spk2"])) / 2
    assert float(record["uar"]) == pytest.approx(mean)


def test_a_text_is_the_mean_of_its_states_in_bert(baselines: ModuleType, data_bin: Path, tmp_path: Path) -> None:
    vocabulary = (data_bin.parent / "vocab.txt").read_text().split("\n")[:-1]
    config = bert_config(layers=2, hidden=24, heads=2, ffn=32, rows=len(vocabulary), positions=80)
    bert = random_bert(BertModel, config).half().float().eval()
    write_bert_folder(tmp_path, bert, vocabulary)
    found = baselines.read_utterances(data_bin, tmp_path).streams[baselines.TEXT]
    corpus = Corpus(data_bin)
    for row in (0, 5):
        symbols = ["[CLS]", *(corpus.symbols[piece] for piece in corpus.text.view(row)), "[SEP]"]
        ids = torch.tensor([[vocabulary.index(symbol) for symbol in symbols]])
        with torch.no_grad():
            expected = bert(ids).last_hidden_state[0].mean(dim=0).numpy()
        np.testing.assert_allclose(found[row], expected, atol=1e-4)


def test_an_utterance_without_a_stream_is_an_error_of_one_line(baselines: ModuleType, tmp_path: Path) -> None:
    data_bin = make_data_bin(tmp_path, CorpusShape(absent=0.3))
    with pytest.raises(UserError, match=r"s\d_\d+ and \d+ others have no visual stream"):
        baselines.read_utterances(data_bin, None)


def test_a_share_above_one_is_an_error_of_one_line(
    baselines: ModuleType, data_bin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["baselines.py", str(data_bin), "--shares", "1", "20"])
    with pytest.raises(UserError, match="--shares 20: give shares from 0 to 1"):
        baselines.main()
