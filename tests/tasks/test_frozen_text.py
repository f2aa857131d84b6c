"""A frozen text encoder, standardised frames and label words: training, validation and prediction compute the same."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertModel

from memobert_plugin import MEmoBERT
from memobert_plugin.cli import export
from memobert_plugin.core.errors import UserError
from memobert_plugin.data.binarize import binarize
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.tokenizer import WordPieceTokenizer
from memobert_plugin.nn.embedders import PROMPT
from memobert_plugin.nn.network import STORED_HALF
from memobert_plugin.nn.text_encoder import ENCODER_PREFIX, EncodedTextEmbedder
from memobert_plugin.tasks.pretraining import _Training
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun
from tests.inference.models import utterances_of
from tests.reference.bert_folder import bert_config, random_bert, write_bert_folder

WORDS = "anger=angry happy=happy neutral=neutral sad=sad"
RECIPE = ("--standardize-frames", "--frame-dropout", "0.6", "--init-std", "0.1")
PROMPTED = ("--fold", "1", "--mask-words", "labels", "--verbalizer", WORDS, "--modality-mixture", "--mix-streams")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    make_data_bin(folder, CorpusShape(speakers=4, utterances=12, absent=0.2))
    tokenizer = WordPieceTokenizer.from_vocab(folder / "vocab.txt")
    binarize(
        folder / "manifest.tsv",
        folder / "visual",
        folder / "acoustic",
        tokenizer,
        folder / "expressions",
        visual_input="expressions",
    )
    vocabulary = (folder / "vocab.txt").read_text().split("\n")[:-1]
    config = bert_config(layers=2, hidden=24, heads=2, ffn=32, rows=len(vocabulary), positions=80)
    write_bert_folder(folder / "bert", random_bert(BertModel, config), vocabulary)
    return folder


def run(folder: Path, task: str, *flags: str) -> TrainingRun:
    return TrainingRun(folder / "expressions", task, "--text-encoder", str(folder / "bert"), *RECIPE, *flags)


def test_prediction_equals_validation_from_a_checkpoint_and_from_a_bundle(folder: Path, tmp_path: Path) -> None:
    training = run(folder, "memobert_prompt", *PROMPTED, "--predictions", str(tmp_path / "test.jsonl"))
    training.train(4)
    checkpoint = training.save(tmp_path / "model.pt")
    training.validate("test")
    expected = {line["id"]: line for line in map(json.loads, (tmp_path / "test.jsonl").read_text().splitlines())}
    assert export.main([str(checkpoint), str(tmp_path / "bundle")]) == 0
    for source in (checkpoint, tmp_path / "bundle"):
        model = MEmoBERT.from_pretrained(source)
        found = {answer.name: answer for answer in model.predict(utterances_of(folder / "expressions"))}
        for name, line in expected.items():
            assert dict(found[name].probabilities) == pytest.approx(line["probabilities"], abs=1e-5)
            assert found[name].word is None
        words = model.fill_mask("i am [MASK] .", text="we love it", top_k=9)
        assert {word for word, _ in words} == {"angry", "happy", "neutral", "sad"}
        assert sum(share for _, share in words) == pytest.approx(1.0)


def test_checkpoints_keep_the_frozen_weights_in_half_precision_unchanged(folder: Path, tmp_path: Path) -> None:
    training = run(folder, "memobert_prompt", *PROMPTED)
    before = training.model.text_embedder.encoder.state_dict()
    training.train(2)
    stored = torch.load(training.save(tmp_path / "model.pt"), weights_only=True)["model"]
    for name, value in before.items():
        assert ENCODER_PREFIX + name not in stored
        assert torch.equal(stored[ENCODER_PREFIX + name + STORED_HALF].view(torch.float16).float(), value)


def test_frames_are_standardised_on_the_training_speakers_alone(folder: Path) -> None:
    training = run(folder, "memobert_prompt", *PROMPTED)
    corpus = Corpus(folder / "expressions")
    speakers = [corpus.speakers.index(name) for name in training.task.state.fold["train"]]
    rows = np.flatnonzero(np.isin(corpus.speaker, speakers))
    assert corpus.acoustic is not None and corpus.visual is not None
    sound = np.concatenate([corpus.acoustic.view(row) for row in rows]).reshape(-1, 5).astype(np.float64)
    faces = np.concatenate([corpus.visual.view(row) for row in rows]).reshape(-1, 8).astype(np.float64)
    embedder = training.model.acoustic_embedder
    assert np.allclose(embedder.mean, sound.mean(0), atol=1e-4)
    assert np.allclose(embedder.deviation, sound.std(0), atol=1e-4)
    # Distributions have one deviation for all classes.
    assert np.allclose(training.model.visual_embedder.mean, faces.mean(0), atol=1e-4)
    assert np.allclose(training.model.visual_embedder.deviation, np.sqrt(faces.var(0).mean()), atol=1e-4)


def test_a_text_encoder_of_another_vocabulary_is_refused(folder: Path, tmp_path: Path) -> None:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "other"]
    config = bert_config(layers=1, hidden=16, heads=2, ffn=16, rows=len(vocabulary))
    other = write_bert_folder(tmp_path / "other", random_bert(BertModel, config), vocabulary)
    with pytest.raises(SystemExit, match="its vocabulary is not the data-bin's"):
        TrainingRun(folder / "expressions", "memobert_prompt", "--text-encoder", str(other), "--fold", "1")


@pytest.mark.parametrize("changed", [(), ("--lora-rank", "2")])
def test_a_network_trained_on_text_becomes_a_text_encoder(
    folder: Path, tmp_path: Path, changed: tuple[str, ...]
) -> None:
    words = TrainingRun(folder / "expressions", "memobert_prompt", "--fold", "1", "--modalities", "l", *changed)
    words.train(2)
    checkpoint = words.save(tmp_path / "words.pt")
    training = TrainingRun(folder / "expressions", "memobert_prompt", "--text-encoder", str(checkpoint), *PROMPTED)
    training.train(1)
    words.model.eval()
    pieces, none = torch.tensor([2, 6, 7, 3]), np.array([0])
    frozen = training.model.text_embedder.encoder(pieces, np.array([4]))
    with torch.no_grad():
        trained, _ = words.model.hidden_states(pieces, np.array([4]), None, none, None, none)
    # The frozen weights are rounded to half precision.
    assert torch.allclose(frozen, trained, atol=5e-3)


def test_a_checkpoint_without_text_encoder_is_not_taken_for_one(folder: Path, tmp_path: Path) -> None:
    plain = TrainingRun(folder / "expressions", "memobert_prompt", "--fold", "1")
    plain.train(1)
    start = plain.save(tmp_path / "plain.pt")
    with pytest.raises((SystemExit, UserError), match="no frozen text encoder"):
        run(folder, "memobert_prompt", *PROMPTED).trainer.load_checkpoint(str(start), reset_optimizer=True)


def test_another_text_encoder_than_the_checkpoints_is_refused(folder: Path, tmp_path: Path) -> None:
    training = run(folder, "memobert_prompt", *PROMPTED)
    training.train(1)
    start = training.save(tmp_path / "start.pt")
    vocabulary = (folder / "vocab.txt").read_text().split("\n")[:-1]
    config = bert_config(layers=2, hidden=24, heads=2, ffn=32, rows=len(vocabulary), positions=80)
    further = random_bert(BertModel, config)
    further.get_parameter("encoder.layer.1.output.dense.bias").data += 0.01
    other = write_bert_folder(tmp_path / "other", further, vocabulary)
    for encoder, refused in ((folder / "bert", False), (other, True)):
        flags = ("--text-encoder", str(encoder), *RECIPE, *PROMPTED)
        following = TrainingRun(folder / "expressions", "memobert_prompt", *flags)
        with pytest.raises((SystemExit, UserError), match="not the frozen text encoder") if refused else nullcontext():
            following.trainer.load_checkpoint(str(start), reset_optimizer=True)


@pytest.mark.parametrize(("layers", "hidden"), [(2, 16), (1, 24), (3, 24)])
def test_a_text_encoder_of_other_sizes_than_the_checkpoints_is_named(
    folder: Path, tmp_path: Path, layers: int, hidden: int
) -> None:
    training = run(folder, "memobert_prompt", *PROMPTED)
    training.train(1)
    start = training.save(tmp_path / "start.pt")
    vocabulary = (folder / "vocab.txt").read_text().split("\n")[:-1]
    config = bert_config(layers=layers, hidden=hidden, heads=2, ffn=32, rows=len(vocabulary), positions=80)
    other = write_bert_folder(tmp_path / "other", random_bert(BertModel, config), vocabulary)
    flags = ("--text-encoder", str(other), *RECIPE, *PROMPTED)
    following = TrainingRun(folder / "expressions", "memobert_prompt", *flags)
    with pytest.raises((SystemExit, UserError), match="give the --text-encoder of its training"):
        following.trainer.load_checkpoint(str(start), reset_optimizer=True)


@pytest.mark.parametrize("content", [b"no checkpoint", b""])
def test_a_file_of_another_kind_is_named_as_the_text_encoder(folder: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(SystemExit, match=r"--text-encoder .*file\.pt: .*; give a Hugging Face BERT folder, the file"):
        TrainingRun(folder / "expressions", "memobert_prompt", "--text-encoder", str(tmp_path / "file.pt"), *PROMPTED)


def test_a_folder_without_bert_is_named_as_the_text_encoder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        SystemExit, match=r"--text-encoder .*: holds no BERT \(.*; give a Hugging Face BERT folder, the"
    ):
        TrainingRun(folder / "expressions", "memobert_prompt", "--text-encoder", str(tmp_path), *PROMPTED)


def test_a_network_with_learned_prompt_vectors_becomes_a_text_encoder(folder: Path, tmp_path: Path) -> None:
    flags = ("--fold", "1", "--modalities", "l", "--soft-prompt-length", "2")
    words = TrainingRun(folder / "expressions", "memobert_prompt", *flags)
    words.train(1)
    checkpoint = words.save(tmp_path / "words.pt")
    training = TrainingRun(folder / "expressions", "memobert_prompt", "--text-encoder", str(checkpoint), *PROMPTED)
    training.train(1)


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_a_text_encoder_whose_weights_half_precision_cannot_hold_is_refused(
    folder: Path, tmp_path: Path, value: float
) -> None:
    words = TrainingRun(folder / "expressions", "memobert_prompt", "--fold", "1", "--modalities", "l")
    words.train(1)
    with torch.no_grad():
        words.model.text_embedder.position.weight[3, 1] = value
    checkpoint = words.save(tmp_path / "words.pt")
    with pytest.raises(SystemExit, match=r"words\.pt: text_embedder\.position\.weight holds NaN or infinite values"):
        TrainingRun(folder / "expressions", "memobert_prompt", "--text-encoder", str(checkpoint), *PROMPTED)


FIRST_ALONE = (
    "--wwmlm-ratio", "0", "--mvfr-ratio", "0", "--mvfc-ratio", "0", "--mafr-ratio", "0",
    "--prompted-expression-ratio", "0", "--first-objective", "prompted_expression",
)  # fmt: skip
PRETRAINED = (
    "--wwmlm-ratio", "0", "--mvfr-ratio", "0", "--mvfc-ratio", "0", "--mafr-ratio", "0", "--co-prompting-ratio", "1",
    "--first-objective", "prompted_expression", "--first-updates", "3", "--co-prompting-updates", "4",
    "--prompt-words", "anger=angry happiness=happy neutral=neutral sadness=sad",
)  # fmt: skip


def co_prompting(folder: Path, saved: Path, restored: Path | None = None) -> TrainingRun:
    found = run(folder, "memobert_pretraining", *PRETRAINED, "--save-dir", str(saved))
    found.task.cfg.no_save = False  # the teacher is kept beside the checkpoints
    if restored is not None:
        found.trainer.load_checkpoint(str(restored))
        found.task.first_update = found.trainer.get_num_updates()
    return found


def teacher(host: TrainingRun) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in host.task.objectives["co_prompting"]._teacher.named_parameters()}


def is_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_pretraining_that_resumes_within_a_round_goes_on_with_its_teacher(folder: Path, tmp_path: Path) -> None:
    first = co_prompting(folder, tmp_path / "saved")
    first.train(6)
    first.save(tmp_path / "six.pt")
    second = co_prompting(folder, tmp_path / "saved", tmp_path / "six.pt")
    assert second.trainer.get_num_updates() == 6
    taught, teaching = (host.task.objectives["co_prompting"] for host in (first, second))
    teaching.prepare(_Training(second.task, second.model, 6, trains=True))
    assert taught._round == teaching._round == 1
    now = second.parameters()
    kept = dict(taught._teacher.named_parameters())
    assert all(torch.equal(kept[name], value) for name, value in teaching._teacher.named_parameters())
    assert any(not torch.equal(now[name], value) for name, value in kept.items() if name in now)
    assert torch.equal(taught._shares, teaching._shares)
    assert torch.allclose(taught._log_prior, teaching._log_prior)


def test_a_new_pretraining_does_not_take_the_teacher_of_another_in_its_folder(folder: Path, tmp_path: Path) -> None:
    earlier = co_prompting(folder, tmp_path)
    earlier.train(2)
    with torch.no_grad():
        for value in earlier.model.parameters():
            value.add_(0.1)
    earlier.train(3)  # a round of a teacher that the next training does not have
    following = co_prompting(folder, tmp_path)
    following.train(5)
    own = co_prompting(folder, tmp_path / "own")
    own.train(5)
    assert is_same(teacher(following), teacher(own))
    assert not is_same(teacher(following), teacher(earlier))


def test_a_pretraining_killed_after_a_round_began_resumes_with_the_teacher_before(folder: Path, tmp_path: Path) -> None:
    killed = co_prompting(folder, tmp_path)
    killed.train(6)
    saved = killed.save(tmp_path / "checkpoint_last.pt")
    before = teacher(killed)
    killed.train(3)  # into the next round, without a checkpoint of it
    after = teacher(killed)
    resumed = co_prompting(folder, tmp_path, saved)
    resumed.train(1)
    assert is_same(teacher(resumed), before)
    with torch.no_grad():
        for value in resumed.model.parameters():
            if value.requires_grad:
                value.add_(0.1)  # such as with another learning rate
    resumed.train(2)
    assert not is_same(teacher(resumed), after)
    assert {path.name for path in tmp_path.glob("co_prompting-*.pt")} >= {"co_prompting-1.pt", "co_prompting-2.pt"}


def test_the_teachers_of_rounds_before_the_newest_checkpoint_are_removed(folder: Path, tmp_path: Path) -> None:
    training = co_prompting(folder, tmp_path)
    training.train(9)
    training.save(tmp_path / "checkpoint_last.pt")
    training.train(4)
    assert {path.name for path in tmp_path.glob("co_prompting-*.pt")} == {"co_prompting-2.pt", "co_prompting-3.pt"}


def test_every_prompted_objective_lowers_its_own_loss(folder: Path) -> None:
    for name in ("prompted_expression", "co_prompting", "prompted_similarity"):
        off = [part for other in ("wwmlm", "mvfr", "mvfc", "mafr") for part in (f"--{other}-ratio", "0")]
        words = ("--prompt-words", "anger=angry happiness=happy neutral=neutral sadness=sad")
        flag = f"--{name.replace('_', '-')}-ratio"
        training = run(folder, "memobert_pretraining", *off, flag, "1", *words, "--lr", "1e-2", "--frame-dropout", "0")
        assert isinstance(training.model.text_embedder, EncodedTextEmbedder)
        losses = [logged["loss"] for logged in training.train(25)]
        assert all(np.isfinite(losses))
        if name != "co_prompting":  # whose target is the network's own answer: there is little to lower
            assert np.mean(losses[-5:]) < np.mean(losses[:5])
        assert f"{name}_agreement" in training.validate()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--prompt-words", "anger=angry joy=happy"), "'joy' is no expression class"),
        (("--prompt-words", "anger=angry happiness=unheardof"), "not one piece of the vocabulary"),
        (("--prompt-words", "anger=angry"), "give two or more entries"),
        (("--expression-views", "a=2 vx"), "'vx' is no modality case"),
        (("--expression-sharpness", "0"), "give a number above 0"),
        (("--co-prompting-ratio", "1", "--co-prompting-shares", "anger=1 happiness=2"), "a weight above 0 for each of"),
        (("--prompt-template", "i am ."), "exactly one"),
        (("--first-objective", "mvfr"), "give both, or neither"),
        (("--text-encoder", "", "--text-encoder-layers", "2"), "give --text-encoder"),
        ((*FIRST_ALONE, "--first-updates", "2"), "nothing follows it"),
    ],
)
def test_flags_that_cannot_be_are_refused_before_training(folder: Path, flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        run(folder, "memobert_pretraining", "--prompted-expression-ratio", "1", *flags)


@pytest.mark.parametrize(
    "flags", [("--mixture-full-weight", "0", "--modality-mixture"), ("--mixture-full-weight", "3")]
)
def test_a_weight_that_would_do_nothing_is_refused(folder: Path, flags: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="--mixture-full-weight"):
        TrainingRun(folder / "expressions", "memobert_prompt", "--fold", "1", *flags)


def test_similarity_needs_a_text_encoder(folder: Path) -> None:
    off = [part for other in ("wwmlm", "mvfr", "mvfc", "mafr") for part in (f"--{other}-ratio", "0")]
    flags = (*off, "--prompted-similarity-ratio", "1", "--prompt-words", "anger=angry happiness=happy")
    with pytest.raises(SystemExit, match="give --text-encoder"):
        TrainingRun(folder / "expressions", "memobert_pretraining", *flags)


def test_utterances_without_faces_have_no_expression_to_learn(folder: Path) -> None:
    off = [part for other in ("wwmlm", "mvfr", "mvfc", "mafr") for part in (f"--{other}-ratio", "0")]
    words = ("--prompt-words", "anger=angry happiness=happy neutral=neutral sadness=sad")
    host = run(folder, "memobert_pretraining", *off, "--prompted-expression-ratio", "1", *words)
    batch = host.task.dataset("train").collater(range(20))
    objective = host.task.objectives["prompted_expression"]
    masked = objective.masked(batch, 1, 1)
    with_faces = batch["net_input"]["visual_lengths"] > 0
    assert 0 < with_faces.sum() < 20
    assert len(masked["target"]) == len(masked["net_input"]["rows"]) == with_faces.sum()
    classes = [0, 1, 3, 4]  # neutral, happiness, sadness, anger among FER+'s
    first = batch["expression"][: int(batch["net_input"]["visual_lengths"][0])].float().sum(0)
    if with_faces[0]:
        order = [list(objective.labels).index(name) for name in ("neutral", "happiness", "sadness", "anger")]
        assert torch.allclose(masked["target"][0][order], (0.5 * first[classes]).softmax(0), atol=1e-4)
    without = {key: value for key, value in batch.items() if key != "expression"}
    nothing = objective.masked(without, 1, 1)
    assert len(nothing["target"]) == len(nothing["net_input"]["rows"]) == 0


@pytest.mark.parametrize(
    "way", [(), ("--lora-rank", "2"), ("--tuned", "biases"), ("--tuned", "head"), ("--tuned", "words")]
)
def test_the_encoder_stays_frozen_whatever_else_is_trained(folder: Path, way: tuple[str, ...]) -> None:
    model = run(folder, "memobert_prompt", "--fold", "1", *way).model
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained and not [name for name in trained if "encoder." in name and name.startswith("text_embedder.")]


def test_learned_vectors_stand_between_states_that_do_not_see_them(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    soft = run(folder, "memobert_prompt", *PROMPTED, "--soft-prompt-length", "3", "--predictions", str(path))
    before = soft.parameters()
    soft.train(4)
    after = soft.parameters()
    assert {name for name, value in after.items() if not torch.equal(value, before[name])} == {PROMPT}
    embedder = soft.model.text_embedder
    pieces = torch.tensor([0, 5, 1, 1, 1, 6, 2, 0, 1, 1, 1, 7, 2])
    lengths = np.array([7, 6])
    embedder.eval()
    with torch.no_grad():
        found = embedder(pieces, lengths)
        kind = embedder.token_type.weight[0]
        words = embedder.norm(embedder._projected(embedder.encoder(pieces[pieces != 1], lengths - 3)) + kind)
        learned = embedder.norm(embedder.prompt + kind)
    torch.testing.assert_close(found[pieces != 1], words)
    torch.testing.assert_close(found[pieces == 1], learned.repeat(2, 1))
    checkpoint = soft.save(tmp_path / "model.pt")
    soft.validate("test")
    expected = {line["id"]: line for line in map(json.loads, path.read_text().splitlines())}
    assert export.main([str(checkpoint), str(tmp_path / "bundle")]) == 0
    answers = MEmoBERT.from_pretrained(tmp_path / "bundle").predict(utterances_of(folder / "expressions"))
    found_names = {answer.name: answer for answer in answers}
    for name, line in expected.items():
        assert dict(found_names[name].probabilities) == pytest.approx(line["probabilities"], abs=1e-5)
