"""Prompting takes the paper's words for the labels of the data-bin, and keeps those of a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
from fairseq.checkpoint_utils import load_model_ensemble_and_task

from memobert_plugin.data.binarize import binarize
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from memobert_plugin.data.tokenizer import WordPieceTokenizer
from tests.data_bins import VOCABULARY, CorpusShape, make_data_bin
from tests.host import TrainingRun


def data_bin_of(folder: Path, labels: tuple[str, ...], vocabulary: list[str]) -> Path:
    """A corpus of words alone, with these labels and this vocabulary."""
    rows = [
        ManifestRow(0, f"{speaker}{number}", f"spk{speaker}", text="he is happy", emotion=labels[number % len(labels)])
        for speaker in range(3)
        for number in range(6)
    ]
    folder.mkdir(exist_ok=True)
    write_manifest(folder / "manifest.tsv", rows)
    (folder / "vocab.txt").write_text("\n".join([*vocabulary, "he", "is"]) + "\n")
    tokenizer = WordPieceTokenizer.from_vocab(folder / "vocab.txt")
    return binarize(folder / "manifest.tsv", None, None, tokenizer, folder / "bin").output


def prompt_of(data_bin: Path, *flags: str) -> dict[str, object]:
    return TrainingRun(data_bin, "memobert_prompt", "--fold", "1", *flags).task.state.prompt


def test_the_word_for_anger_is_anger_where_the_vocabulary_has_it(tmp_path: Path) -> None:
    labels = ("anger", "happy", "neutral", "sad")
    known = data_bin_of(tmp_path / "known", labels, [*VOCABULARY, "anger"])
    assert prompt_of(known)["verbalizer"] == "anger=anger happy=happy neutral=neutral sad=sad"
    without = data_bin_of(tmp_path / "without", labels, VOCABULARY)
    assert prompt_of(without)["verbalizer"] == "anger=angry happy=happy neutral=neutral sad=sad"


def test_two_of_the_four_labels_need_no_flag(tmp_path: Path) -> None:
    run = TrainingRun(data_bin_of(tmp_path, ("Happy", "sad"), VOCABULARY), "memobert_prompt", "--fold", "1")
    run.train(1)
    assert run.task.state.prompt["verbalizer"] == "Happy=happy sad=sad"
    assert len(run.task.label_words) == 2


def test_a_label_without_a_word_is_refused(tmp_path: Path) -> None:
    data_bin = data_bin_of(tmp_path, ("happy", "joy"), VOCABULARY)
    with pytest.raises(SystemExit, match='no word is known for the label "joy"') as caught:
        prompt_of(data_bin)
    assert "\n" not in str(caught.value)
    assert prompt_of(data_bin, "--verbalizer", "happy=happy joy=sad")["verbalizer"] == "happy=happy joy=sad"


def test_a_checkpoint_keeps_its_words_unless_others_are_given(tmp_path: Path) -> None:
    data_bin = make_data_bin(tmp_path, CorpusShape(speakers=3, utterances=5))
    other = "anger=hate happy=love neutral=table sad=cry"
    run = TrainingRun(data_bin, "memobert_prompt", "--fold", "1", "--verbalizer", other)
    run.train(1)
    path = run.save(tmp_path / "checkpoint.pt")

    def words_with(verbalizer: str) -> list[list[int]]:
        _, _, task = load_model_ensemble_and_task([str(path)], {"verbalizer": verbalizer})
        return task.label_words

    assert words_with("") == words_with(other) == run.task.label_words
    assert words_with(other.replace("cry", "lost"))[:3] == run.task.label_words[:3]
    assert words_with(other.replace("cry", "lost"))[3] != run.task.label_words[3]
