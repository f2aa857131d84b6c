"""The SLURM that some tests submit jobs to (``scripts/slurm.sh`` starts one)."""

from __future__ import annotations

import contextlib
import shutil
import subprocess

import pytest


def require_slurm() -> None:
    """Skip, with the reason, where no SLURM answers."""
    if shutil.which("sinfo") is None:
        pytest.skip("no SLURM here: sinfo is not installed (scripts/slurm.sh installs and starts one)")
    with contextlib.suppress(subprocess.TimeoutExpired):
        if not subprocess.run(["sinfo"], capture_output=True, timeout=30, check=False).returncode:
            return
    pytest.skip("SLURM does not answer sinfo (scripts/slurm.sh starts it)")
