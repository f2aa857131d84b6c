"""Forward ``python -m memobert_plugin.features.denseface_weights`` to :mod:`.denseface.weights` for one release."""

from __future__ import annotations

import sys

from ..core.console import run_command
from .denseface.weights import main

if __name__ == "__main__":
    sys.argv[0] = "python -m memobert_plugin.features.denseface_weights"
    run_command(main)
