#!/usr/bin/env bash
# openWakeWord's melspectrogram.onnx: a clip's mel spectrogram depends on the other clips of its batch.
#
# Versions: openwakeword 0.5.1, onnxruntime 1.24.1.
# Guess: rows of a batch are independent, since the input is called (batch_size, samples).
# Seen: the floor, 80 dB below the maximum, is taken from the loudest value of the whole batch. Beside a loud clip a
#   quiet clip's values are raised by up to 70 dB.
# Do: run clips one by one, or take the maximum per clip.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 onnxruntime==1.24.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps openwakeword==0.5.1

"$folder/venv/bin/python" - <<'PY'
import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime

package = Path(importlib.util.find_spec("openwakeword").origin).parent
session = onnxruntime.InferenceSession(str(package / "resources" / "models" / "melspectrogram.onnx"))
rng = np.random.default_rng(0)
quiet = np.round(3 * rng.normal(size=16_000)).astype(np.float32)
quiet[4_000:8_000] = 0
loud = np.round(9_000 * rng.normal(size=16_000)).astype(np.float32)
alone = session.run(None, {"input": quiet[None]})[0].squeeze()
together = session.run(None, {"input": np.stack([quiet, loud])})[0].squeeze()[0]
raised = float(np.abs(together - alone).max())
print(f"lowest value alone {alone.min():.1f} dB, beside a loud clip {together.min():.1f} dB; largest change {raised:.1f} dB")
assert raised > 60, "the clips of a batch no longer change each other"
PY
