#!/usr/bin/env bash
# openSMILE: samples at or above full scale turn into their opposite, so a sound normalised to a peak of 1 gets clicks.
#
# Versions: opensmile 2.6.0, numpy 2.2.6.
# Guess: samples of a float waveform that reach or exceed 1, as after normalising or resampling, are clipped; features of
#   a sound with a peak of 1.02 are those of the same sound clipped to 1.
# Seen: Smile.process_signal multiplies by 32768 and casts to int16 without clipping: 1.0 becomes -32768. With 24 samples
#   of 32 000 at or above 1, spectral flux is over a third higher than of the clipped sound, HNR half a dB lower; with the
#   two samples that normalising to a peak of 1 leaves, spectral flux is 4 % higher. Nothing is said.
# Do: divide by slightly more than the peak, or clip to 32767/32768, before process_signal.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check opensmile==2.6.0 numpy==2.2.6

"$folder/venv/bin/python" - <<'PY'
import numpy as np
import opensmile

RATE = 16_000
FLUX, HNR = "spectralFlux_sma3_amean", "HNRdBACF_sma3nz_amean"
smile = opensmile.Smile(
    feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
)
time = np.arange(2 * RATE) / RATE
voice = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 20)) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))
voice /= np.abs(voice).max()

changes = {}
for peak in (1.0, 1.02):
    loud = (voice * peak).astype(np.float32)
    clipped = np.clip(loud, -1.0, 32_767 / 32_768)
    seen, wanted = (smile.process_signal(sound, RATE).iloc[0] for sound in (loud, clipped))
    changes[peak] = seen[FLUX] / wanted[FLUX] - 1, seen[HNR] - wanted[HNR]
    print(
        f"peak {peak:g}, {int((loud >= 1).sum())} of {len(loud)} samples at or above 1: spectral flux {changes[peak][0]:+.1%}, "
        f"HNR {changes[peak][1]:+.2f} dB beside the clipped sound"
    )
assert changes[1.0][0] > 0.02 and changes[1.02][0] > 0.3 and changes[1.02][1] < -0.3, "full scale is treated otherwise now"
PY
