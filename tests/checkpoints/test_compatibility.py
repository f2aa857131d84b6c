"""A data-bin, checkpoints and a bundle made at 17cffec still load and give the numbers that they gave then."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin import MEmoBERT
from memobert_plugin.data.corpus import Corpus
from tests.checkpoints.made_at_17cffec.make import expected
from tests.host import TrainingRun

FOLDER = Path(__file__).with_name("made_at_17cffec")
NUMBERS = json.loads((FOLDER / "expected.json").read_text())


def test_the_data_bin_opens_with_its_tokenizer() -> None:
    corpus = Corpus(FOLDER / "data_bin")
    assert (len(corpus), corpus.meta.labels, corpus.splits) == (
        30,
        ["anger", "happy", "neutral", "sad"],
        ["train", "valid"],
    )
    ids, starts = corpus.load_tokenizer().encode("we love the cats!")
    assert ([corpus.symbols[row] for row in ids], starts.tolist()) == (
        ["we", "love", "the", "cat", "##s", "!"],
        [1, 1, 1, 1, 0, 0],
    )


@pytest.mark.parametrize("name", NUMBERS["probabilities"])
def test_predictions_are_those_recorded(name: str) -> None:
    found = expected(MEmoBERT.from_pretrained(FOLDER / name))
    for clip, probabilities in NUMBERS["probabilities"][name].items():
        assert found[clip] == pytest.approx(probabilities, abs=2e-6), clip


@pytest.mark.parametrize("task", ["memobert_pretraining", "memobert_prompt", "memobert_finetune"])
def test_a_checkpoint_validates_to_the_recorded_losses(task: str) -> None:
    flags = () if task == "memobert_pretraining" else ("--fold", "1")
    run = TrainingRun(FOLDER / "data_bin", task, *flags)
    run.trainer.load_checkpoint(str(FOLDER / f"{task}.pt"), reset_optimizer=True, reset_lr_scheduler=True)
    logged = run.validate()
    assert {name: logged[name] for name in NUMBERS[task]} == pytest.approx(NUMBERS[task], abs=2e-5)


def test_an_older_bundle_keeps_its_emotion_words() -> None:
    model = MEmoBERT.from_pretrained(FOLDER / "bundle")
    assert model.description.verbalizer == "anger=angry happy=happy neutral=neutral sad=sad"
    assert np.isclose(sum(model.predict(text="stop").probabilities.values()), 1.0)
