#!/usr/bin/env bash
# torch on AMD processors of the family Zen 5: float32 products take twice the time that another part of torch needs.
#
# Versions: torch 2.13.0 (MKL 2024.2, oneDNN 3.12 inside), AMD EPYC, family 26, model 2, AVX-512.
# Guess: torch, whose report says "CPU capability usage: AVX512", multiplies float32 matrices at the processor's rate.
# Seen: its products come from MKL, which uses 256 bits of an AMD processor's 512: 100 GFLOP/s on one thread, for inputs
#   of a transformer as for large squares. oneDNN, which the same torch keeps for half precision and for compiled
#   inference, reaches 200 on the same numbers, equal to 1e-6 of their size.
# Do: on such a machine give layers of inference to oneDNN (torch.compile with frozen weights does), or count with half.
# On other processors there is nothing to see, and the script says so.
set -euo pipefail

if ! grep -q AuthenticAMD /proc/cpuinfo || (($(sed -n 's/^cpu family\s*: //p' /proc/cpuinfo | head -n 1) < 26)); then
    echo "no AMD processor from Zen 5 on: nothing was compared"
    exit
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.2.6

"$folder/venv/bin/python" - <<'PY'
import statistics
import time

import torch
from torch.nn import functional

torch.set_num_threads(1)
torch.manual_seed(0)
rows, weight = torch.randn(1_024, 768), torch.randn(3_072, 768)


def by_torch() -> torch.Tensor:
    return functional.linear(rows, weight)


def by_onednn() -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")


def seconds(product) -> float:
    began = time.process_time()
    product()
    return time.process_time() - began


assert torch.allclose(by_torch(), by_onednn(), rtol=1e-4, atol=1e-3), "the two no longer agree"
rounds = [(seconds(by_torch), seconds(by_onednn)) for _ in range(20)]
operations = 2 * rows.numel() * len(weight) / 1e9
one, other = (operations / statistics.median(times) for times in zip(*rounds))
print(f"{one:.0f} GFLOP/s by torch.nn.functional.linear, {other:.0f} by oneDNN in the same torch")
assert other > 1.4 * one, "torch multiplies as fast as oneDNN now"
PY
