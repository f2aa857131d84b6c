#!/usr/bin/env bash
# PyAV: looking at frame.side_data keeps a decoded picture in memory until Python's garbage collector runs.
#
# Versions: av 18.1.0 (with FFmpeg 8.1.2), CPython 3.11.
# Guess: a decoded frame is freed when nothing refers to it any more, whatever was read from it.
# Seen: side_data gives the frame a container that refers back to the frame: a circle. The collector counts objects, not
#   bytes, so hundreds of pictures (1.4 MB each at 1280x720) can wait for it. Decoding 50 pictures leaves 0 alive without
#   the look, 50 with it.
# Do: read side data of few frames (frame.rotation needs none of it), or call gc.collect() now and then.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 av==18.1.0

"$folder/venv/bin/python" - <<'PY'
import gc
import io

import av
import numpy as np

buffer = io.BytesIO()
with av.open(buffer, "w", format="mp4") as container:
    stream = container.add_stream("mpeg4", rate=25)
    stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
    for number in range(50):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((180, 320, 3), number, np.uint8), "rgb24")))
    container.mux(stream.encode())


def pictures_alive(look):
    """Decode the film, look at each picture, forget it, and return how many are still there."""
    buffer.seek(0)
    gc.collect()
    gc.disable()
    with av.open(buffer) as container:
        for frame in container.decode(video=0):
            look(frame)
    del frame
    alive = sum(isinstance(each, av.VideoFrame) for each in gc.get_objects())
    gc.enable()
    return alive


plain = pictures_alive(lambda frame: frame.to_ndarray(format="rgb24"))
turned = pictures_alive(lambda frame: frame.rotation)
looked_at = pictures_alive(lambda frame: frame.side_data)
print(f"alive after decoding 50 pictures: {plain}; after frame.rotation: {turned}; after frame.side_data: {looked_at}")
assert (plain, turned, looked_at) == (0, 0, 50), "what keeps a picture alive has changed"
PY
