#!/usr/bin/env bash
# PyAV, FFmpeg: the pictures of an AVI file with B-frames carry the times at which they were decoded, out of order.
#
# Versions: av 18.1.0 (with FFmpeg 8.1.2).
# Guess: frames come in the order in which they are shown, and frame.pts grows with them, as for MP4 and Matroska.
# Seen: the order is right, but pts are 1 3 4 2 6 7 5 ...: AVI stores no presentation times, and FFmpeg hands on the
#   place of each packet. A picture taken by its time is up to two pictures wrong. frame.dts grows by one a picture.
# Do: for AVI with B-frames, count pictures (or use dts) and take the times from the frame rate.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 av==18.1.0

"$folder/venv/bin/python" - <<'PY'
import io

import av
import numpy as np


def shown(container_format):
    """Return the numbers of the pictures of a film, as drawn on them, and their times in tenths of a second."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "2", "b-adapt": "0"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 12 * number, np.uint8), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer) as container:
        frames = list(container.decode(video=0))
    numbers = [round(frame.to_ndarray(format="rgb24").mean() / 12) for frame in frames]
    return numbers, [round(10 * frame.pts * frame.time_base) for frame in frames]


for container_format in ("mp4", "matroska", "avi"):
    numbers, tenths = shown(container_format)
    print(f"{container_format}: pictures {numbers[:8]} ... at tenths of a second {tenths[:8]} ...")
    assert numbers == list(range(20))
    assert (tenths == sorted(tenths)) == (container_format != "avi"), "the order of the times has changed"
PY
