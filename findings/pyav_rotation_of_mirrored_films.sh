#!/usr/bin/env bash
# PyAV: frame.rotation says nothing of mirroring, so a mirrored film that is turned by it shows the wrong picture.
#
# Versions: av 18.1.0.
# Guess: turning each picture by frame.rotation shows it as a player does; a film that is only mirrored has rotation 0.
# Seen: that holds for turned films. Mirrored left to right (display matrix -1 0 0 1), rotation is -180, which turns the
#   picture upside down; mirrored top to bottom (1 0 0 -1), it is 0, and the picture stays upside down; transposed
#   (0 1 1 0), it is -90. Cameras that face the user write such matrices.
# Do: read the whole display matrix from the frame's side data and apply it; its determinant is negative for mirrors.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 av==18.1.0

"$folder/venv/bin/python" - <<'PY'
import io
import struct

import av
import numpy as np

GREY_LEVELS = {"A": 255, "B": 170, "C": 85, "D": 0}
SIDE = 64


def film(matrix):
    """Write a film of four grey quarters, A B above C D, with this display matrix (a, b, c, d)."""
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    for (row, column), grey in zip(np.ndindex(2, 2), GREY_LEVELS.values()):
        picture[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32] = grey
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    data = bytearray(buffer.getvalue())
    # The matrix stands 40 bytes behind the name of the track's header: nine numbers of 32 bits, in 65536ths.
    place = data.index(b"tkhd") + 44
    one = 1 << 16
    assert struct.unpack_from(">9i", data, place) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    a, b, c, d = (one * value for value in matrix)
    struct.pack_into(">9i", data, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return io.BytesIO(data)


def quarters(picture):
    """Name the quarters of a picture, row by row."""
    centres = [picture[row, column].mean() for row in (16, 48) for column in (16, 48)]
    return "".join(min(GREY_LEVELS, key=lambda name: abs(GREY_LEVELS[name] - grey)) for grey in centres)


# matrix: (rotation that PyAV gives, what a player shows: x' = a x + c y, y' = b x + d y)
EXPECTED = {
    (1, 0, 0, 1): (0, "ABCD"),
    (0, 1, -1, 0): (-90, "CADB"),
    (-1, 0, 0, -1): (-180, "DCBA"),
    (-1, 0, 0, 1): (-180, "BADC"),
    (1, 0, 0, -1): (0, "CDAB"),
    (0, 1, 1, 0): (-90, "ACBD"),
}
for matrix, (rotation, shown) in EXPECTED.items():
    with av.open(film(matrix)) as container:
        frame = next(container.decode(video=0))
        turned = quarters(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))
    print(f"matrix {matrix}: rotation {frame.rotation}, turned by it {turned}, right {shown}")
    a, b, c, d = matrix
    assert frame.rotation == rotation, "the rotation has changed"
    assert (turned == shown) == (a * d - b * c > 0), "a mirrored film is now shown otherwise"
PY
