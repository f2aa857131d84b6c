#!/usr/bin/env bash
# Runs the tests that need no fairseq in an environment that pip would make on a platform without it: no fairseq, hydra
# and omegaconf, and numpy 2.
#
#   bash scripts/test_without_fairseq.sh                      the fast tests
#   bash scripts/test_without_fairseq.sh tests/data -k mask   any arguments go to pytest
#
# VENV=folder names the environment (default: .venv-light beside setup.cfg). The first run creates it in some minutes;
# later runs reuse it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
VENV=${VENV:-$(dirname "$here")/.venv-light}
source "$here/setup.sh"
cd "$ROOT"

make_environment
# What setup.cfg requires, and constraints.txt pins, on another system than Linux.
elsewhere() {
    "$VENV/bin/python" - "$1" <<'PYTHON'
import configparser
import sys
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

if sys.argv[1].endswith(".cfg"):
    options = configparser.ConfigParser()
    options.read(sys.argv[1], encoding="utf-8")
    extras = options["options.extras_require"]
    wanted = ("plot", "video", "words", "serve", "transformers", "test")
    text = "\n".join([options["options"]["install_requires"], *(extras[name] for name in wanted)])
else:
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
for line in text.splitlines():
    if line and not line.startswith(("#", "memobert-plugin[")):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"platform_system": "Darwin"}):
            print(f"{requirement.name}{requirement.specifier}")
PYTHON
}
stamp=$VENV/.installed-light
key=$(installation_key)
if [[ ! -f $stamp || $(<"$stamp") != "$key" ]]; then
    say "installing into $VENV (the first time: some minutes); pip names what only training needs as missing"
    pip_install --constraint <(elsewhere constraints.txt) --requirement <(elsewhere setup.cfg) &&
        pip_install --no-deps --editable . ||
        fail "the installation failed (see above); run the script again to go on"
    echo "$key" >"$stamp"
fi
"$VENV/bin/python" - <<'PYTHON'
import importlib.util

import numpy

found = [name for name in ("fairseq", "hydra", "omegaconf") if importlib.util.find_spec(name)]
assert not found and numpy.__version__.startswith("2."), (found, numpy.__version__)
PYTHON
export OMP_NUM_THREADS=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$VENV/bin/python" -m tests.without_fairseq "$folder/made" >"$folder/log" 2>&1 || {
    cat "$folder/log"
    fail "extraction, prediction, export or reports need fairseq"
}
tail -n 1 "$folder/log"
"$VENV/bin/python" -m pytest -n 2 "$@"
