#!/usr/bin/env bash
# transformers: WhisperEncoder takes an attention mask and ignores it; padding changes the frames of the clip.
#
# Versions: transformers 5.23.0, torch 2.13.0.
# Guess: with the attention mask that WhisperFeatureExtractor returns, the frames of a clip of 3 s do not depend on the
#   27 s that it is padded with, as for wav2vec 2.0 and HuBERT.
# Seen: the output with the mask equals that without it, bit for bit. Every frame attends to the padding: other values
#   there change the clip's frames (here by more than 10% of their norm, with random weights).
# Do: pad all clips alike, with the 30 s of silence that Whisper was trained with, cut the frames at the clip's end, and
#   compare no features that were padded otherwise.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.2.6 transformers==5.23.0

"$folder/venv/bin/python" - <<'PY'
import numpy as np
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

torch.manual_seed(0)
config = WhisperConfig(
    d_model=64, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=128, num_mel_bins=80, init_std=0.2
)
encoder = WhisperEncoder(config).eval()
noise = (0.1 * np.random.default_rng(0).normal(size=3 * 16_000)).astype(np.float32)
inputs = WhisperFeatureExtractor()(noise, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
mel, mask = inputs["input_features"], inputs["attention_mask"]
other = mel.clone()
other[..., 310:] += 1
clip = slice(0, 150)
with torch.no_grad():
    plain = encoder(mel).last_hidden_state[0]
    masked = encoder(mel, attention_mask=mask).last_hidden_state[0]
    changed = encoder(other, attention_mask=mask).last_hidden_state[0]
share = float((changed - masked)[clip].norm() / masked[clip].norm())
print(f"mask of {int(mask.sum())} of {mask.shape[1]} frames; with and without it equal: {torch.equal(plain, masked)}")
print(f"other padding changes the clip's frames by {share:.0%} of their norm")
assert int(mask.sum()) == 300
assert torch.equal(plain, masked), "the mask is no longer ignored"
assert share > 0.1, "padding no longer changes the clip's frames"
PY
