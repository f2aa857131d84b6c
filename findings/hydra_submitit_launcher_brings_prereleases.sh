#!/usr/bin/env bash
# hydra-submitit-launcher, pip: the SLURM launcher of Hydra brings a release candidate of Hydra, which fairseq cannot import.
#
# Versions: hydra-submitit-launcher 1.2.0, pip 24 and later, hydra-core 1.4.0rc3 (the newest), ve-fairseq 0.12.3.
# Guess: pip takes the newest final Hydra, 1.3.8, since nobody asked for pre-releases.
# Seen: the launcher requires hydra-core >=1.1.0.dev7. A pre-release in a requirement lets pip take pre-releases of that
#   package, so it installs 1.4.0rc3 and a candidate of OmegaConf. Hydra 1.4 has no hydra.experimental.compose, which
#   fairseq imports first of all: after installing the launcher, `import fairseq` ends in an ImportError.
# Do: require hydra-core <1.4 beside fairseq; that leaves out its candidates too.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/pip" install --quiet --disable-pip-version-check)
"${pip[@]}" hydra-submitit-launcher==1.2.0
"$folder/venv/bin/python" - <<'PY'
from importlib.metadata import requires, version

import hydra.experimental

print("the launcher requires", requires("hydra-submitit-launcher")[0], "and got hydra-core", version("hydra-core"))
assert "rc" in version("hydra-core") or "dev" in version("hydra-core"), "pip takes a final Hydra now"
assert not hasattr(hydra.experimental, "compose"), "this Hydra has hydra.experimental.compose"
PY
"${pip[@]}" hydra-submitit-launcher==1.2.0 "hydra-core<1.4"
"$folder/venv/bin/python" - <<'PY'
from importlib.metadata import version

from hydra.experimental import compose

print("with hydra-core<1.4:", version("hydra-core"), compose.__name__)
PY
