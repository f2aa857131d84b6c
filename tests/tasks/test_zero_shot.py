"""``fairseq-validate`` prompts a checkpoint that has seen no label, and refuses tasks that a checkpoint cannot do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data_bins import CorpusShape, make_data_bin
from tests.host import USER_DIR, Finished, run_commands, training_flags

LABELS = ("anger", "sad")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Finished]]:
    folder = tmp_path_factory.mktemp("zero_shot")
    data_bin = make_data_bin(folder / "corpus", CorpusShape(speakers=4, utterances=12))
    pretrained, finetuned = folder / "pretrained", folder / "finetuned"
    train = {
        name: ["fairseq-train", *training_flags(data_bin, task, "--max-update", "4", "--save-dir", str(target), *more)]
        for name, task, target, more in (
            ("pretrain", "memobert_pretraining", pretrained, ()),
            ("finetune", "memobert_finetune", finetuned, ("--fold", "1")),
        )
    }

    def validate(checkpoint: Path, task: str, *flags: str) -> list[str]:
        common = ["--user-dir", str(USER_DIR), "--cpu", "--num-workers", "0", "--batch-size", "16"]
        path = ["--path", str(checkpoint / "checkpoint_last.pt"), "--valid-subset", "test"]
        return ["fairseq-validate", str(data_bin), *common, *path, "--task", task, *flags]

    prompt = ("--fold", "2", "--labels", ",".join(LABELS), "--template", "it was [MASK] .")
    words = ("--verbalizer", "anger=stop,hate sad=lost", "--predictions", str(folder / "predictions.jsonl"))
    tests = {
        "prompted": validate(pretrained, "memobert_prompt", *prompt, *words),
        "bad_fold": validate(pretrained, "memobert_prompt", "--fold", "9"),
        "no_classifier": validate(pretrained, "memobert_finetune", "--fold", "2"),
        "other_task": validate(finetuned, "memobert_prompt", "--fold", "1"),
        "other_labels": validate(finetuned, "memobert_finetune", "--labels", "sad,anger"),
    }
    return folder, run_commands(folder, train, tests)


def test_a_pretrained_checkpoint_is_prompted_on_the_fold_that_is_asked_for(
    finished: tuple[Path, dict[str, Finished]],
) -> None:
    folder, commands = finished
    assert commands["prompted"].status == 0, commands["prompted"].log
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert {line["speaker"] for line in lines} == {"spk1"} and {line["fold"] for line in lines} == {2}
    assert {line["label"] for line in lines} == set(LABELS) == set(lines[0]["probabilities"])
    assert "| test | " in commands["prompted"].log


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bad_fold", "fold 9 does not exist"),
        ("no_classifier", "the checkpoint is pre-trained and has no emotion classifier; give --task memobert_prompt"),
        ("other_task", "--task memobert_prompt: the checkpoint's task is memobert_finetune; give this one"),
        ("other_labels", "--labels sad,anger: the checkpoint tells anger, happy, neutral, sad apart"),
    ],
)
def test_flags_that_were_passed_over_before_are_refused(
    finished: tuple[Path, dict[str, Finished]], name: str, message: str
) -> None:
    command = finished[1][name]
    assert command.status == 1 and command.log.splitlines()[-1].startswith("memobert: error: ")
    assert message in command.log.splitlines()[-1]
