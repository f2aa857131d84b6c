"""A short run of scripts/reliability/serve_load.py: every clip is answered or refused, as memobert-predict answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "reliability" / "serve_load.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")
def test_many_clients_with_good_and_bad_clips_are_answered_or_refused() -> None:
    for needed in ("starlette", "uvicorn", "httpx", "ai_edge_litert", "silero_vad", "scipy"):
        pytest.importorskip(needed)
    command = [sys.executable, str(SCRIPT), "--clients", "24", "--count", "64"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "200: " in done.stdout and "422: " in done.stdout
