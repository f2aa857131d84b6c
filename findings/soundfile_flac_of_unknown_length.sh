#!/usr/bin/env bash
# soundfile: a FLAC file whose header leaves its length open cannot be read whole, and claims to last for ages.
#
# Versions: soundfile 0.14.0 (with its libsndfile), av 18.1.0.
# Guess: 0 as the number of samples in STREAMINFO, which stands for "unknown" (RFC 9639, 8.2; encoders that write to a
#   pipe leave it so), is read until the stream ends.
# Seen: info() gives 2**63 - 1 frames, and read() ends in ValueError (array is too big). Only reads of a given number of
#   frames work. FFmpeg, through PyAV, reads all of it.
# Do: read FLAC with PyAV where soundfile's number of frames is 2**63 - 1, and never take a duration from such a header.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 soundfile==0.14.0 av==18.1.0

"$folder/venv/bin/python" - "$folder/tone.flac" <<'PY'
import sys
from pathlib import Path

import av
import numpy as np
import soundfile

path = Path(sys.argv[1])
tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
soundfile.write(path, tone, 16_000, subtype="PCM_16")
data = bytearray(path.read_bytes())
# "fLaC", 4 bytes of block header, 10 bytes of sizes; then rate, channels and bits (28 bits) and the samples (36 bits).
fields = int.from_bytes(data[18:26], "big")
assert data[:4] == b"fLaC" and fields % 2**36 == 16_000
data[18:26] = (fields - 16_000).to_bytes(8, "big")
path.write_bytes(data)

frames = soundfile.info(path).frames
try:
    samples, _ = soundfile.read(path)
    read = f"{len(samples)} samples"
except (ValueError, MemoryError, RuntimeError) as error:
    read = f"{type(error).__name__}: {error}"
with soundfile.SoundFile(path) as sound:
    first = len(sound.read(1_000))
with av.open(str(path)) as container:
    decoded = sum(frame.samples for frame in container.decode(audio=0))
print(f"soundfile.info: {frames} frames; soundfile.read: {read}; its first 1000: {first}; PyAV: {decoded} samples")
assert frames == 2**63 - 1, "soundfile now gives another number of frames"
assert read.startswith("ValueError"), "soundfile now reads the file"
assert first == 1_000 and decoded == 16_000
PY
