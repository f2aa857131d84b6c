"""Training on numbers and on several labels at once, from the manifest to the file of predictions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from scipy.stats import pearsonr
from sklearn.metrics import average_precision_score, f1_score

from memobert_plugin.comparators.mmin import MminCriterionConfig
from memobert_plugin.data.binarize import binarize
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.manifest import read_manifest, write_manifest
from memobert_plugin.data.tokenizer import WordPieceTokenizer
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun, as_ranks, run_commands, training_flags

FOLD = ("--fold", "1", "--batch-size", "5")
NUMBERS = (*FOLD, "--dimensions", "valence,arousal")
LABELS = (*FOLD, "--several-labels")


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = CorpusShape(speakers=3, utterances=14, dimensions=True, several=True)
    return make_data_bin(tmp_path_factory.mktemp("corpus"), shape)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def concordance(x: np.ndarray, y: np.ndarray) -> float:
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def check_numbers(scores: dict[str, float], predicted: list[dict[str, Any]], within: float = 1e-6) -> None:
    of_each: dict[str, list[float]] = {"ccc": [], "pearson": [], "rmse": []}
    for name in ("valence", "arousal"):
        x = np.array([line["label"][name] for line in predicted])
        y = np.array([line["prediction"][name] for line in predicted])
        expected = {
            "ccc": concordance(x, y), "pearson": pearsonr(x, y).statistic, "rmse": np.sqrt(np.mean((x - y) ** 2)),
        }  # fmt: skip
        for metric, value in expected.items():
            assert scores[f"{metric}_{name}"] == pytest.approx(value, abs=within)
            of_each[metric].append(value)
    for metric, values in of_each.items():
        assert scores[metric] == pytest.approx(np.mean(values), abs=within)


def check_labels(scores: dict[str, float], predicted: list[dict[str, Any]], within: float = 1e-6) -> None:
    names = list(predicted[0]["probabilities"])
    truth = np.array([[name in line["label"] for name in names] for line in predicted])
    given = np.array([[name in line["prediction"] for name in names] for line in predicted])
    shares = np.array([[line["probabilities"][name] for name in names] for line in predicted])
    assert ((shares >= 0.5) == given).all()
    for average in ("macro", "micro"):
        expected = 100 * f1_score(truth, given, average=average, zero_division=0)
        assert scores[f"{average}_f1"] == pytest.approx(expected, abs=within)
    expected = 100 * average_precision_score(truth, shares, average="macro")
    assert scores["map"] == pytest.approx(expected, abs=within)


@pytest.mark.parametrize("loss", ["mse", "ccc"])
def test_numbers_are_learned_and_scored_over_the_whole_subset(data_bin: Path, tmp_path: Path, loss: str) -> None:
    path = tmp_path / "valid.jsonl"
    run = TrainingRun(data_bin, "memobert_finetune", *NUMBERS, "--dimension-loss", loss, "--predictions", str(path))
    before = run.validate()
    losses = [entry["loss"] for entry in run.train(30)]
    after = run.validate()
    check_numbers(after, lines(path))
    assert after["ccc"] > max(before["ccc"], 0.2) and after["rmse"] < before["rmse"]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_utterances_without_emotion_count_and_those_without_a_number_do_not(data_bin: Path) -> None:
    corpus = Corpus(data_bin)
    assert (np.asarray(corpus.emotion) < 0).any()
    for names, of_dominance in (("valence", 1.0), ("valence dominance", 9 / 14)):
        run = TrainingRun(data_bin, "memobert_finetune", *FOLD, "--dimensions", names)
        assert len(run.task.datasets["train"]) == round(14 * of_dominance)
        batch = run.task.datasets["train"].collater([0, 1])
        assert np.isfinite(batch["target"].numpy()).all() and batch["target"].shape == (2, len(names.split()))


def test_folds_of_groups_hold_utterances_without_emotion(tmp_path: Path) -> None:
    data_bin = make_data_bin(tmp_path, CorpusShape(speakers=6, utterances=14, dimensions=True))
    run = TrainingRun(data_bin, "memobert_finetune", *NUMBERS, "--folds", "groups:3")
    for subset in ("valid", "test"):
        run.task.load_dataset(subset)
    assert [len(run.task.datasets[subset]) for subset in ("train", "valid", "test")] == [28, 28, 28]


def test_answers_are_on_the_scale_of_the_training(data_bin: Path) -> None:
    run = TrainingRun(data_bin, "memobert_finetune", *NUMBERS)
    scale = run.task.state.target
    train = run.task.datasets["train"]
    values = train.collater(range(len(train)))["target"].numpy().astype(np.float64)
    np.testing.assert_allclose(scale["mean"], values.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scale["deviation"], values.std(axis=0), rtol=1e-6)
    everything = Corpus(data_bin).dimensions["valence"]
    assert scale["kind"] == "dimensions"
    assert scale["ranges"][0] == pytest.approx([everything.min(), everything.max()], abs=1e-6)


def test_a_number_that_is_the_same_throughout_training_is_named_and_kept_in_its_own_unit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_data_bin(tmp_path, CorpusShape(speakers=3, utterances=6, dimensions=True))
    manifest = tmp_path / "manifest.tsv"
    rows = [replace(row, valence=float(row.speaker == "spk1") + 0.1, emotion="sad") for row in read_manifest(manifest)]
    write_manifest(manifest, rows)
    tokenizer = WordPieceTokenizer.from_vocab(tmp_path / "vocab.txt")
    data_bin = binarize(manifest, None, None, tokenizer, tmp_path / "constant").output
    with caplog.at_level("WARNING"):
        run = TrainingRun(data_bin, "memobert_finetune", *NUMBERS, "--dimension-loss", "mse")
    assert run.task.state.target["deviation"][0] == 1.0
    assert "all 6 training utterances have valence 0.1: no difference to learn" in caplog.text
    assert run.validate()["loss"] < 100  # validation is on the speaker who has another number


def test_several_labels_are_learned_and_scored_as_scikit_learn_does(data_bin: Path, tmp_path: Path) -> None:
    path = tmp_path / "valid.jsonl"
    run = TrainingRun(data_bin, "memobert_finetune", *LABELS, "--predictions", str(path))
    before = run.validate()
    run.train(40)
    after = run.validate()
    check_labels(after, lines(path))
    assert after["map"] > before["map"]
    assert run.task.state.target == {"kind": "several"}


def test_labels_that_are_not_asked_for_do_not_count(data_bin: Path) -> None:
    run = TrainingRun(data_bin, "memobert_finetune", *LABELS, "--labels", "happy,sad")
    train = run.task.datasets["train"]
    target = train.collater(range(len(train)))["target"].numpy()
    assert target.shape[1] == 2 and target.any(axis=1).all() and len(train) < 14


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "check"), [(NUMBERS, check_numbers), (LABELS, check_labels)])
def test_two_ranks_score_as_one(data_bin: Path, tmp_path: Path, flags: tuple[str, ...], check: Any) -> None:
    metric = "ccc" if flags is NUMBERS else "map"
    command = [
        "fairseq-train", *training_flags(data_bin, "memobert_finetune", *flags), "--max-epoch", "2", "--lr", "1e-9",
        "--best-checkpoint-metric", metric, "--maximize-best-checkpoint-metric", "--no-epoch-checkpoints",
        "--log-format", "json",
    ]  # fmt: skip
    two = as_ranks(
        [*command, "--save-dir", str(tmp_path / "two"), "--predictions", str(tmp_path / "two.jsonl"),
         "--load-checkpoint-on-all-dp-ranks"],
        "two",
        tmp_path / "meet",
    )  # fmt: skip
    one = [*command, "--save-dir", str(tmp_path / "one"), "--predictions", str(tmp_path / "one.jsonl")]
    ended = run_commands(tmp_path, {"one": one, **two})
    assert {run.status for run in ended.values()} == {0}, ended["two_0"].log
    scores = {name: ended[name].logged("valid")[-1] for name in ("one", "two_0")}
    for name, path in (("one", "one.jsonl"), ("two_0", "two.jsonl")):
        logged = {key.removeprefix("valid_"): value for key, value in scores[name].items()}
        assert len(lines(tmp_path / path)) == 14
        check(logged, lines(tmp_path / path), 1e-3)  # fairseq logs three digits
        assert logged[metric] == pytest.approx(scores["one"][f"valid_{metric}"], abs=2e-3)
    assert (tmp_path / "two" / "checkpoint_best.pt").is_file()


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            ("--dimensions", "valence,arousal"),
            ("--dimensions", "arousal,valence"),
            r"numbers of valence, arousal \(in this order\), and not on numbers of arousal, valence",
        ),
        (
            ("--labels", "anger,happy"),
            ("--labels", "neutral,sad"),
            "one of anger, happy .*, and not on one of neutral, sad",
        ),
        (
            ("--labels", "anger,happy", "--several-labels"),
            ("--labels", "anger,happy"),
            "any of anger, happy .*, and not on one of anger, happy",
        ),
    ],
)
def test_a_training_does_not_go_on_with_other_outputs(
    data_bin: Path, tmp_path: Path, before: tuple[str, ...], after: tuple[str, ...], told: str
) -> None:
    flags = (*FOLD, "--save-dir", str(tmp_path))
    first = TrainingRun(data_bin, "memobert_finetune", *flags, *before)
    first.train(1)
    first.save(tmp_path / "checkpoint_last.pt")
    TrainingRun(data_bin, "memobert_finetune", *flags, *before)
    TrainingRun(data_bin, "memobert_finetune", *flags, *after, "--reset-optimizer")
    with pytest.raises(SystemExit, match=f"checkpoint_last.pt: it was trained on {told}.* or another --save-dir"):
        TrainingRun(data_bin, "memobert_finetune", *flags, *after)


def test_flags_for_one_emotion_and_losses_of_their_own_are_refused(data_bin: Path, tmp_path: Path) -> None:
    for flags, told in (
        ((*NUMBERS, "--label-smoothing", "0.1"), "--dimensions: --label-smoothing is for one emotion of several"),
        ((*LABELS, "--class-weights", "balanced"), "--several-labels: --class-weights is for one emotion of several"),
        ((*NUMBERS, "--labels", "happy,sad"), "--dimensions: --labels is for one emotion of several"),
        ((*NUMBERS, "--best-checkpoint-metric", "uar"), "metric uar: --dimensions has none; give ccc"),
        ((*LABELS, "--best-checkpoint-metric", "wa"), "metric wa: --several-labels has none; give map"),
        ((*NUMBERS, "--several-labels"), "give only one of the two"),
        ((*FOLD, "--dimensions", "valence,power"), "--dimensions valence,power: .* has valence, arousal, dominance"),
        ((*LABELS, "--labels", "happy,bored"), "has anger, happy, neutral, sad; name two or more of these"),
    ):
        with pytest.raises(SystemExit, match=told):
            TrainingRun(data_bin, "memobert_finetune", *flags)
    plain = make_data_bin(tmp_path, CorpusShape(speakers=3, utterances=6))
    with pytest.raises(SystemExit, match="has none; give its manifest the columns valence, arousal, dominance"):
        TrainingRun(plain, "memobert_finetune", *NUMBERS)
    with pytest.raises(SystemExit, match=r"--several-labels: .* has none; give its manifest the column labels"):
        TrainingRun(plain, "memobert_finetune", *LABELS)
    mmin = OmegaConf.structured(MminCriterionConfig(_name="memobert_mmin"))
    with pytest.raises(SystemExit, match="--dimensions: the loss of --criterion memobert_mmin is its own"):
        TrainingRun(data_bin, "memobert_finetune", *NUMBERS).task.build_criterion(mmin)
