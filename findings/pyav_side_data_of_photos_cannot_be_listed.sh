#!/usr/bin/env bash
# PyAV: the side data of a photo cannot be listed, though it can be asked for by name.
#
# Versions: av 18.1.0 (with FFmpeg 8.1.2), Pillow 11.3.0.
# Guess: list(frame.side_data) gives what a frame carries, for a JPEG with Exif too.
# Seen: FFmpeg 8 hands on Exif as side data of a kind that PyAV's Type does not know: listing raises ValueError ("31 is
#   not a valid Type" or another number). A photo without Exif lists well. So a loop that looks for the display matrix,
#   which turns photos upright, ends in an error on most photos of phones.
# Do: look a kind up by name ("DISPLAYMATRIX" in frame.side_data) inside try/except ValueError.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 av==18.1.0 pillow==11.3.0

"$folder/venv/bin/python" - <<'PY'
import io

import av
from PIL import Image


def listed(exif):
    photo = io.BytesIO()
    orientation = Image.Exif()
    if exif:
        orientation[0x0112] = 6  # to be turned by 90 degrees
    Image.new("RGB", (64, 48)).save(photo, "JPEG", exif=orientation)
    photo.seek(0)
    with av.open(photo) as container:
        frame = next(container.decode(video=0))
    try:
        return str(list(frame.side_data))
    except ValueError as error:
        return f"ValueError: {error}"


plain, turned = listed(False), listed(True)
print(f"without Exif: {plain}\nwith Exif: {turned}")
assert not plain.startswith("ValueError") and turned.endswith("is not a valid Type"), "what can be listed has changed"
PY
