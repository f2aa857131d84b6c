#!/usr/bin/env bash
# PyAV: as root, encoding AV1 (libsvtav1) leaves the calling thread under real-time scheduling.
#
# Versions: av 18.1.0 (its wheel's SVT-AV1 4.1.0), numpy 2.4.1, Linux on x86-64, run as root, as containers mostly are.
# Guess: an encoder changes the priority of its own threads at most.
# Seen: after five pictures by libsvtav1 the Python thread that encoded is under SCHED_FIFO with priority 99, also after the
#   file is closed. libx264 and libvpx-vp9 change nothing. Processes that it starts later inherit it: a test worker that had
#   written such a film started a browser and servers, which spun at full speed and starved everything else on two cores.
# Do: write films with another encoder, or put the scheduling back afterwards (os.sched_getscheduler, os.sched_getparam).
set -euo pipefail

[[ $(uname -s) == Linux && $EUID -eq 0 ]] || { echo "this takes Linux and root"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check install --quiet av==18.1.0 numpy==2.4.1
"$folder/venv/bin/python" - "$folder" 2>/dev/null <<'PY'
import os
import sys

import av
import numpy as np

usual = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
found = {}
for codec in ("libx264", "libvpx-vp9", "libsvtav1"):
    with av.open(f"{sys.argv[1]}/{codec}.mkv", "w") as output:
        stream = output.add_stream(codec, rate=10)
        stream.width = stream.height = 128
        stream.pix_fmt = "yuv420p"
        for number in range(5):
            picture = np.full((128, 128, 3), 20 * number, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    found[codec] = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
print("before:", usual, "after:", found)
assert found["libx264"] == found["libvpx-vp9"] == usual == (os.SCHED_OTHER, 0)
assert found["libsvtav1"] == (os.SCHED_FIFO, 99), "the thread keeps its scheduling now"
PY
