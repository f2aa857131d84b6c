"""A checkpoint carries what it needs as plain data: it works in a fresh process, elsewhere, after its data moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils

from tests.data_bins import CorpusShape, make_data_bin
from tests.host import USER_DIR, TrainingRun, load_safely, run_commands, training_flags

TASKS = ("memobert_pretraining", "memobert_prompt", "memobert_finetune")
SHAPE = CorpusShape(speakers=3, utterances=10)


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), SHAPE)


def flags_of(task: str) -> list[str]:
    return [] if task == "memobert_pretraining" else ["--fold", "2"]


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and plain(of_key) for key, of_key in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or type(value) in (str, int, float, bool)


@pytest.mark.parametrize("task", TASKS)
def test_a_checkpoint_holds_plain_data_only(data_bin: Path, tmp_path: Path, task: str) -> None:
    run = TrainingRun(data_bin, task, *flags_of(task))
    run.train(1)
    content = load_safely(run.save(tmp_path / "checkpoint.pt"))
    assert plain(content["task_state"])
    expected = {"symbols", "visual_dim", "acoustic_dim", "expression_classes", "origins"}
    if task != "memobert_pretraining":
        expected |= {"labels", "fold"}
    if task == "memobert_prompt":
        expected.add("prompt")
    assert set(content["task_state"]) == expected
    assert str(data_bin) not in json.dumps(content["task_state"])


@pytest.mark.parametrize("task", TASKS)
def test_a_model_is_built_from_its_checkpoint_without_the_data(tmp_path: Path, task: str) -> None:
    data_bin = make_data_bin(tmp_path / "corpus", SHAPE)
    run = TrainingRun(data_bin, task, *flags_of(task))
    run.train(1)
    path = run.save(tmp_path / "checkpoint.pt")
    shutil.rmtree(tmp_path / "corpus")
    [model], _, loaded_task = checkpoint_utils.load_model_ensemble_and_task([str(path)])
    for name, value in run.parameters().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert len(loaded_task.source_dictionary) == len(run.task.source_dictionary)
    assert loaded_task.source_dictionary.symbols == run.task.symbols == loaded_task.target_dictionary.symbols
    dictionary = loaded_task.source_dictionary
    assert (dictionary.bos_word, dictionary.pad_word, dictionary.eos_word, dictionary.unk_word) == (
        "[CLS]", "[PAD]", "[SEP]", "[UNK]",
    )  # fmt: skip


@pytest.mark.parametrize("task", ["memobert_prompt", "memobert_finetune"])
def test_the_pretrained_parameters_are_where_training_starts(data_bin: Path, tmp_path: Path, task: str) -> None:
    pretrained = TrainingRun(data_bin, "memobert_pretraining")
    pretrained.train(2)
    path = pretrained.save(tmp_path / "pretrained.pt")
    run = TrainingRun(data_bin, task, "--fold", "1", "--finetune-from-model", str(path))
    run.config.checkpoint.save_dir = str(tmp_path / "new")
    checkpoint_utils.load_checkpoint(run.config.checkpoint, run.trainer)
    fresh = {name for name in run.parameters() if name.startswith("heads.classify.")}
    for name, value in pretrained.parameters().items():
        assert torch.equal(run.parameters()[name], value), name
    assert set(run.parameters()) - set(pretrained.parameters()) == fresh
    assert run.trainer.get_num_updates() == 0


@pytest.mark.slow
def test_validation_needs_one_line_from_anywhere_after_everything_was_renamed(tmp_path: Path) -> None:
    data_bin = make_data_bin(tmp_path / "corpus", SHAPE)

    def train(task: str, *flags: str) -> list[str]:
        return [
            "fairseq-train", *training_flags(data_bin, task), "--max-update", "4", "--no-epoch-checkpoints",
            "--save-dir", str(tmp_path / "runs" / task), "--log-format", "json", *flags,
        ]  # fmt: skip

    emotion = {
        task: train(task, "--fold", "2", "--best-checkpoint-metric", "uar", "--maximize-best-checkpoint-metric",
                    "--modalities", "la", "--predictions", str(tmp_path / f"{task}.jsonl"))
        for task in TASKS[1:]
    }  # fmt: skip
    trained = run_commands(tmp_path / "logs", {"memobert_pretraining": train("memobert_pretraining"), **emotion})
    assert {name: finished.status for name, finished in trained.items()} == dict.fromkeys(TASKS, 0)
    (tmp_path / "corpus").rename(tmp_path / "elsewhere")
    (tmp_path / "runs").rename(tmp_path / "moved")
    moved = tmp_path / "elsewhere" / data_bin.name

    def validate(task: str, subset: str, *flags: str) -> list[str]:
        return [
            "fairseq-validate", str(moved), "--user-dir", str(USER_DIR), "--task", task, "--batch-size", "64",
            "--path", str(tmp_path / "moved" / task / "checkpoint_best.pt"), "--valid-subset", subset,
            "--log-format", "json", *flags,
        ]  # fmt: skip

    commands = {f"{task}_valid": validate(task, "valid") for task in TASKS}
    for task in TASKS[1:]:
        commands[f"{task}_test"] = validate(task, "test", "--predictions", str(tmp_path / f"{task}_{{subset}}.jsonl"))
    validated = run_commands(tmp_path / "another" / "folder", commands)
    assert [finished.log[-2000:] for finished in validated.values() if finished.status] == []
    for task in TASKS:
        best = load_safely(tmp_path / "moved" / task / "checkpoint_best.pt")["extra_state"]["val_loss"]
        [again] = validated[f"{task}_valid"].logged("valid")
        assert again["valid_uar" if task in emotion else "valid_loss"] == pytest.approx(best, abs=1e-3)
    for task in TASKS[1:]:
        [tested] = validated[f"{task}_test"].logged("test")
        lines = [json.loads(line) for line in (tmp_path / f"{task}_test.jsonl").read_text().splitlines()]
        assert {(line["speaker"], line["fold"]) for line in lines} == {("spk1", 2)} and len(lines) == SHAPE.utterances
        right = sum(line["label"] == line["prediction"] for line in lines)
        assert tested["test_wa"] == pytest.approx(100 * right / len(lines), abs=1e-3)
