#!/usr/bin/env bash
# Sets up .venv where needed, then runs the linter, the type checker and the tests.
#
#   bash scripts/test.sh                      what takes under ten minutes on two cores
#   bash scripts/test.sh --all                the slow tests too
#   bash scripts/test.sh tests/data -k mask   any further arguments go to pytest
#
# MEMOBERT_TEST_DATA names the folder of real corpora that some tests read; they are skipped without it.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

set_up test plot,video
cd "$ROOT"
# Several test processes share the cores: one thread each.
export OMP_NUM_THREADS=1
"$VENV/bin/ruff" check .
"$VENV/bin/ruff" format --check .
"$VENV/bin/mypy"
"$VENV/bin/lint-imports" --no-cache >/dev/null || "$VENV/bin/lint-imports" --no-cache
exec "$VENV/bin/python" -m pytest -n 2 "$@"
