#!/usr/bin/env bash
# fairseq: --store-ema ends in an error on models with an integer buffer, as BatchNorm has.
#
# Versions: ve-fairseq 0.12.3, torch 2.13.0.
# Guess: the moving average takes parameters and the running mean and variance, and copies integers as they are.
# Seen: EMA.step multiplies every entry of the state dictionary by the decay: BatchNorm's num_batches_tracked raises
#   "result type Float can't be cast to the desired output type Long". Only keys that contain "version" are left out.
#   ema_fp32 does not help: it leaves integers as they are.
# Do: pass the names of such buffers in skip_keys where you build EMA yourself; for --store-ema, use norms that keep no
#   count (LayerNorm, GroupNorm, or BatchNorm with its num_batches_tracked set to None), or call your own buffers
#   "..._version".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 numpy==1.26.4 omegaconf==2.3.1 hydra-core==1.3.8 \
    bitarray==3.12.3 regex==2026.11.15 sacrebleu==2.6.0 scikit-learn==1.9.1 tqdm==4.70.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps ve-fairseq==0.12.3

"$folder/venv/bin/python" - 2>"$folder/log" <<'PY' || { cat "$folder/log"; exit 1; }
import torch
from fairseq.dataclass.configs import EMAConfig
from fairseq.models.ema import EMA


class Counting(torch.nn.Linear):
    """A layer with an integer buffer of a given name."""

    def __init__(self, name):
        super().__init__(4, 4)
        self.register_buffer(name, torch.zeros((), dtype=torch.long))


def step(model, in_float=False, **options):
    """Average once; return the error, or "averaged"."""
    average = EMA(model, EMAConfig(store_ema=True, ema_decay=0.9, ema_fp32=in_float), **options)
    try:
        average.step(model, updates=1)
    except RuntimeError as error:
        return str(error)
    return "averaged"


norm = torch.nn.BatchNorm1d(4)
uncounted = torch.nn.BatchNorm1d(4)
uncounted.num_batches_tracked = None
seen = {
    "LayerNorm": step(torch.nn.LayerNorm(4)),
    "BatchNorm": step(norm),
    "BatchNorm, ema_fp32": step(norm, in_float=True),
    "buffer steps": step(Counting("steps")),
    "buffer steps_version": step(Counting("steps_version")),
    "BatchNorm, skip_keys": step(norm, skip_keys={"num_batches_tracked"}),
    "BatchNorm without its count": step(uncounted),
}
for case, end in seen.items():
    print(f"{case}: {end}")
error = "result type Float can't be cast to the desired output type Long"
for case in ("BatchNorm", "BatchNorm, ema_fp32", "buffer steps"):
    assert seen.pop(case) == error, f"{case} now ends otherwise"
assert set(seen.values()) == {"averaged"}
PY
