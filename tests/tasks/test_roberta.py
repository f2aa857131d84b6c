"""RoBERTa as the text's network or its frozen encoder, from the folder to an answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils
from torch import nn
from transformers import RobertaForMaskedLM, RobertaTokenizer

from memobert_plugin import MEmoBERT
from memobert_plugin.cli import export, import_
from memobert_plugin.data.tokenizer import tokenizer_of
from memobert_plugin.nn.text_encoder import EncodedTextEmbedder
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun
from tests.inference.models import utterances_of
from tests.reference.bert_folder import write_roberta_folder

SIZES = (
    "--encoder-layers", "2", "--encoder-embed-dim", "24", "--encoder-ffn-embed-dim", "40",
    "--encoder-attention-heads", "3", "--max-positions", "128", "--layer-norm-eps", "1e-05",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_roberta_folder(folder / "roberta", max_position_embeddings=130)
    make_data_bin(folder, CorpusShape(speakers=4, utterances=10), tokenizer=tokenizer_of(folder / "roberta"))
    assert import_.main(["bert", str(folder / "roberta"), "--output", str(folder / "roberta.pt")]) == 0
    return folder


def epsilons(module: nn.Module) -> set[float]:
    return {part.eps for part in module.modules() if isinstance(part, nn.LayerNorm)}


def predicted(path: Path) -> dict[str, dict[str, float]]:
    return {line["id"]: line["probabilities"] for line in map(json.loads, path.read_text().splitlines())}


def assert_answers_are_those_of_validation(training: TrainingRun, folder: Path, tmp_path: Path) -> None:
    """Answers of the checkpoint and of its bundle equal the predictions of the run's ``--predictions``."""
    checkpoint = training.save(tmp_path / "model.pt")
    training.validate("test")
    assert export.main([str(checkpoint), str(tmp_path / "bundle")]) == 0
    expected = predicted(tmp_path / "test.jsonl")
    for source in (checkpoint, tmp_path / "bundle"):
        found = {
            answer.name: answer for answer in MEmoBERT.from_pretrained(source).predict(utterances_of(folder / "bin"))
        }
        assert expected
        for name, probabilities in expected.items():
            assert dict(found[name].probabilities) == pytest.approx(probabilities, abs=1e-5)


@pytest.mark.parametrize("flags", [(), ("--mask-words", "labels"), ("--soft-prompt-length", "2")], ids=str)
def test_a_prompt_is_trained_and_answers_as_in_validation(folder: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    start = ("--finetune-from-model", str(folder / "roberta.pt"), "--fold", "1")
    predictions = ("--predictions", str(tmp_path / "test.jsonl"))
    training = TrainingRun(folder / "bin", "memobert_prompt", *SIZES, *start, *predictions, *flags)
    _, training._epoch = checkpoint_utils.load_checkpoint(training.config.checkpoint, training.trainer)
    assert epsilons(training.model) == {1e-5}
    training.train(2)
    assert_answers_are_those_of_validation(training, folder, tmp_path)
    described = json.loads((tmp_path / "bundle" / "config.json").read_text())["model"]
    assert described["architecture"]["layer_norm_eps"] == 1e-5
    model = MEmoBERT.from_pretrained(tmp_path / "bundle")
    words = [word for word, _ in model.fill_mask("i am [MASK] .", text="we love it", top_k=4)]
    assert not any("Ġ" in word for word in words)


@pytest.mark.parametrize("source", ["roberta", "roberta.pt"])
def test_a_frozen_roberta_embeds_text(folder: Path, tmp_path: Path, source: str) -> None:
    encoder = ("--text-encoder", str(folder / source), "--mask-words", "labels")
    predictions = ("--predictions", str(tmp_path / "test.jsonl"))
    training = TrainingRun(folder / "bin", "memobert_prompt", "--fold", "1", *encoder, *predictions)
    embedder = training.model.text_embedder
    assert isinstance(embedder, EncodedTextEmbedder)
    assert (epsilons(embedder.encoder), epsilons(training.model.encoder)) == ({1e-5}, {1e-12})
    theirs = RobertaForMaskedLM.from_pretrained(folder / "roberta").eval().half().float().roberta
    text = tokenizer_of(folder / "roberta").encode("we love the fun")[0]
    ids = RobertaTokenizer.from_pretrained(folder / "roberta")("we love the fun", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = theirs(ids).last_hidden_state[0]
        found = embedder.encoder(torch.tensor([0, *text, 2]), torch.tensor([len(text) + 2]).numpy())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    training.train(2)
    assert_answers_are_those_of_validation(training, folder, tmp_path)


@pytest.mark.parametrize(
    ("text", "template", "whole"),
    [
        ("we love the fun, great!", "I am [MASK].", "we love the fun, great! I am<mask>."),
        ("we love it", "I am [MASK] .", "we love it. I am<mask> ."),
        ("", "it was [MASK]!", "it was<mask>!"),
    ],
)
def test_imported_weights_fill_the_mask_as_transformers_does(
    folder: Path, text: str, template: str, whole: str
) -> None:
    model = MEmoBERT.from_pretrained(folder / "roberta.pt", data_bin=folder / "bin")
    found = model.fill_mask(template, text=text, top_k=10)
    theirs = RobertaTokenizer.from_pretrained(folder / "roberta")
    ids = theirs(whole, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = RobertaForMaskedLM.from_pretrained(folder / "roberta").eval()(ids).logits[0]
    shares = logits[ids[0] == theirs.mask_token_id][0].softmax(dim=-1)
    shares[list(theirs.all_special_ids)] = -1
    values, rows = shares.topk(10)
    words = [theirs.decode([row]).strip() for row in rows.tolist()]
    assert [word for word, _ in found] == words
    assert [share for _, share in found] == pytest.approx(values.tolist(), abs=1e-6)


def test_other_pieces_and_another_epsilon_are_refused(folder: Path, tmp_path: Path) -> None:
    other = make_data_bin(tmp_path, CorpusShape(speakers=3, utterances=6))
    start = ("--finetune-from-model", str(folder / "roberta.pt"), "--fold", "1")
    training = TrainingRun(other, "memobert_prompt", *SIZES, *start)
    with pytest.raises(SystemExit, match="made with another dictionary than the data-bin's"):
        checkpoint_utils.load_checkpoint(training.config.checkpoint, training.trainer)
    training = TrainingRun(folder / "bin", "memobert_prompt", *SIZES[:-2], *start)
    with pytest.raises(SystemExit, match="its LayerNorms is 1e-05, this model's 1e-12; give --layer-norm-eps 1e-05"):
        checkpoint_utils.load_checkpoint(training.config.checkpoint, training.trainer)
    with pytest.raises(SystemExit, match="its vocabulary is not the data-bin's"):
        TrainingRun(other, "memobert_prompt", "--fold", "1", "--text-encoder", str(folder / "roberta"))
