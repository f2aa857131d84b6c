"""Every case of scripts/reliability/wrong_answers.py comes out right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("av")

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "reliability" / "wrong_answers.py"


@pytest.mark.slow
def test_every_case_is_right() -> None:
    ended = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, timeout=3600, check=False)
    wrong = [line for line in ended.stdout.splitlines() if line.startswith("| ") and "| right |" not in line]
    assert ended.returncode == 0, "\n".join([*wrong[1:], ended.stderr[-4000:]])
    assert " cases are right" in ended.stdout
