#!/usr/bin/env bash
# Sets up .venv where needed and runs the main job on a small generated corpus: offline, on a CPU, less than ten minutes.
# Arguments go to examples/quickstart/run.py; --help lists them, without setting anything up.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

for argument in "$@"; do
    if [[ $argument == -h || $argument == --help ]]; then
        # Up to its help the script needs Python's own library alone.
        python=$(find_python) || exit 1
        PYTHONPATH=$ROOT exec "$python" -B "$ROOT/examples/quickstart/run.py" --help
    fi
done
[[ $(uname -s) == Linux && $(uname -m) == x86_64 ]] ||
    fail "the quickstart trains, which needs fairseq: Linux x86-64 with Python 3.11 or 3.12 (docs/install.md)"
set_up plot,video
exec "$VENV/bin/python" "$ROOT/examples/quickstart/run.py" "$@"
