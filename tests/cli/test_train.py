"""``memobert-train``: the preset's command, what a given flag replaces, and a fold from a CSV of clips."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fairseq")

from memobert_plugin.cli.train import main
from memobert_plugin.core.errors import UserError
from tests.data_bins import CorpusShape, make_data_bin, write_vocabulary
from tests.host import ROOT, run_commands

COMMAND = [sys.executable, "-c", "from memobert_plugin.cli.train import cli_main; cli_main()"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=3, utterances=10))


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[list[str]]:
    """The commands of ``--dry-run``."""
    assert main([*map(str, arguments), "--dry-run"]) == 0
    return [shlex.split(line) for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]


def value(command: list[str], flag: str) -> str:
    assert command.count(flag) == 1, flag
    return command[command.index(flag) + 1]


def test_a_setting_needs_no_flag(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [command] = printed(capsys, "direct", corpus)
    assert command[:2] == ["fairseq-train", str(corpus)] and value(command, "--task") == "memobert_finetune"
    assert value(command, "--fold") == "1" and value(command, "--save-dir") == "checkpoints/direct/fold1"
    assert value(command, "--best-checkpoint-metric") == "uar" and "--maximize-best-checkpoint-metric" in command


def test_given_flags_replace_the_presets(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        "--cpu",
        "--lr=0.1",
        "--fold",
        "2",
        "--max-tokens",
        "900",
        "--lr-scheduler",
        "fixed",
        "-a",
        "memobert_small",
    ]
    [command] = printed(capsys, "early-fusion", corpus, *given[:-2])
    assert "--lr=0.1" in command and "--lr" not in command and "--batch-size" not in command
    assert "--total-num-update" not in command and "--warmup-updates" not in command
    assert command.count("--cpu") == 1 and "--fp16" not in command and value(command, "--fold") == "2"
    [command] = printed(capsys, "direct", corpus, *given)
    assert value(command, "--arch") == "memobert_small" and "--init-std" not in command


def test_folds_of_groups_begin_with_the_first(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [command] = printed(capsys, "direct", corpus, "--folds", "groups:3")
    assert (value(command, "--folds"), value(command, "--fold")) == ("groups:3", "1")


def test_epochs_and_updates_that_are_both_given_both_count(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [command] = printed(capsys, "pretrain", corpus, "--cpu", "--max-epoch", "5", "--max-update", "60")
    assert (value(command, "--max-update"), value(command, "--max-epoch")) == ("60", "5")
    [command] = printed(capsys, "pretrain", corpus, "--cpu", "--max-epoch", "5")
    assert "--max-update" not in command


def test_fewer_updates_shorten_the_schedule(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [command] = printed(capsys, "pretrain", corpus, "--cpu", "--max-update", "60")
    assert value(command, "--max-update") == value(command, "--total-num-update") == "60"
    assert value(command, "--warmup-updates") == "5" and value(command, "--save-interval-updates") == "20"


def test_two_stages_are_two_commands(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher, student = printed(capsys, "mmin", corpus)
    assert value(teacher, "--mmin-stage") == "teacher" and value(teacher, "--best-checkpoint-metric") == "uar"
    assert value(student, "--finetune-from-model") == f"{value(teacher, '--save-dir')}/checkpoint_best.pt"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "unknown setting 'nothing': choose from pretrain, finetune, prompt, direct"),
        (["prompt"], "prompt needs --finetune-from-model CHECKPOINT, as memobert-train pretrain writes it"),
        (["bert_finetune"], "as memobert-import bert writes it"),
        (
            ["pretrain", "--fold", "2"],
            "pretrain takes no --fold; leave the tested speakers out with --exclude-speakers",
        ),
        (["direct", "--protocol", "loose"], "--protocol loose: choose from strict, all_but_one, reference"),
        (["direct", "--fold", "99"], "fold 99 does not exist; the folds are numbered by what they test: 1 "),
        (["direct", "--folds", "groups:3", "--fold", "4"], "fold 4 does not exist"),
        (["ssmm"], "ssmm needs --unlabelled DATA-BIN"),
        (["finetune", "--finetune-from-model", "missing.pt"], "missing.pt: cannot be opened"),
    ],
)
def test_mistakes_are_named_before_anything_starts(corpus: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main([arguments[0], str(corpus), *arguments[1:]])


def test_a_corpus_without_emotions_cannot_be_classified(tmp_path: Path) -> None:
    data_bin = make_data_bin(tmp_path, CorpusShape(speakers=3, utterances=4))
    np.save(data_bin / "emotion.npy", np.full(12, -1, dtype=np.int16))
    with pytest.raises(UserError, match="no utterance has an emotion"):
        main(["direct", str(data_bin)])


def run(folder: Path, *command: str) -> str:
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr + finished.stdout
    return finished.stdout + finished.stderr


@pytest.mark.slow
def test_from_a_csv_of_clips_to_a_tested_fold(tmp_path: Path) -> None:
    """No other flag than names of files."""
    rng, rows = np.random.default_rng(0), []
    for speaker in range(3):
        for number in range(8):
            emotion = ("anger", "sad")[number % 2]
            samples = (
                np.sin(np.arange(16000) * (0.05 + 0.3 * (emotion == "anger"))) * 8000 + rng.normal(size=16000) * 50
            )
            name = f"{speaker}_{number}.wav"
            with wave.open(str(tmp_path / name), "wb") as sound:
                sound.setparams((1, 2, 16000, 0, "NONE", ""))
                sound.writeframes(samples.astype("<i2").tobytes())
            rows.append([f"{speaker}_{number}", f"s{speaker}", "we go home", emotion, name])
    with open(tmp_path / "clips.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([["id", "speaker", "text", "emotion", "audio"], *rows])
    write_vocabulary(tmp_path)
    module = [sys.executable, "-c", "import sys; from memobert_plugin.cli import extract, binarize; "]
    for name, flags in (
        ("extract", ["acoustic", "--manifest", "clips.csv", "--output", "voices"]),
        ("binarize", ["--manifest", "clips.csv", "--acoustic", "voices", "--vocab", "vocab.txt", "--output", "bin"]),
    ):
        run(tmp_path, module[0], "-c", f"{module[2]}{name}.cli_main()", *flags)
    log = run(tmp_path, *COMMAND, "direct", "bin", "--cpu")
    assert log.startswith("fairseq-train bin --user-dir ")
    test = next(line for line in log.splitlines() if line.startswith("# fairseq-validate"))
    run(tmp_path, str(Path(sys.executable).parent / "fairseq-validate"), *shlex.split(test)[2:])
    lines = [json.loads(line) for line in (tmp_path / "checkpoints/direct/fold1/test.jsonl").read_text().splitlines()]
    assert {line["speaker"] for line in lines} == {"s0"} and len(lines) == 8
    assert sum(line["label"] == line["prediction"] for line in lines) >= 7


def test_the_page_of_flags_is_current(tmp_path: Path) -> None:
    command = ["python", str(ROOT / "scripts" / "list_flags.py"), "--check"]
    [finished] = run_commands(tmp_path, {"list": command}).values()
    assert finished.status == 0, finished.log


def test_help_of_fairseq_has_our_flags() -> None:
    script = str(Path(sys.executable).parent / "fairseq-train")
    plugin = str(ROOT / "memobert_plugin")
    finished = subprocess.run(
        [script, "--user-dir", plugin, "--task", "memobert_prompt", "--help"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 0 and "--max-epoch" in finished.stdout
    assert "--task memobert_prompt:" in finished.stdout and "--template TEXT" in finished.stdout
    assert "(default: i am [MASK] .)" in finished.stdout


def test_other_targets_are_selected_by_their_own_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = CorpusShape(speakers=3, utterances=14, dimensions=True, several=True)
    data_bin = make_data_bin(tmp_path, shape)
    [command] = printed(capsys, "direct", data_bin, "--dimensions", "valence,arousal")
    assert value(command, "--best-checkpoint-metric") == "ccc" and value(command, "--dimensions") == "valence,arousal"
    [command] = printed(capsys, "early_fusion", data_bin, "--several-labels", "--labels", "happy,sad")
    assert value(command, "--best-checkpoint-metric") == "map" and "--several-labels" in command
    assert value(command, "--labels") == "happy,sad"
    for arguments, message in (
        (("direct_prompt", data_bin, "--dimensions", "valence"), "--dimensions needs a classifier"),
        (("mmin", data_bin, "--several-labels"), "--several-labels needs a classifier"),
        (("direct", data_bin, "--dimensions", "power"), "has valence, arousal, dominance"),
        (("pretrain", data_bin, "--dimensions", "valence"), "pretrain takes no --dimensions"),
    ):
        with pytest.raises(UserError, match=message):
            printed(capsys, *arguments)
