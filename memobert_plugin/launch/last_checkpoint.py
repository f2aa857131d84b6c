"""Forward ``python -m memobert_plugin.launch.last_checkpoint`` to ``checkpoints.last_checkpoint`` for a release."""

from __future__ import annotations

import sys

from ..checkpoints.last_checkpoint import main
from ..core.console import run_command

if __name__ == "__main__":
    sys.argv[0] = "python -m memobert_plugin.launch.last_checkpoint"
    run_command(main)
