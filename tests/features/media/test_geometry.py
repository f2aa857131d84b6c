"""Pictures as players show them: turned, mirrored, stretched, deinterlaced."""

from __future__ import annotations

import base64
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.features.media.geometry import Geometry
from memobert_plugin.features.media.pictures import PictureReader, film_geometry, pictures
from memobert_plugin.features.media.thumbnails import jpeg_address
from memobert_plugin.inference.faces import read_face_pictures
from tests.films import set_display_matrix, write_film

av = pytest.importorskip("av")

MATRICES = {
    (1, 0, 0, 1): lambda picture: picture,
    (-1, 0, 0, 1): lambda picture: picture[:, ::-1],
    (1, 0, 0, -1): lambda picture: picture[::-1],
    (-1, 0, 0, -1): lambda picture: picture[::-1, ::-1],
    (0, 1, -1, 0): lambda picture: np.rot90(picture, -1),
    (0, -1, 1, 0): lambda picture: np.rot90(picture, 1),
    (0, 1, 1, 0): lambda picture: picture.swapaxes(0, 1),
    (0, -1, -1, 0): lambda picture: np.rot90(picture.swapaxes(0, 1), 2),
}
"""Each a, b, c, d: column p and row q of the stored picture are shown at column a p + c q and row b p + d q."""


def uneven(time: float = 0.0) -> np.ndarray:
    """Draw a picture that no turning or mirroring leaves as it is."""
    picture = np.full((48, 64, 3), 40, np.uint8)
    picture[8:16, 8:40] = 220
    picture[16:40, 8:16] = 130
    return picture


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize("matrix", MATRICES)
def test_all_eight_display_matrices_are_followed(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    film = set_display_matrix(write_film(tmp_path / "f.mp4", picture=uneven, seconds=0.4), *matrix)
    assert difference(next(pictures(film)).rgb, MATRICES[matrix](uneven())) < 4


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(2), Fraction(16, 15), Fraction(8, 9)])
def test_places_move_as_pixels_do(matrix: tuple[int, int, int, int], aspect: Fraction) -> None:
    a, b, c, d = matrix
    transposed = a == 0
    across, down = (c, b) if transposed else (a, d)
    geometry = Geometry(90, 72, float(aspect), transposed, across < 0, down < 0)
    picture = np.zeros((72, 90, 3), np.uint8)
    picture[20:30, 60:80] = 255
    frame = av.VideoFrame.from_ndarray(picture, "rgb24")
    shown = geometry.shown(frame, av.video.reformatter.VideoReformatter())[..., 0] > 127
    assert shown.shape == geometry.shown_size[::-1]
    corners = geometry.to_shown(np.array([[60.0, 20.0], [80.0, 30.0]]))
    (left, right), (top, bottom) = sorted(corners[:, 0]), sorted(corners[:, 1])
    rows, columns = np.nonzero(shown)
    found = (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1)
    np.testing.assert_allclose(found, (left, right, top, bottom), atol=1.0)


@pytest.mark.parametrize(
    ("aspect", "size"), [(Fraction(2), (128, 48)), (Fraction(1, 2), (64, 96)), (Fraction(1), (64, 48))]
)
def test_pixels_that_are_not_square_are_stretched(tmp_path: Path, aspect: Fraction, size: tuple[int, int]) -> None:
    film = write_film(tmp_path / "f.mp4", picture=uneven, seconds=0.4, aspect=aspect)
    shown = next(pictures(film)).rgb
    assert shown.shape[1::-1] == size == film_geometry(film).shown_size
    across, down = size[0] // 64, size[1] // 48
    assert difference(shown, uneven().repeat(down, axis=0).repeat(across, axis=1)) < 8


ORIENTATIONS = (
    lambda picture: picture,
    lambda picture: picture[:, ::-1],
    lambda picture: np.rot90(picture, 2),
    lambda picture: picture[::-1],
    lambda picture: picture.swapaxes(0, 1),
    lambda picture: np.rot90(picture, -1),
    lambda picture: np.rot90(picture.swapaxes(0, 1), 2),
    lambda picture: np.rot90(picture, 1),
)
"""Of EXIF 2.3, table 6, from 1 on: what is done to the stored picture."""


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_of_photographs_are_followed(tmp_path: Path, orientation: int) -> None:
    turn = ORIENTATIONS[orientation - 1]
    tag = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + bytes(4)
    jpeg = base64.b64decode(jpeg_address(uneven()).partition(",")[2])
    exif = b"\xff\xe1" + struct.pack(">H", 8 + len(tag)) + b"Exif\0\0" + tag
    (tmp_path / "f.jpg").write_bytes(jpeg[:2] + exif + jpeg[2:])
    assert difference(next(pictures(tmp_path / "f.jpg")).rgb, turn(uneven())) < 8
    (tmp_path / "g.jpg").write_bytes(jpeg)
    turned, stored = read_face_pictures(tmp_path)
    assert difference(turned, turn(stored)) < 2


def test_an_absurd_aspect_ratio_is_not_believed(tmp_path: Path) -> None:
    film = write_film(tmp_path / "f.mp4", picture=uneven, seconds=0.4, aspect=Fraction(30_000, 1))
    assert next(pictures(film)).rgb.shape == (48, 64, 3)


def bar(column: int) -> np.ndarray:
    picture = np.full((96, 128, 3), 40, np.uint8)
    picture[16:80, column : column + 24] = 220
    return picture


@pytest.mark.parametrize(("suffix", "codec"), [(".mpg", "mpeg2video"), (".mp4", "libx264")])
@pytest.mark.parametrize("top_first", [True, False])
def test_each_moment_of_an_interlaced_film_shows_its_own_field(
    tmp_path: Path, suffix: str, codec: str, top_first: bool
) -> None:
    """The bar moves 2 pixels from field to field, 50 fields a second."""
    film = tmp_path / f"f{suffix}"
    write_interlaced(film, [bar(2 * number) for number in range(40)], codec, top_first)
    with PictureReader(film, 50) as reader:
        shown = list(reader.between(0.0, 0.76))
    assert len(shown) == 38
    for number, picture in enumerate(shown):
        assert difference(picture.rgb, bar(2 * number)) < difference(picture.rgb, bar(2 * number + 2))
        assert difference(picture.rgb, bar(2 * number)) < 4
    with PictureReader(film, 10) as reader:
        again = list(reader.between(0.5, 0.7))
    np.testing.assert_array_equal(again[0].rgb, shown[25].rgb)


def write_interlaced(path: Path, fields: list[np.ndarray], codec: str, top_first: bool) -> None:
    """Weave pairs of pictures into interlaced frames, 25 a second."""
    height, width = fields[0].shape[:2]
    options = {"flags": "+ildct+ilme", "qmin": "2", "qmax": "2"} if codec == "mpeg2video" else {"crf": "4"}
    if codec == "libx264":
        options["flags"] = "+ildct+ilme"
    graph = av.filter.Graph()
    source = graph.add("buffer", f"video_size={width}x{height}:pix_fmt=yuv420p:time_base=1/25:pixel_aspect=1/1")
    marked, sink = graph.add("setfield", "tff" if top_first else "bff"), graph.add("buffersink")
    source.link_to(marked)
    marked.link_to(sink)
    graph.configure()
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, (first, second) in enumerate(zip(fields[::2], fields[1::2], strict=True)):
            woven = (first if top_first else second).copy()
            woven[1::2] = (second if top_first else first)[1::2]
            frame = av.VideoFrame.from_ndarray(woven, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            source.push(frame)
            container.mux(stream.encode(sink.pull()))
        container.mux(stream.encode())
