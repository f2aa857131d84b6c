"""Low-rank changes, biases alone, and a head alone: what is trained, what stays, and what a checkpoint becomes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from memobert_plugin.checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from memobert_plugin.nn.attention import CHANGE
from memobert_plugin.nn.embedders import PROMPT
from memobert_plugin.nn.network import weights_of_checkpoint, with_changes
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun

WAYS = {
    "lora": ("--lora-rank", "3"),
    "biases": ("--tuned", "biases"),
    "head": ("--tuned", "head"),
    "words": ("--tuned", "words"),
}


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=4, utterances=13))


def run_of(data_bin: Path, task: str, *flags: str) -> TrainingRun:
    return TrainingRun(data_bin, task, "--fold", "1", "--lr", "1e-2", "--warmup-updates", "0", *flags)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("task", ["memobert_prompt", "memobert_finetune"])
def test_only_what_is_tuned_changes(data_bin: Path, task: str, way: str) -> None:
    if way == "words" and task == "memobert_finetune":
        with pytest.raises(SystemExit, match="only a prompt has label words"):
            run_of(data_bin, task, *WAYS[way])
        return
    run = run_of(data_bin, task, *WAYS[way])
    before = run.parameters()
    run.train(4)
    after = run.parameters()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    classifier = {name for name in before if name.startswith(("heads.classify.", "pooler."))}
    expected = {
        "lora": {name for name in before if CHANGE in name},
        "biases": {name for name in before if name.endswith("bias")},
        "head": {name for name in before if name.startswith("heads.wwmlm.")} if task == "memobert_prompt" else set(),
        "words": {"heads.wwmlm.bias"},
    }[way]
    allowed = expected | (classifier if task == "memobert_finetune" else set())
    assert changed and changed <= allowed
    if way == "lora":
        assert {name for name in changed if CHANGE in name} == {name for name in before if CHANGE in name}


@pytest.mark.parametrize("way", WAYS)
def test_a_network_starts_the_same_whatever_is_tuned(data_bin: Path, way: str) -> None:
    plain, tuned = (run_of(data_bin, "memobert_prompt", *flags) for flags in ((), WAYS[way]))
    tuned.model.load_state_dict(plain.model.state_dict(), strict=True)
    assert tuned.validate()["loss"] == pytest.approx(plain.validate()["loss"])


def test_low_rank_changes_are_learned_go_on_and_become_plain_weights(data_bin: Path, tmp_path: Path) -> None:
    run = run_of(data_bin, "memobert_finetune", *WAYS["lora"])
    run.train(6)
    expected = run.validate()["loss"]
    path = run.save(tmp_path / "checkpoint.pt")
    state = torch.load(path, map_location="cpu", weights_only=True)["model"]
    again = run_of(data_bin, "memobert_finetune", *WAYS["lora"])
    again.model.load_state_dict(dict(state), strict=True)
    assert again.validate()["loss"] == pytest.approx(expected)
    assert all(torch.equal(again.parameters()[name], value) for name, value in run.parameters().items())
    plain = run_of(data_bin, "memobert_finetune")
    plain.model.load_state_dict(dict(state), strict=True)
    assert plain.validate()["loss"] == pytest.approx(expected, abs=1e-5)
    bundle = read_fairseq_checkpoint(path)
    assert not any(CHANGE in name for name in bundle.weights)
    merged = with_changes(weights_of_checkpoint(state))
    name = "encoder.layers.0.attention.qkv.weight"
    assert torch.equal(bundle.weights[name], merged[name]) and not torch.equal(merged[name], state[name])


def test_two_ways_at_once_and_pretraining_are_refused(data_bin: Path) -> None:
    with pytest.raises(SystemExit, match="--lora-rank and --tuned head: give only one of the two"):
        run_of(data_bin, "memobert_prompt", "--lora-rank", "2", "--tuned", "head")
    with pytest.raises(SystemExit, match="pre-training trains everything"):
        TrainingRun(data_bin, "memobert_pretraining", "--lora-rank", "2")


SOFT = ("--soft-prompt-length", "5")


@pytest.mark.parametrize("beside", [(), ("--tuned", "biases"), ("--lora-rank", "3"), ("--tuned", "words")])
def test_a_soft_prompt_is_trained_on_a_frozen_network(data_bin: Path, beside: tuple[str, ...]) -> None:
    run = run_of(data_bin, "memobert_prompt", *SOFT, *beside)
    before = run.parameters()
    rows = [row for of_label in run.task.label_words for row in of_label]
    words = before["text_embedder.word.weight"]
    assert torch.equal(before[PROMPT], words[[rows[number % len(rows)] for number in range(5)]])
    losses = [entry["loss"] for entry in run.train(20)]
    after = run.parameters()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert PROMPT in changed and min(losses[-5:]) < losses[0]
    allowed = {
        (): set(),
        ("--tuned", "biases"): {name for name in before if name.endswith("bias")},
        ("--lora-rank", "3"): {name for name in before if CHANGE in name},
        ("--tuned", "words"): {"heads.wwmlm.bias"},
    }[beside]
    assert changed <= {PROMPT, *allowed} and len(changed) > bool(beside)


def test_vectors_that_are_words_read_as_these_words(data_bin: Path) -> None:
    run = run_of(data_bin, "memobert_prompt", *SOFT)
    run.task.load_dataset("valid")
    batch = run.task.datasets["valid"].collater([0, 1, 2])
    text = batch["net_input"]["text"]
    assert int((text == 1).sum()) == 15
    rows = [row for of_label in run.task.label_words for row in of_label]
    as_words = text.clone()
    as_words[text == 1] = torch.tensor([rows[number % len(rows)] for number in range(5)] * 3)
    run.model.eval()
    of_vectors, of_words = (
        run.model(**{**batch["net_input"], "text": pieces}, head="wwmlm", rows=batch["mask_rows"])
        for pieces in (text, as_words)
    )
    torch.testing.assert_close(of_vectors, of_words)


def test_a_soft_prompt_starts_from_pretraining_is_stored_and_can_be_left_out(data_bin: Path, tmp_path: Path) -> None:
    first = TrainingRun(data_bin, "memobert_pretraining", "--lr", "1e-2")
    first.train(3)
    state = torch.load(first.save(tmp_path / "pre.pt"), map_location="cpu", weights_only=True)["model"]
    assert PROMPT not in state
    run = run_of(data_bin, "memobert_prompt", *SOFT)
    run.model.load_state_dict(dict(state), strict=True)
    rows = [row for of_label in run.task.label_words for row in of_label]
    learned = run.parameters()[PROMPT]
    assert torch.equal(learned[:4], state["text_embedder.word.weight"][rows[:4]])
    run.train(4)
    expected = run.validate()["loss"]
    stored = torch.load(run.save(tmp_path / "soft.pt"), map_location="cpu", weights_only=True)["model"]
    again = run_of(data_bin, "memobert_prompt", *SOFT)
    again.model.load_state_dict(dict(stored), strict=True)
    assert again.validate()["loss"] == pytest.approx(expected)
    plain = run_of(data_bin, "memobert_prompt")
    plain.model.load_state_dict(dict(stored), strict=True)
    assert PROMPT not in plain.parameters()
    with pytest.raises(SystemExit, match="give the --soft-prompt-length of its training"):
        run_of(data_bin, "memobert_prompt", "--soft-prompt-length", "3").model.load_state_dict(
            dict(stored), strict=True
        )


def test_a_soft_prompt_with_no_length_or_below_it_is_nothing_or_refused(data_bin: Path) -> None:
    assert PROMPT not in run_of(data_bin, "memobert_prompt", "--soft-prompt-length", "0").parameters()
    with pytest.raises(SystemExit, match="--soft-prompt-length -1: give 0 or more"):
        run_of(data_bin, "memobert_prompt", "--soft-prompt-length", "-1")
    with pytest.raises(SystemExit, match=r"text with its special pieces and prompt: .* positions"):
        run_of(data_bin, "memobert_prompt", "--soft-prompt-length", "40")
