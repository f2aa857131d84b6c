"""Sweeps on a real SLURM: a whole one, jobs that are warned or requeued, a launcher that is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import memobert_plugin
from memobert_plugin.sweep.records import RunFolder
from tests.data_bins import CorpusShape, make_data_bin
from tests.slurm import require_slurm
from tests.sweep.sweeps import OPTIMISER, plan_values, write_plan

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]
PRETRAINING = "pretraining/full/seed1234-without-spk0"
UPDATES = 300


@pytest.fixture(scope="module", autouse=True)
def slurm() -> None:
    require_slurm()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    memobert_plugin.register()
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=4, utterances=16))


class Launcher:
    """``memobert-sweep`` as a process of its own."""

    def __init__(self, plan: Path, output: Path) -> None:
        self.output = output
        code = "from memobert_plugin.cli.sweep import cli_main; cli_main()"
        arguments = [str(plan), "--output", str(output), "--executor", "slurm", "--poll-seconds", "0.5"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )

    def end(self) -> str:
        """Wait for it; what it printed."""
        printed, _ = self.process.communicate(timeout=500)
        assert self.process.returncode == 0, printed
        return printed

    def run(self, name: str) -> RunFolder:
        return RunFolder(self.output / name)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Launcher]]:
    launchers: list[Launcher] = []

    def start(plan: Path, name: str) -> Launcher:
        launchers.append(Launcher(plan, tmp_path / name))
        return launchers[-1]

    yield start
    for launcher in launchers:
        if launcher.process.poll() is None:
            launcher.process.kill()
            launcher.process.wait()
        for path in launcher.output.rglob("job.txt"):
            subprocess.run(["scancel", path.read_text().strip()], check=False)


def wait_until(condition: Callable[[], bool], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def training_plan(tmp_path: Path, corpus: Path, ranks: int = 1) -> Path:
    flags = {**OPTIMISER, "max_update": UPDATES, "lr_scheduler": "fixed", "log_interval": 5}
    pretraining = {"data": str(corpus), "speakers": "without_test_speaker", "flags": flags}
    slurm = {"minutes": 10, "pretraining": {"tasks_per_node": ranks}}
    values = plan_values(corpus, folds=[1], settings=["pretrain_prompt"], pretraining=pretraining, slurm=slurm)
    return write_plan(tmp_path, values, f"ranks{ranks}.yaml")


def is_training(folder: RunFolder) -> bool:
    return folder.log.exists() and '"num_updates": "20"' in folder.log.read_text(encoding="utf-8")


def parameters(folder: RunFolder) -> dict[str, Any]:
    content = torch.load(folder.checkpoints / "checkpoint_last.pt", weights_only=True)
    assert content["optimizer_history"][-1]["num_updates"] == UPDATES
    return content["model"]


def assert_same_parameters(one: RunFolder, other: RunFolder) -> None:
    expected, found = parameters(one), parameters(other)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_a_whole_sweep(tmp_path: Path, corpus: Path, launch: Callable[..., Launcher]) -> None:
    slurm = {"minutes": 10, "emotion": {"runs_per_job": 3}}
    plan = write_plan(tmp_path, plan_values(corpus, slurm=slurm, modality_cases=["lva", "a"]))
    launcher = launch(plan, "sweep")
    printed = launcher.end()
    assert "6 done, 0 failed, 0 stopped, 0 not started" in printed
    assert "submitted 2 pretraining runs in 2 jobs" in printed and "submitted 2 emotion runs in 1 jobs" in printed
    for path in launcher.output.rglob("run.json"):
        folder = RunFolder(path.parent)
        assert folder.read_state().job is not None
        description = json.loads(path.read_text())
        assert all((path.parent / name).is_file() for name in description.get("predictions", {}).values())
        user_dir = description["commands"][0][description["commands"][0].index("--user-dir") + 1]
        assert Path(user_dir).is_relative_to(launcher.output / "code")


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("command", [["scancel", "--signal=USR2", "--batch"], ["scontrol", "requeue"]])
def test_a_warned_or_requeued_job_saves_and_ends_as_if_undisturbed(
    tmp_path: Path, corpus: Path, launch: Callable[..., Launcher], command: list[str], ranks: int
) -> None:
    plan = training_plan(tmp_path, corpus, ranks)
    disturbed = launch(plan, "disturbed")
    folder = disturbed.run(PRETRAINING)
    wait_until(lambda: is_training(folder))
    job = folder.submitted_job()
    assert job is not None
    subprocess.run([*command, job], check=True)
    wait_until(lambda: folder.read_state().status == "stopped")
    log = folder.log.read_text(encoding="utf-8")
    assert "asked to stop: saving after" in log
    undisturbed = launch(plan, "undisturbed")
    undisturbed.end()
    # A requeued job is held back for two minutes.
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=False)
    disturbed.end()
    state = folder.read_state()
    assert (state.status, state.attempts, state.job) == ("done", 2, job)
    assert "Loaded checkpoint" in folder.log.read_text(encoding="utf-8")[len(log) :]
    assert_same_parameters(undisturbed.run(PRETRAINING), folder)


def test_a_killed_launcher_is_replaced_by_the_next_and_nothing_is_submitted_twice(
    tmp_path: Path, corpus: Path, launch: Callable[..., Launcher]
) -> None:
    plan = training_plan(tmp_path, corpus)
    first = launch(plan, "sweep")
    folder = first.run(PRETRAINING)
    wait_until(lambda: is_training(folder))
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    printed = launch(plan, "sweep").end()
    assert "submitted 1 pretraining" not in printed and "2 done, 0 failed" in printed
    assert folder.read_state().attempts == 1
    assert len(list((first.output / "slurm").glob("*_submission.sh"))) == 2


def test_a_failing_run_does_not_take_the_others_of_its_job_along(
    tmp_path: Path, corpus: Path, launch: Callable[..., Launcher]
) -> None:
    setting_flags = {"direct": {"max_tokens": 1}}
    values = plan_values(corpus, slurm={"emotion": {"runs_per_job": 2}}, settings=["direct", "mult"], folds=[1])
    values["emotion"]["setting_flags"] = setting_flags
    launcher = launch(write_plan(tmp_path, values), "sweep")
    printed, _ = launcher.process.communicate(timeout=300)
    assert launcher.process.returncode == 1
    assert "1 done, 1 failed" in printed and "failed: emotion/direct/full/fraction100/fold01/seed1" in printed
    assert "The dataset is empty" in printed
