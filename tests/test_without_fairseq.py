"""Everything but training works where fairseq is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IMPORTED_FIRST = """
import sys
import fairseq.tasks
import memobert_plugin
assert "memobert_prompt" in fairseq.tasks.TASK_REGISTRY
"""
PREDICTED = """
import sys
from memobert_plugin import MEmoBERT
assert MEmoBERT.from_pretrained(sys.argv[1]).predict(text="we love the fun").label
host = {"fairseq", "fairseq_cli", "hydra", "omegaconf"} & set(sys.modules)
assert not host, host
"""
LIGHT = """
import sys
import memobert_plugin
from memobert_plugin.cli import binarize, export, extract, import_, inspect, predict, report, sweep
heavy = {"torch", "fairseq", "numpy", "jinja2"} & set(sys.modules)
assert not heavy, heavy
"""


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    typed = [sys.executable, *arguments]
    return subprocess.run(typed, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_extraction_prediction_export_and_report_import_no_fairseq(tmp_path: Path) -> None:
    pytest.importorskip("av")
    finished = run("-m", "tests.without_fairseq", str(tmp_path / "made"), cwd=ROOT)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.endswith("work without fairseq\n")


def test_prediction_imports_no_fairseq_where_it_is_installed(tmp_path: Path) -> None:
    finished = run("-c", PREDICTED, str(ROOT / "tests" / "checkpoints" / "made_at_17cffec" / "bundle"), cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr


def test_importing_the_package_registers_it_where_fairseq_is_imported(tmp_path: Path) -> None:
    pytest.importorskip("fairseq")
    finished = run("-c", IMPORTED_FIRST, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr


def test_importing_the_package_and_its_commands_imports_no_heavy_package(tmp_path: Path) -> None:
    finished = run("-c", LIGHT, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
