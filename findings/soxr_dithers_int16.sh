#!/usr/bin/env bash
# soxr: 16-bit sound gets noise: digital silence is silent no more, and pieces differ from the whole.
#
# Versions: soxr 1.1.0, numpy 2.2.6.
# Guess: an int16 waveform is resampled as the same one in float32 and rounded; in pieces by ResampleStream it gives
#   the same samples as whole, as it does in float32.
# Seen: the library dithers integers. A third of the samples differ by one from the rounded float32 result, silence
#   comes out as -1, 0 and 1, and a stream's pieces differ from the whole by up to two. In float32 all of it is exact.
# Do: resample float32. Whoever looks for silence by zeros, or compares a stream with a file, otherwise finds noise.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check soxr==1.1.0 numpy==2.2.6

"$folder/venv/bin/python" - <<'PY'
import numpy as np
import soxr

RATES = 48_000, 16_000
sound = (np.random.default_rng(0).standard_normal(48_000) * 6_000).astype(np.int16)


def in_pieces(samples: np.ndarray) -> np.ndarray:
    stream = soxr.ResampleStream(*RATES, 1, dtype=samples.dtype.name)
    ends = range(4_800, len(samples) + 1, 4_800)
    return np.concatenate([stream.resample_chunk(samples[end - 4_800 : end], last=end == len(samples)) for end in ends])


whole, floats = soxr.resample(sound, *RATES), soxr.resample(sound / np.float32(32_768), *RATES)
share = float((whole != np.rint(floats * 32_768)).mean())
silence = np.unique(soxr.resample(np.zeros(48_000, np.int16), *RATES)).tolist()
apart = int(np.abs(whole.astype(int) - in_pieces(sound)).max())
exact = float(np.abs(floats - in_pieces(sound / np.float32(32_768))).max())
print(f"int16: {share:.0%} of the samples differ from float32's, silence becomes {silence}, pieces differ by up to {apart}")
print(f"float32: pieces differ by up to {exact}")
assert 0.2 < share < 0.5 and silence == [-1, 0, 1], "integers are rounded in another way now"
assert apart > 0 and exact == 0, "pieces have changed"
PY
