"""Prompting and finetuning on folds: who is in which subset, what is read, what is counted and written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from memobert_plugin.core.names import MODALITY_CASES
from memobert_plugin.tasks.utterance_dataset import Modalities, UtteranceDataset
from tests.data_bins import WORDS, CorpusShape, make_data_bin
from tests.host import TrainingRun

TASKS = ("memobert_prompt", "memobert_finetune")
SHAPE = CorpusShape(speakers=4, utterances=13)


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), SHAPE)


def run_of(data_bin: Path, task: str, *flags: str) -> TrainingRun:
    return TrainingRun(data_bin, task, "--fold", "1", *flags)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("task", TASKS)
def test_logged_metrics_equal_scikit_learns_on_the_predictions_for_every_batch_size(
    data_bin: Path, tmp_path: Path, task: str
) -> None:
    run = run_of(data_bin, task, "--predictions", str(tmp_path / "{subset}.jsonl"), "--lr", "1e-2")
    run.train(6)
    logged = {}
    for size in (1, 7, 64):
        run.config.dataset.batch_size_valid = size
        logged[size] = run.validate()
        lines = read_lines(tmp_path / "valid.jsonl")
        truth, predicted = [line["label"] for line in lines], [line["prediction"] for line in lines]
        assert len(lines) == len({line["id"] for line in lines}) == SHAPE.utterances
        expected = {
            "wa": accuracy_score(truth, predicted),
            "uar": balanced_accuracy_score(truth, predicted),
            "wf1": f1_score(truth, predicted, average="weighted"),
            "macro_f1": f1_score(truth, predicted, average="macro"),
        }
        found = {name: logged[size][name] for name in expected}
        assert found == pytest.approx({name: 100 * value for name, value in expected.items()})
        if task == "memobert_prompt":
            over_vocabulary = [str(line["vocabulary_prediction"]) for line in lines]
            assert logged[size]["vocabulary_wa"] == pytest.approx(100 * accuracy_score(truth, over_vocabulary))
    assert (
        logged[1]["loss"] == pytest.approx(logged[7]["loss"], abs=1e-5) == pytest.approx(logged[64]["loss"], abs=1e-5)
    )


@pytest.mark.parametrize("task", TASKS)
def test_a_line_says_who_was_taken_for_what(data_bin: Path, tmp_path: Path, task: str) -> None:
    run = run_of(data_bin, task, "--predictions", str(tmp_path / "new" / "{subset}.jsonl"), "--fold", "2")
    run.validate("test")
    lines = read_lines(tmp_path / "new" / "test.jsonl")
    dataset = run.task.dataset("test")
    assert [line["id"] for line in lines] == dataset.corpus.utterance_ids(dataset.rows)
    for line, row in zip(lines, dataset.rows, strict=True):
        assert (line["speaker"], line["fold"]) == ("spk1", 2)
        assert line["label"] == dataset.corpus.meta.labels[dataset.corpus.emotion[row]]
        assert list(line["probabilities"]) == sorted(WORDS)
        assert sum(line["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
        assert line["prediction"] == max(line["probabilities"], key=line["probabilities"].__getitem__)


def test_predictions_are_replaced_as_a_whole_at_each_validation(data_bin: Path, tmp_path: Path) -> None:
    path = tmp_path / "valid.jsonl"
    run = run_of(data_bin, "memobert_finetune", "--predictions", str(path), "--lr", "1e-2", "--batch-size-valid", "4")
    run.validate()
    before, opened = read_lines(path), path.open(encoding="utf-8")
    run.train(6)
    batches: list[dict[str, Any]] = list(run.trainer.get_valid_iterator("valid").next_epoch_itr(shuffle=False))
    for batch in batches:
        assert read_lines(path) == before
        run.trainer.valid_step(batch)
    assert [line["id"] for line in read_lines(path)] == [line["id"] for line in before]
    assert read_lines(path) != before
    with opened:  # who had opened the old file still reads it whole
        assert [json.loads(line) for line in opened] == before
    assert [file.name for file in tmp_path.iterdir()] == ["valid.jsonl"]


def test_a_rank_without_a_batch_still_takes_its_steps(data_bin: Path, tmp_path: Path) -> None:
    """``fairseq-validate`` pads a rank's batches with empty ones and gives them to the task as they are."""
    path = tmp_path / "valid.jsonl"
    run = run_of(data_bin, "memobert_prompt", "--predictions", str(path), "--batch-size-valid", "7")
    run.validate()
    expected = path.read_text()
    first, second = run.trainer.get_valid_iterator("valid").next_epoch_itr(shuffle=False)
    path.unlink()
    # Four steps for each rank.
    run.task.get_batch_iterator(run.task.dataset("valid"), max_sentences=1, num_shards=4, disable_iterator_cache=True)
    steps: list[dict[str, Any]] = [first, {}, second, {}]
    logged = [run.task.valid_step(sample, run.model, run.criterion)[2] for sample in steps]
    assert [line["id"] for line in read_lines(path)] == [json.loads(line)["id"] for line in expected.splitlines()]
    run.task.reduce_metrics(logged, run.criterion)


FOLDS = {
    "strict": {"train": {"spk2", "spk3"}, "valid": {"spk1"}, "test": {"spk0"}},
    "all_but_one": {"train": {"spk1", "spk2", "spk3"}, "test": {"spk0"}},
    "reference": {"train": {"spk1", "spk2", "spk3"}, "valid": {"spk0"}, "test": {"spk0"}},
}


@pytest.mark.parametrize("protocol", FOLDS)
def test_a_fold_shares_out_speakers(data_bin: Path, protocol: str) -> None:
    run = run_of(data_bin, "memobert_finetune", "--protocol", protocol)
    for subset, speakers in FOLDS[protocol].items():
        run.task.load_dataset(subset)
        dataset = run.task.dataset(subset)
        assert {dataset.corpus.speakers[code] for code in dataset.corpus.speaker[dataset.rows]} == speakers
        assert len(dataset) == SHAPE.utterances * len(speakers)
    stored = run.task.state_dict()["fold"]
    assert stored["selected_on_test"] == (protocol == "reference")
    assert (stored["number"], stored["protocol"], stored["test"]) == (1, protocol, "spk0")
    assert (stored["valid"], set(stored["train"])) == (
        "".join(FOLDS[protocol].get("valid", [])),
        FOLDS[protocol]["train"],
    )


def test_fold_0_takes_the_manifests_own_split(data_bin: Path) -> None:
    run = run_of(data_bin, "memobert_finetune", "--fold", "0")
    run.task.load_dataset("valid")
    assert (len(run.task.dataset("train")), len(run.task.dataset("valid"))) == (48, 4)
    assert "fold" not in run.task.state_dict()


def test_parts_of_the_training_set_are_nested_and_stratified(data_bin: Path) -> None:
    chosen, everything = [], run_of(data_bin, "memobert_finetune").task.dataset("train")
    for fraction in (0.2, 0.5, 0.7):
        dataset = run_of(data_bin, "memobert_finetune", "--train-fraction", str(fraction)).task.dataset("train")
        chosen.append(set(dataset.rows))
        for label in range(4):
            of_label = (everything.corpus.emotion[everything.rows] == label).sum()
            assert (dataset.corpus.emotion[dataset.rows] == label).sum() == np.ceil(fraction * of_label - 1e-9)
    assert chosen[0] < chosen[1] < chosen[2] < set(everything.rows)


def test_some_labels_leave_the_other_utterances_out(data_bin: Path) -> None:
    run = run_of(data_bin, "memobert_finetune", "--labels", "sad, anger")
    assert run.task.labels == ["sad", "anger"]
    dataset = run.task.dataset("train")
    names = [dataset.corpus.meta.labels[code] for code in dataset.corpus.emotion[dataset.rows]]
    batch = dataset.collater(range(len(dataset)))
    assert [run.task.labels[target] for target in batch["target"]] == names and set(names) == {"sad", "anger"}
    run.train(2)


@pytest.mark.parametrize("task", TASKS)
def test_every_modality_case_has_a_gradient_for_every_parameter(data_bin: Path, task: str) -> None:
    run = run_of(data_bin, task)
    dataset = run.task.dataset("train")
    for case in MODALITY_CASES:
        dataset.modalities = Modalities(case)
        run.model.zero_grad(set_to_none=True)
        loss, count, _ = run.criterion(run.model.train(), dataset.collater(range(9)))
        loss.backward()
        assert count == 9 and float(loss) > 0
        assert [name for name, parameter in run.model.named_parameters() if parameter.grad is None] == []


def test_modalities_are_chosen_for_training_and_evaluation_alike(data_bin: Path) -> None:
    run = run_of(data_bin, "memobert_finetune", "--modalities", "va")
    run.task.load_dataset("valid")
    for subset in ("train", "valid"):
        batch = run.task.dataset(subset).collater(range(5))["net_input"]
        assert batch["text_lengths"].tolist() == [2] * 5
        assert len(batch["visual"]) and len(batch["acoustic"])


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_mixture_of_modalities_changes_with_the_epoch_in_training_only(data_bin: Path, workers: str) -> None:
    run = run_of(data_bin, "memobert_prompt", "--modality-mixture", "--num-workers", workers)
    iterator = run.trainer.get_train_iterator(epoch=1)
    shown: list[dict[int, tuple[bool, ...]]] = []
    for _ in range(3):  # the same iterator and thus the same workers, which keep their copy of the dataset
        epoch = {}
        for batch in iterator.next_epoch_itr():
            lengths = batch["net_input"]
            for place, uid in enumerate(batch["uids"].tolist()):
                epoch[uid] = tuple(bool(lengths[f"{name}_lengths"][place]) for name in ("visual", "acoustic"))
        shown.append(epoch)
    assert shown[0].keys() == shown[1].keys() == shown[2].keys()
    assert shown[0] != shown[1] != shown[2] != shown[0]
    run.task.load_dataset("valid")
    valid = run.task.dataset("valid")
    lengths = valid.collater(range(len(valid)))["net_input"]
    assert (lengths["visual_lengths"] > 0).sum() == (valid.corpus.visual_lengths[valid.rows] > 0).sum()


def test_long_texts_keep_their_prompt_and_no_utterance_is_dropped(data_bin: Path) -> None:
    run = run_of(data_bin, "memobert_prompt", "--max-pieces", "2", "--template", "so it was [MASK] today")
    dataset = run.task.dataset("train")
    batch = dataset.collater(range(len(dataset)))
    text, ends = batch["net_input"]["text"], np.cumsum(batch["net_input"]["text_lengths"])
    prompts = {" ".join(run.task.symbols[piece] for piece in text[end - 6 : end]) for end in ends}
    assert prompts == {"so it was [MASK] today [SEP]"}
    assert {run.task.symbols[text[row]] for row in batch["mask_rows"]} == {"[MASK]"}
    assert len(dataset) == 2 * SHAPE.utterances


def test_several_words_may_stand_for_an_emotion(data_bin: Path) -> None:
    words = "anger=angry,hate happy=happy,love neutral=neutral sad=sad,lost,cry"
    run = run_of(data_bin, "memobert_prompt", "--verbalizer", words, "--lr", "1e-2")
    assert [len(pieces) for pieces in run.task.label_words] == [2, 2, 1, 3]
    run.train(4)
    assert np.isfinite(run.validate()["loss"])


@pytest.mark.parametrize("task", TASKS)
def test_training_finds_what_the_corpus_shows(data_bin: Path, task: str) -> None:
    run = run_of(data_bin, task, "--lr", "1e-2", "--batch-size", "16", "--encoder-embed-dim", "32")
    run.train(60)
    assert run.validate()["uar"] > 60


def subset(run: TrainingRun, name: str) -> UtteranceDataset:
    """A subset's dataset."""
    run.task.load_dataset(name)
    return run.task.dataset(name)


def test_a_fold_of_sessions_tests_all_who_speak_in_one(tmp_path: Path) -> None:
    data_bin = make_data_bin(tmp_path, CorpusShape(speakers=6, utterances=6))
    run = TrainingRun(data_bin, "memobert_finetune", "--folds", "sessions", "--fold", "2")
    tested = subset(run, "test")
    assert {tested.corpus.speakers[code] for code in tested.corpus.speaker[tested.rows]} == {"spk2", "spk3"}
    assert run.task.state.state_dict["fold"]["test_speakers"] == ["spk2", "spk3"]
    assert run.task.state.state_dict["fold"]["train"] == ["spk0", "spk1"]


def test_words_that_are_tested_may_be_left_out_of_training(tmp_path: Path) -> None:
    shape = CorpusShape(speakers=4, utterances=30, words=2, parts=("scripted", "improvised"))
    data_bin = make_data_bin(tmp_path, shape)
    flags = ("--fold", "1", "--predictions", str(tmp_path / "{subset}.jsonl"))
    rows = {}
    for part in ("", "scripted", "all"):
        run = TrainingRun(data_bin, "memobert_finetune", *flags, "--drop-repeated-texts", part)
        train, valid, test = (subset(run, name) for name in ("train", "valid", "test"))
        rows[part] = set(train.rows.tolist())
        elsewhere = {train.corpus.text.view(row).tobytes() for row in (*valid.rows, *test.rows)}
    corpus = train.corpus
    assert corpus.part is not None
    repeated = {row for row in rows[""] if corpus.text.view(row).tobytes() in elsewhere}
    scripted = {row for row in repeated if corpus.meta.parts[corpus.part[row]] == "scripted"}
    assert scripted and repeated - scripted
    assert rows[""] - rows["scripted"] == scripted and rows[""] - rows["all"] == repeated
    run.validate("test")
    assert {line["part"] for line in read_lines(tmp_path / "test.jsonl")} == {"scripted", "improvised"}


def test_a_split_that_tests_known_speakers_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data_bin = make_data_bin(tmp_path, CorpusShape(speakers=3, utterances=20))
    splits = json.loads((data_bin / "corpus.json").read_text())
    splits["splits"] = ["test", "train"]  # before: train, valid, in natural order
    (data_bin / "corpus.json").write_text(json.dumps(splits))
    run = TrainingRun(data_bin, "memobert_finetune", "--disable-validation")
    with caplog.at_level("WARNING"):
        subset(run, "test")
    assert "tests 3 speakers who also train, such as spk0" in caplog.text
