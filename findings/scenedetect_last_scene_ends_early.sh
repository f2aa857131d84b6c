#!/usr/bin/env bash
# PySceneDetect: in a film whose frame rate changes, the last scene ends too early.
#
# Versions: scenedetect 0.7.2, opencv-python-headless 4.12.0.88, av 16.0.1, numpy 2.2.6.
# Guess: since version 0.7 times come from the film's time stamps, so scenes of a film with a varying rate (phones in the
#   dark, screen recordings) begin and end where they do, with each backend.
# Seen: the cut is right. But the default backend (OpenCV) takes the end of the film as its number of frames over the
#   nominal rate: a film of 10 s that has 5 frames a second in its middle ends at 6.7 s, so that the four seconds of
#   its last scene shrink to 0.7. The backend "pyav" ends at 10 s.
# Do: detect with backend="pyav", or take the end of the last scene from the film itself.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    scenedetect==0.7.2 opencv-python-headless==4.12.0.88 av==16.0.1 numpy==2.2.6

"$folder/venv/bin/python" - "$folder/film.mkv" <<'PY'
import sys
from fractions import Fraction

import av
import numpy as np
from scenedetect import ContentDetector, detect

CUT, SLOW, FAST, END = 6.0, (4.0, 8.0), 30, 10.0
times = [
    *np.arange(0, SLOW[0], 1 / FAST),
    *np.arange(*SLOW, 1 / 5),
    *np.arange(SLOW[1], END, 1 / FAST),
]
with av.open(sys.argv[1], "w") as film:
    stream = film.add_stream("mpeg4", rate=FAST)
    stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
    stream.codec_context.time_base = Fraction(1, 1000)
    for time in times:
        picture = np.full((120, 160, 3), (200, 60, 60) if time < CUT - 1e-6 else (40, 200, 220), np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
        film.mux(stream.encode(frame))
    film.mux(stream.encode())

ends = {}
for backend in ("opencv", "pyav"):
    scenes = detect(sys.argv[1], ContentDetector(), backend=backend)
    shown = [(round(begin.seconds, 2), round(end.seconds, 2)) for begin, end in scenes]
    print(f"{backend}: scenes {shown}")
    assert len(shown) == 2 and abs(shown[1][0] - CUT) < 0.05, "the cut is found elsewhere now"
    ends[backend] = shown[1][1]
assert ends["opencv"] < 7 and abs(ends["pyav"] - END) < 0.1, "the last scene ends elsewhere now"
PY
