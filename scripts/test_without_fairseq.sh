#!/usr/bin/env bash
# Tries extraction, prediction, export and reports in an environment without fairseq, hydra and omegaconf.
#
#   bash scripts/test_without_fairseq.sh
#
# VENV=folder names the environment (default: .venv-light beside setup.cfg). The first run creates it in a minute or
# two; later runs reuse it and take seconds.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
VENV=${VENV:-$(dirname "$here")/.venv-light}
source "$here/setup.sh"
cd "$ROOT"

make_environment
# The requirements of the core and of [video], but for fairseq.
requirements=$("$VENV/bin/python" - <<'PYTHON'
import configparser

options = configparser.ConfigParser()
options.read("setup.cfg")
listed = options["options"]["install_requires"] + options["options.extras_require"]["video"]
print("\n".join(line for line in listed.split("\n") if line and "fairseq" not in line and not line.startswith("#")))
PYTHON
)
stamp=$VENV/.installed-light
key=$(echo "$requirements" | cat - constraints.txt | cksum)
if [[ ! -f $stamp || $(<"$stamp") != "$key" ]]; then
    say "installing into $VENV (the first time: a minute or two)"
    pip_install --constraint constraints.txt --requirement <(echo "$requirements") ||
        fail "the installation failed (see above); run the script again to go on"
    echo "$key" >"$stamp"
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHONPATH=$ROOT OMP_NUM_THREADS=1 "$VENV/bin/python" -m tests.without_fairseq "$folder/made" >"$folder/log" 2>&1 || {
    cat "$folder/log"
    fail "extraction, prediction, export or reports need fairseq"
}
tail -n 1 "$folder/log"
