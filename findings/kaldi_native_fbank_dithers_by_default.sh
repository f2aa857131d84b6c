#!/usr/bin/env bash
# kaldi-native-fbank: the same sound gives other features each time, because sound is dithered by default.
#
# Versions: kaldi-native-fbank 1.23.0.
# Guess: features are a function of the samples; two extractions with default options are equal.
# Seen: frame_opts.dither is 3e-05, which adds random noise to every sample. Bands that hold little energy change most:
#   one second of a tone at 0.1 of full scale has log energies that differ by more than 0.5 between two extractions.
#   With dither 0 they are equal to the last bit.
# Do: set options.frame_opts.dither = 0.0 where features are to be the same twice (in training and in use).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 kaldi-native-fbank==1.23.0

"$folder/venv/bin/python" - <<'PY'
import kaldi_native_fbank
import numpy as np

tone = (0.1 * np.sin(0.1 * np.arange(16_000))).tolist()


def log_energies(dither):
    options = kaldi_native_fbank.FbankOptions()
    if dither is not None:
        options.frame_opts.dither = dither
    extractor = kaldi_native_fbank.OnlineFbank(options)
    extractor.accept_waveform(16_000, tone)
    extractor.input_finished()
    return np.stack([extractor.get_frame(number) for number in range(extractor.num_frames_ready)])


by_default = np.abs(log_energies(None) - log_energies(None)).max()
without = np.abs(log_energies(0.0) - log_energies(0.0)).max()
print(f"default dither: {kaldi_native_fbank.FbankOptions().frame_opts.dither:g}")
print(f"largest difference of two extractions: {by_default:.2f} by default, {without:g} with dither 0")
assert by_default > 0.5 and without == 0.0, "what is random by default has changed"
PY
