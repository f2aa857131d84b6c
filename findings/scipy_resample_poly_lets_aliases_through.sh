#!/usr/bin/env bash
# SciPy: resample_poly from 48 to 16 kHz keeps much of what lies just above 8 kHz, as a tone that was not there.
#
# Versions: scipy 1.17.1, soxr 1.1.0.
# Guess: a tone of 8.2 kHz, which 16 kHz cannot hold, is lowered by 60 dB or more, as by other resamplers.
# Seen: it comes out at 7.8 kHz, lowered by only about 8.7 dB; one of 9 kHz comes out at 7 kHz, lowered by 31 dB. The
#   default filter (Kaiser, beta 5, 10 zero crossings) is 6 dB down at 8 kHz and falls slowly. soxr's HQ lowers the
#   tone of 8.2 kHz by more than 90 dB (and true tones above 7.4 kHz too: it lets its band end before 8 kHz).
# Do: use soxr for speech that is fed to models of 16 kHz, or give resample_poly a longer filter in window.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 scipy==1.17.1 soxr==1.1.0

"$folder/venv/bin/python" - <<'PY'
import numpy as np
import soxr
from scipy.signal import resample_poly

seconds = np.arange(2 * 48_000) / 48_000


def level(samples):
    """Return decibels relative to a sine of amplitude 1, without the ends."""
    return 10 * np.log10(2 * np.mean(samples[8_000:-8_000] ** 2))


for frequency in (7_000, 7_800, 8_200, 9_000):
    tone = np.sin(2 * np.pi * frequency * seconds)
    poly = resample_poly(tone, 1, 3)
    high_quality = soxr.resample(tone, 48_000, 16_000, quality="HQ")
    loudest = np.abs(np.fft.rfft(poly * np.hanning(poly.size))).argmax() * 16_000 / poly.size
    print(
        f"{frequency} Hz: resample_poly {level(poly):.1f} dB (loudest at {loudest:.0f} Hz), "
        f"soxr HQ {level(high_quality):.1f} dB"
    )
    if frequency == 8_200:
        assert round(loudest) == 7_800
        assert -10 < level(poly) < -7, "resample_poly no longer lets the alias through"
        assert level(high_quality) < -90, "soxr no longer removes the alias"
PY
