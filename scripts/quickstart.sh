#!/usr/bin/env bash
# Sets up .venv where needed and runs the main job on a small generated corpus: offline, on a CPU, less than ten minutes.
# Arguments go to examples/quickstart/run.py (--help lists them).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

set_up plot,video
exec "$VENV/bin/python" "$ROOT/examples/quickstart/run.py" "$@"
