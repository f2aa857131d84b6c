"""How runs are grouped into jobs, what the queue is asked, and which code a job sees; without a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from memobert_plugin.sweep import snapshot
from memobert_plugin.sweep.slurm import FORWARD_STOP, job_groups, queued_jobs
from memobert_plugin.sweep.snapshot import take_snapshot
from tests.sweep.sweeps import script_run


def fake_command(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def test_many_short_runs_share_a_job(tmp_path: Path) -> None:
    runs = [script_run(tmp_path, f"import/{number}", "") for number in range(5)]
    assert [[run.name for run in group] for group in job_groups(runs, 2)] == [
        ["import/0", "import/1"], ["import/2", "import/3"], ["import/4"]
    ]  # fmt: skip


def test_the_queue_lists_elements_of_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    fake_command(tmp_path, "squeue", '[[ "$*" == *--array* && "$*" == *--me* ]] && printf "7\\n8_0\\n8_1\\n"')
    assert queued_jobs() == {"7", "8_0", "8_1"}
    fake_command(tmp_path, "squeue", "echo unable to contact slurm controller >&2; exit 1")
    assert queued_jobs() is None
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert queued_jobs() is None


def test_a_signal_to_the_batch_script_reaches_its_tasks(tmp_path: Path) -> None:
    task = "trap 'echo told; exit 5' USR2; echo ready; for i in $(seq 300); do sleep 0.1; done"
    fake_command(tmp_path, "srun", task)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        ["bash", "-c", f"{FORWARD_STOP}\nsrun --some python -m job\necho status $?"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(12)
    output, _ = process.communicate(timeout=30)
    assert output.split("\n")[:2] == ["told", "status 5"]


def test_edits_do_not_reach_queued_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "source" / "memobert_plugin"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text("VALUE = 'then'\n", encoding="utf-8")
    (package / "__pycache__" / "x.pyc").touch()
    monkeypatch.setattr(snapshot, "PACKAGE", package)
    code = take_snapshot(tmp_path / "code")
    assert take_snapshot(tmp_path / "code") == code
    (package / "__init__.py").write_text("VALUE = 'now'\n", encoding="utf-8")
    assert take_snapshot(tmp_path / "code") != code
    assert not list((tmp_path / "code").rglob("*.pyc"))
    command = [sys.executable, "-c", "import memobert_plugin; print(memobert_plugin.VALUE)"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    output = subprocess.check_output(command, env={**os.environ, "PYTHONPATH": str(code)}, cwd=elsewhere, text=True)
    assert output == "then\n"
