"""A mistake in the input ends a fairseq command in one line that names the place, before anything is trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from memobert_plugin.data.binarize import binarize
from memobert_plugin.data.tokenizer import WordPieceTokenizer
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import SMALLEST_MODEL, USER_DIR, TrainingRun, run_commands

SHAPE = CorpusShape(speakers=3, utterances=10)


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), SHAPE)


def refusal(data_bin: Path | str, task: str, *flags: str, subset: str = "valid") -> str:
    """The line that the command would print."""
    with pytest.raises(SystemExit) as leaving:
        TrainingRun(data_bin, task, *flags).validate(subset)
    line = str(leaving.value)
    assert line.startswith("memobert: error: ") and "\n" not in line, line
    return line


FLAGS = {
    "a part that is not there": (["--fold", "1", "--drop-repeated-texts", "scripted"], "has no parts; or all"),
    "folds without a number": (["--folds", "sessions"], "--folds sessions: give --fold, from 1"),
    "folds that are none": (["--fold", "1", "--folds", "groups:x"], "--folds groups:x: give groups:K"),
    "a fold out of range": (["--fold", "4"], "fold 4 does not exist; the folds are numbered by what they test: 1 spk0"),
    "a negative fold": (["--fold", "-1"], "fold -1 does not exist"),
    "validation of all_but_one": (["--fold", "1", "--protocol", "all_but_one"], "has no validation speaker"),
    "an unknown modality case": (["--fold", "1", "--modalities", "lx"], "--modalities 'lx': choose one of lva, lv"),
    "an unknown label": (["--fold", "1", "--labels", "sad,bored"], "--labels 'sad,bored'"),
    "a single label": (["--fold", "1", "--labels", "sad"], "name two or more of these"),
    "no part of the training set": (["--fold", "1", "--train-fraction", "0"], "must be above 0 and at most 1, not 0"),
    "more than the training set": (["--fold", "1", "--train-fraction", "1.5"], "at most 1, not 1.5"),
    "no criterion": (["--criterion", "cross_entropy"], "give --criterion memobert_finetune"),
    "another task's criterion": (["--criterion", "memobert_prompt"], "does not fit --task memobert_finetune"),
    "more pieces than positions": (["--fold", "1", "--max-pieces", "79"], "81 positions"),
    "more frames than positions": (["--fold", "1", "--max-visual-frames", "99"], "--max-visual-frames: 99 positions"),
}  # fmt: skip


@pytest.mark.parametrize("what", FLAGS)
def test_flags(data_bin: Path, what: str) -> None:
    flags, message = FLAGS[what]
    assert message in refusal(data_bin, "memobert_finetune", *flags)


PROMPTS = {
    "no mask": (["--template", "i am"], 'template "i am" has 0 [MASK]; it needs exactly one'),
    "two masks": (["--template", "[MASK] or [MASK]"], "has 2 [MASK]; it needs exactly one"),
    "a word of two pieces": (
        ["--verbalizer", "anger=angry happy=fun happy neutral=neutral sad=cats"], 'entry "happy" is not of the form',
    ),
    "a word that is split": (
        ["--verbalizer", "anger=angry happy=happy neutral=neutral sad=cats"],
        'verbalizer word "cats" is not one piece of the vocabulary but cat ##s',
    ),
    "an unknown word": (
        ["--verbalizer", "anger=angry happy=happy neutral=neutral sad=xylophone"],
        'verbalizer word "xylophone" is not one piece',
    ),
    "a label without a word": (["--verbalizer", "anger=angry happy=happy sad=sad"], 'no word for the label "neutral"'),
    "an unknown label": (
        ["--verbalizer", "anger=angry happy=happy neutral=neutral sad=sad bored=so"], 'label "bored" is not',
    ),
    "a word for two labels": (
        ["--verbalizer", "anger=sad happy=happy neutral=neutral sad=sad"], 'verbalizer word "sad" is listed 2 times',
    ),
    "a prompt beyond the positions": (["--max-pieces", "74"], "text with its special pieces and prompt: 81 positions"),
}  # fmt: skip


@pytest.mark.parametrize("what", PROMPTS)
def test_prompts(data_bin: Path, what: str) -> None:
    flags, message = PROMPTS[what]
    assert message in refusal(data_bin, "memobert_prompt", "--fold", "1", *flags)


def test_predictions_of_two_subsets_need_two_names(data_bin: Path, tmp_path: Path) -> None:
    run = TrainingRun(data_bin, "memobert_finetune", "--fold", "1", "--predictions", str(tmp_path / "p.jsonl"))
    run.validate("valid")
    with pytest.raises(SystemExit, match=r"put \{subset\} into the name"):
        run.validate("test")


def test_predictions_of_a_shortened_validation_are_refused(data_bin: Path, tmp_path: Path) -> None:
    flags = ("--fold", "1", "--predictions", str(tmp_path / "p.jsonl"), "--max-valid-steps", "1")
    run = TrainingRun(data_bin, "memobert_finetune", *flags)
    with pytest.raises(SystemExit, match="--max-valid-steps would leave utterances out"):
        run.validate("valid")


def truncate(name: str, size: int) -> Callable[[Path], None]:
    def damage(data_bin: Path) -> None:
        with (data_bin / name).open("r+b") as file:
            file.truncate(size)

    return damage


def remove(name: str) -> Callable[[Path], None]:
    return lambda data_bin: (data_bin / name).unlink()


def change_meta(name: str, value: object) -> Callable[[Path], None]:
    def damage(data_bin: Path) -> None:
        path = data_bin / "corpus.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))

    return damage


DAMAGE = {
    "another version": (change_meta("format_version", 99), "corpus.json", "format version 99"),
    "another kind of file": (change_meta("format", "something"), "corpus.json", "not the description of a data-bin"),
    "truncated frames": (truncate("visual.bin", 100), "visual.bin", ""),
    "a truncated index": (truncate("text.idx", 40), "text.idx", ""),
    "a truncated array": (truncate("emotion.npy", 60), "emotion.npy", "truncated"),
    "truncated rows": (truncate("utterances.tsv", 60), "utterances.tsv", "60 bytes"),
    "a truncated dictionary": (truncate("dict.txt", 20), "dict.txt", ""),
    "a missing file": (remove("speaker.npy"), "speaker.npy", "missing"),
    "a missing description": (remove("corpus.json"), "", "not a data-bin (no corpus.json)"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_data_bins(data_bin: Path, tmp_path: Path, what: str) -> None:
    damage, file, message = DAMAGE[what]
    copy = tmp_path / "copy"
    shutil.copytree(data_bin, copy)
    damage(copy)
    line = refusal(copy, "memobert_finetune")
    assert str(copy / file if file else copy) in line and message in line


def test_no_data_bin(tmp_path: Path) -> None:
    assert f"{tmp_path / 'nowhere'}: no such folder" in refusal(tmp_path / "nowhere", "memobert_finetune")


@pytest.mark.parametrize("task", ["memobert_pretraining", "memobert_finetune"])
def test_a_split_that_the_manifest_does_not_have(data_bin: Path, task: str) -> None:
    line = refusal(data_bin, task, subset="test")
    assert f"{data_bin}: the split column has no 'test' (it has: train, valid)" in line


def test_a_subset_that_a_fold_does_not_have(data_bin: Path) -> None:
    assert "subset 'dev': a fold has train, valid and test" in refusal(
        data_bin, "memobert_finetune", "--fold", "1", subset="dev"
    )


def test_nobody_short_enough_to_train_on(data_bin: Path) -> None:
    line = refusal(data_bin, "memobert_pretraining", "--max-pieces", "0")
    assert f"{data_bin}: no utterance for the subset 'train'" in line


def test_too_few_speakers_or_none(tmp_path: Path) -> None:
    two = make_data_bin(tmp_path / "two", CorpusShape(speakers=2, utterances=4))
    assert "protocol strict needs at least 3 speakers, the corpus has 2" in refusal(
        two, "memobert_finetune", "--fold", "1"
    )


@pytest.fixture(scope="module")
def checkpoint(data_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = TrainingRun(data_bin, "memobert_prompt", "--fold", "1")
    run.train(1)
    return run.save(tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt")


def other_vocabulary(folder: Path) -> Path:
    """A data-bin whose dictionary has one symbol more."""
    made = make_data_bin(folder, SHAPE)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text(vocabulary.read_text() + "another\n")
    tokenizer = WordPieceTokenizer.from_vocab(vocabulary)
    binarize(folder / "manifest.tsv", folder / "visual", folder / "acoustic", tokenizer, made, overwrite=True)
    return made


OTHERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "other face frames": (
        lambda folder: make_data_bin(folder, CorpusShape(speakers=3, utterances=10, visual_dim=7)),
        "visual frames have 7 dimensions, the model reads 6",
    ),
    "other speech frames": (
        lambda folder: make_data_bin(folder, CorpusShape(speakers=3, utterances=10, acoustic_dim=4)),
        "acoustic frames have 4 dimensions, the model reads 5",
    ),
    "other expressions": (
        lambda folder: make_data_bin(folder, CorpusShape(speakers=3, utterances=10, classes=7)),
        "its expression classes are not the checkpoint's",
    ),
    "another dictionary": (other_vocabulary, "its dictionary is not the checkpoint's"),
    "other emotions": (
        lambda folder: make_data_bin(folder, CorpusShape(speakers=3, utterances=10, emotions=("sad", "happy"))),
        "has no utterance of anger, neutral, which the model tells apart; it has happy, sad",
    ),
}


@pytest.mark.slow
def test_commands_end_in_one_line_without_a_traceback(data_bin: Path, checkpoint: Path, tmp_path: Path) -> None:
    """A checkpoint with data that does not fit, at validation and as a start; and a mistake of each kind above."""
    train = ["fairseq-train", "--cpu", "--user-dir", str(USER_DIR), "--optimizer", "memobert_adamw", "--lr", "0.1",
             "--batch-size", "8", "--max-update", "1", *SMALLEST_MODEL]  # fmt: skip
    prompt = ["--task", "memobert_prompt", "--criterion", "memobert_prompt"]
    validate = ["fairseq-validate", "--user-dir", str(USER_DIR), "--task", "memobert_prompt", "--cpu",
                "--batch-size", "8", "--path", str(checkpoint), "--valid-subset", "test"]  # fmt: skip
    commands, messages = {}, {}
    for number, (what, (make, message)) in enumerate(OTHERS.items()):
        other = make(tmp_path / str(number))
        commands[f"validate_{number}"], messages[f"validate_{number}"] = [*validate, str(other)], message
        if what not in ("other emotions", "other expressions"):
            start = [*train, str(other), *prompt, "--fold", "1", "--finetune-from-model", str(checkpoint)]
            commands[f"start_{number}"], messages[f"start_{number}"] = start, "memobert: error: checkpoint: "
    commands["fold"], messages["fold"] = [*train, str(data_bin), *prompt, "--fold", "9"], "fold 9 does not exist"
    commands["flag"] = [*train, str(data_bin), *prompt, "--template", "i am"]
    messages["flag"] = "has 0 [MASK]"
    commands["path"], messages["path"] = [*validate, str(tmp_path / "gone")], "no such folder"
    for name, command in commands.items():
        if command[0] == "fairseq-train":  # they run side by side
            command += ["--save-dir", str(tmp_path / "saves" / name)]
    for name, finished in run_commands(tmp_path / "logs", commands).items():
        assert finished.status == 1, (name, finished.log)
        assert "Traceback" not in finished.log, (name, finished.log)
        last = finished.log.splitlines()[-1]
        assert last.startswith("memobert: error: ") and messages[name] in last, (name, last)


def test_more_emotions_than_the_checkpoints_head(data_bin: Path) -> None:
    two = TrainingRun(data_bin, "memobert_finetune", "--fold", "1", "--labels", "sad,happy")
    state = two.parameters()
    four = TrainingRun(data_bin, "memobert_finetune", "--fold", "1")
    with pytest.raises(
        SystemExit, match=r"heads\.classify\.out\.weight has shape \(2, 32\).*another number of emotions"
    ):
        four.model.load_state_dict(state, strict=True)
