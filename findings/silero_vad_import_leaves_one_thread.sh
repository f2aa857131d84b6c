#!/usr/bin/env bash
# silero-vad: importing it leaves torch one thread for all that the process computes afterwards.
#
# Versions: silero-vad 6.2.3, torch 2.13.0.
# Guess: the import changes nothing; its own network runs on one thread, as its documentation advises.
# Seen: torch.get_num_threads() is what was set before the import, and 1 after it. Encoders of faces or speech, and a
#   training, that run in the same process use one core from then on. Nothing is printed.
# Do: read the number before the import and set it again.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.2.6 packaging
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps silero-vad==6.2.3

"$folder/venv/bin/python" - <<'PY'
import torch

torch.set_num_threads(2)
before = torch.get_num_threads()
import silero_vad  # noqa: E402

after = torch.get_num_threads()
print(f"threads of torch: {before} before 'import silero_vad', {after} after it ({silero_vad.__name__})")
assert (before, after) == (2, 1), "the import leaves the number of threads alone now"
PY
