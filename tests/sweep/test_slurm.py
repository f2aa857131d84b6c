"""Runs are grouped into jobs, and jobs run a copy of the code; without a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from memobert_plugin.sweep import slurm
from memobert_plugin.sweep.slurm import job_groups, take_snapshot
from tests.sweep.sweeps import script_run


def test_many_short_runs_share_a_job(tmp_path: Path) -> None:
    runs = [script_run(tmp_path, f"import/{number}", "") for number in range(5)]
    assert [[run.name for run in group] for group in job_groups(runs, 2)] == [
        ["import/0", "import/1"], ["import/2", "import/3"], ["import/4"]
    ]  # fmt: skip


def test_edits_do_not_reach_queued_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "source" / "memobert_plugin"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text("VALUE = 'then'\n", encoding="utf-8")
    (package / "__pycache__" / "x.pyc").touch()
    monkeypatch.setattr(slurm, "PACKAGE", package)
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
