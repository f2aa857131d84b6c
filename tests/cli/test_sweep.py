"""``memobert-sweep``: from a plan to predictions, and what it says on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import memobert_plugin
from memobert_plugin.cli.report import main as report
from memobert_plugin.cli.sweep import main
from memobert_plugin.core.errors import UserError
from memobert_plugin.data.tokenizer import tokenizer_of
from memobert_plugin.sweep.records import RunFolder
from tests.data_bins import CorpusShape, make_data_bin
from tests.reference.bert_folder import write_roberta_folder
from tests.sweep.sweeps import OPTIMISER, plan_values, write_plan

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from memobert_plugin.cli.sweep import cli_main; cli_main()"]
PRETRAINING = "pretraining/full/seed1234-without-spk0"
PROMPT = "emotion/pretrain_prompt/full/fraction100/fold01/seed1"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=4, utterances=12))


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    pytest.importorskip("fairseq")
    memobert_plugin.register()


def sweep(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], cwd=REPOSITORY, capture_output=True, text=True, timeout=300)


def test_dry_run_prints_commands_and_graph_and_writes_nothing(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = write_plan(tmp_path, plan_values(corpus, slurm={"emotion": {"runs_per_job": 2}}))
    output = tmp_path / "runs"
    assert main([str(plan), "--output", str(output), "--dry-run", "--executor", "slurm"]) == 0
    printed = capsys.readouterr().out
    assert f"# {PROMPT}  after {PRETRAINING}" in printed
    assert printed.count("\nfairseq-train ") == 6 and printed.count("\nfairseq-validate ") == 4
    assert "# 2 emotion runs after pretraining" in printed and "# emotion: 2 jobs of up to 2 runs" in printed
    assert not output.exists()


def test_mistakes_end_in_one_line(tmp_path: Path, corpus: Path) -> None:
    plan = write_plan(tmp_path, plan_values(corpus))
    for arguments, message in (
        ([plan, "--jobs", "0"], "--jobs: give a number above 0"),
        ([plan, "--executor", "slurm"], "needs the section slurm"),
        ([tmp_path / "none.yaml"], "no such file"),
        (["status", tmp_path], "give the folder that memobert-sweep made"),
    ):
        with pytest.raises(UserError, match=message):
            main([str(argument) for argument in arguments])


def test_a_bert_that_does_not_fit_is_refused_before_any_run(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roberta = write_roberta_folder(tmp_path / "roberta")
    made_with_it = make_data_bin(tmp_path / "c", CorpusShape(speakers=4, utterances=6), tokenizer=tokenizer_of(roberta))
    model = {
        "arch": "memobert", "encoder_layers": 2, "encoder_embed_dim": 24, "encoder_ffn_embed_dim": 40,
        "encoder_attention_heads": 3, "max_positions": 64, "layer_norm_eps": 1e-5,
    }  # fmt: skip

    def dry_run(data_bin: Path, **changes: object) -> int:
        values = plan_values(data_bin, bert=str(roberta), model={**model, **changes})
        values |= {"settings": ["bert_prompt", "pretrain_prompt"]}
        values["pretraining"] |= {"data": f"{made_with_it}:{data_bin}"}
        return main([str(write_plan(tmp_path, values)), "--output", str(tmp_path / "runs"), "--dry-run"])

    assert dry_run(made_with_it) == 0
    assert "--layer-norm-eps 1e-05" in capsys.readouterr().out
    with pytest.raises(
        UserError, match=r"bin: was binarized with another vocabulary than that of .*roberta; give this"
    ):
        dry_run(corpus)
    for name, value in (("layer_norm_eps", 1e-12), ("encoder_attention_heads", 2), ("max_positions", 512)):
        with pytest.raises(UserError, match=f"model: {name} is {value}, that of .*roberta .*; give {name}: "):
            dry_run(made_with_it, **{name: value})


def test_help_is_quick_and_heavy_packages_stay_out() -> None:
    code = (
        "import sys; from memobert_plugin.cli.sweep import build_parser; build_parser(); print('torch' in sys.modules)"
    )
    output = subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True)
    assert output == "False\n"


@pytest.mark.slow
def test_a_sweep_with_a_run_that_fails(tmp_path: Path, corpus: Path) -> None:
    values = plan_values(corpus, modality_cases=["lva", "v"], settings=["direct", "pretrain_prompt", "early_fusion"])
    values["emotion"]["setting_flags"] = {"pretrain_prompt": {"max_pieces": 9999}}
    plan, output = write_plan(tmp_path, values), tmp_path / "runs"
    first = sweep(plan, "--output", output, "--jobs", 2)
    assert first.returncode == 1, first.stderr
    assert "6 done, 2 failed, 0 stopped, 0 not started" in first.stdout
    assert f"failed: {PROMPT}" in first.stdout and "tables have --max-positions" in first.stdout
    predictions = output / "emotion/direct/full/fraction100/fold01/seed1/predictions/test-v.jsonl"
    assert {json.loads(line)["speaker"] for line in predictions.read_text().splitlines()} == {"spk0"}
    again = sweep(plan, "--output", output)
    assert again.returncode == 1 and "6 done earlier" in again.stdout
    status = sweep("status", output)
    assert status.returncode == 0 and "tables have --max-positions" in status.stdout
    del values["emotion"]["setting_flags"]
    mended = sweep(write_plan(tmp_path, values), "--output", output)
    assert mended.returncode == 0 and "6 done earlier" in mended.stdout and "8 done, 0 failed" in mended.stdout
    values["emotion"]["flags"] = {**values["emotion"]["flags"], "lr": 0.5}
    changed = sweep(write_plan(tmp_path, values), "--output", output)
    assert changed.returncode == 2 and "was started with other values" in changed.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "kept"),
    [(signal.SIGTERM, {}), (signal.SIGKILL, {}), (signal.SIGTERM, {"no_save_optimizer_state": True})],
)
def test_an_ended_sweep_goes_on_as_if_undisturbed(
    tmp_path: Path, corpus: Path, number: signal.Signals, kept: dict[str, bool]
) -> None:
    flags = {**OPTIMISER, "max_update": 200, "lr_scheduler": "fixed", "log_interval": 5, "dropout": 0.1, **kept}
    pretraining = {"data": str(corpus), "speakers": "without_test_speaker", "flags": flags}
    plan = write_plan(tmp_path, plan_values(corpus, folds=[1], settings=["pretrain_prompt"], pretraining=pretraining))
    ended, whole = tmp_path / "ended", tmp_path / "whole"
    process = subprocess.Popen([*COMMAND, str(plan), "--output", str(ended)], cwd=REPOSITORY, stdout=subprocess.PIPE)
    folder = RunFolder(ended / PRETRAINING)
    deadline = time.monotonic() + 120
    while not (folder.log.exists() and '"num_updates": "20"' in folder.log.read_text(encoding="utf-8")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode == (128 + signal.SIGTERM if number == signal.SIGTERM else -signal.SIGKILL)
    with folder.owned():
        assert folder.read_state().status == "stopped"
    if number == signal.SIGTERM:
        assert "asked to stop: saving after" in folder.log.read_text(encoding="utf-8")
    for output in (ended, whole):
        finished = sweep(plan, "--output", output)
        assert finished.returncode == 0, finished.stdout + finished.stderr
    assert folder.read_state().attempts == 2
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        found, expected = (
            torch.load(output / PRETRAINING / "checkpoints" / name, weights_only=True) for output in (ended, whole)
        )
        assert found["optimizer_history"][-1]["num_updates"] == expected["optimizer_history"][-1]["num_updates"]
        differing = [key for key, value in expected["model"].items() if not torch.equal(value, found["model"][key])]
        assert differing == []
    predictions = [(output / PROMPT / "predictions" / "test-lva.jsonl").read_text() for output in (ended, whole)]
    assert predictions[0] == predictions[1]


@pytest.mark.slow
@pytest.mark.parametrize("target", [{"dimensions": ["valence", "arousal"]}, {"several_labels": True}])
def test_a_sweep_of_another_target_is_reported(tmp_path: Path, target: dict[str, object]) -> None:
    data_bin = make_data_bin(tmp_path, CorpusShape(speakers=3, utterances=14, dimensions=True, several=True))
    values = plan_values(data_bin, settings=["direct", "early_fusion"], folds="all")
    values["corpus"] |= target
    del values["pretraining"]
    values["emotion"]["flags"] = {**OPTIMISER, "max_epoch": 2, "lr_scheduler": "fixed", "lr": {"grid": [1e-3, 1e-2]}}
    finished = sweep(write_plan(tmp_path, values), "--output", tmp_path / "runs", "--jobs", 2)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert report(["--no-pictures", "--out", str(tmp_path / "report"), str(tmp_path / "runs")]) == 0
    markdown = (tmp_path / "report" / "table2_settings.md").read_text()
    titles = ("CCC valence", "RMSE arousal") if "dimensions" in target else ("macro F1", "mAP")
    assert all(title in markdown for title in (*titles, "Early fusion", "Floor: regression on all of these"))
    run = json.loads((tmp_path / "runs/emotion/direct/full/fraction100/fold01/seed1/run.json").read_text())
    assert run["selection"] == ("best valid ccc" if "dimensions" in target else "best valid map")
    for settings in (["direct_prompt"], ["mmin"]):
        with pytest.raises(UserError, match="learns one emotion only"):
            main([str(write_plan(tmp_path, {**values, "settings": settings})), "--dry-run"])
