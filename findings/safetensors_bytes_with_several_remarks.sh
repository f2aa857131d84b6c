#!/usr/bin/env bash
# safetensors: the same weights with the same metadata have other bytes each time, as soon as there are two entries.
#
# Versions: safetensors 0.8.0, numpy 2.2.6.
# Guess: a file depends on its tensors and metadata alone, so two trainings that end with equal weights give files of
#   one sha256.
# Seen: with one entry of metadata they do. With several, their order in the header changes from process to process,
#   whatever the order of the dictionary: eight runs gave several checksums for one content.
# Do: put all remarks into one entry (such as JSON with sorted keys), or compare tensors and not files.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.2.6

sums() {
    for _ in 1 2 3 4 5 6 7 8; do
        "$folder/venv/bin/python" - "$1" <<'PY'
import hashlib
import json
import sys

import numpy as np
from safetensors.numpy import save

content = save({"weight": np.arange(3.0)}, metadata=json.loads(sys.argv[1]))
print(hashlib.sha256(content).hexdigest())
PY
    done | sort -u | wc -l
}

one=$(sums '{"license": "MIT"}')
several=$(sums '{"license": "MIT", "data": "FER+", "updates": "3000", "seed": "1"}')
echo "checksums of eight files: $one with one entry of metadata, $several with four"
[[ $one == 1 ]] || { echo "one entry gives several files now" >&2 && exit 1; }
((several > 1)) || { echo "several entries have one order now" >&2 && exit 1; }
