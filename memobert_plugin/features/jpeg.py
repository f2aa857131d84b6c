"""Small pictures for pages, encoded with what decodes films."""

from __future__ import annotations

import base64
from fractions import Fraction
from typing import Final

import numpy as np

_QUANTIZER: Final = 5


def jpeg_address(picture: np.ndarray) -> str:
    """A picture, uint8 ``(H, W, 3)`` or grey ``(H, W)``, as the ``data:`` address of a JPEG."""
    import av

    rgb = np.ascontiguousarray(picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2))
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = rgb.shape[:2]
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 1)
    encoder.qmin = encoder.qmax = _QUANTIZER
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuvj420p")
    frame.pts = 0
    content = b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
