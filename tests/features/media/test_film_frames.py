"""The picture at a time is the one that players show, in every container, forwards and after seeks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from memobert_plugin.features.media.pictures import PictureReader, pictures
from tests.numbered_films import (
    FPS,
    KINDS,
    Kind,
    number_of,
    set_edit_list,
    write_numbered_film,
    wrong_pictures,
)

av = pytest.importorskip("av")

COUNT = 64
EVERY = list(range(COUNT))


def need(kind: Kind) -> None:
    for codec in filter(None, (kind.codec, kind.sound)):
        try:
            av.CodecContext.create(codec, "w")
        except av.codec.codec.UnknownCodecError:
            pytest.skip(f"this FFmpeg has no encoder {codec}")


QUICK = {(".mp4", "libx264"), (".webm", "libvpx-vp9"), (".avi", "libx264"), (".avi", "mpeg4"), (".ts", "libx264"),
         (".mpg", "mpeg1video"), (".wmv", "wmv2"), (".264", "libx264")}  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[] if (kind.suffix, kind.codec) in QUICK else pytest.mark.slow, id=str(kind))
        for kind in KINDS
    ],
)
def test_numbered_pictures_are_shown_at_their_times(tmp_path: Path, kind: Kind) -> None:
    need(kind)
    film = write_numbered_film(tmp_path / f"f{kind.suffix}", kind, COUNT)
    assert wrong_pictures(film, EVERY, COUNT, 12) == (0, COUNT, 0, 72)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no scheduling policies here")
def test_writing_and_reading_av1_leave_the_threads_priority(tmp_path: Path) -> None:
    kind = next(kind for kind in KINDS if kind.codec == "libsvtav1")
    need(kind)
    before = os.sched_getscheduler(0)
    assert len(list(pictures(write_numbered_film(tmp_path / f"film{kind.suffix}", kind, 5), FPS))) == 5
    assert os.sched_getscheduler(0) == before


@pytest.mark.parametrize("key_every", [1, 12, 300])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.suffix in (".avi", ".ts", ".mpg")], ids=str)
@pytest.mark.slow
def test_distances_of_key_pictures_do_not_matter(tmp_path: Path, kind: Kind, key_every: int) -> None:
    need(kind)
    if (kind.suffix, key_every) == (".mpg", 1):
        pytest.skip("FFmpeg 8 miscounts tiny pictures of which ten share one time in a programme stream")
    film = write_numbered_film(tmp_path / f"f{kind.suffix}", kind, 200, key_every=key_every)
    assert wrong_pictures(film, range(200), 200) == (0, 200, 0, 150)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mpg", ".flv", ".webm"])
def test_a_start_that_is_not_zero_is_the_films_beginning(tmp_path: Path, suffix: str) -> None:
    kind = next(kind for kind in KINDS if kind.suffix == suffix)
    need(kind)
    film = write_numbered_film(tmp_path / f"f{suffix}", kind, COUNT, begin=5.0)
    assert wrong_pictures(film, EVERY, COUNT, 12) == (0, COUNT, 0, 72)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".flv", ".webm", ".wmv"])
def test_a_variable_rate_is_followed(tmp_path: Path, suffix: str) -> None:
    kind = next(kind for kind in KINDS if kind.suffix == suffix)
    need(kind)
    times = sorted({0, *range(3, 40, 7), *range(40, 60), *range(64, 130, 11)})
    film = write_numbered_film(tmp_path / f"f{suffix}", kind, len(times), times=times)
    expected = [max(number for number, time in enumerate(times) if time <= k) for k in range(times[-1])]
    with PictureReader(film, FPS) as reader:
        assert [number_of(shown.rgb, len(times)) for shown in reader.between(0.0, times[-1] / FPS)] == expected
        for first in (90, 11, 57, 44, 0):
            shown = reader.between(first / FPS, (first + 6) / FPS)
            assert [number_of(picture.rgb, len(times)) for picture in shown] == expected[first : first + 6]


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_an_edit_list_that_begins_later_is_followed(tmp_path: Path, codec: str) -> None:
    kind = next(kind for kind in KINDS if (kind.suffix, kind.codec) == (".mp4", codec))
    need(kind)
    film = set_edit_list(write_numbered_film(tmp_path / "f.mp4", kind, COUNT, key_every=10), [(0.44, 2.0)])
    assert wrong_pictures(film, range(11, 50), COUNT, 12) == (0, 39, 0, 72)


@pytest.mark.parametrize("edits", [[(0.4, 0.8), (1.6, 2.4)], [(1.6, 2.0), (0.2, 1.0)]], ids=["cut", "exchanged"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_edit_lists_of_several_parts_are_followed(tmp_path: Path, edits: list[tuple[float, float]], codec: str) -> None:
    """FFmpeg 8 puts a part one picture late where the one before it ends with a B-picture in the order of decoding."""
    kind = next(kind for kind in KINDS if (kind.suffix, kind.codec) == (".mp4", codec))
    need(kind)
    film = set_edit_list(write_numbered_film(tmp_path / "f.mp4", kind, COUNT, key_every=10), edits)
    expected = [number for begin, end in edits for number in range(round(begin * FPS), round(end * FPS))]
    with PictureReader(film, FPS) as reader:
        found = [number_of(picture.rgb, COUNT) for picture in reader.between(0.0, None)]
        assert list(dict.fromkeys(found)) == expected
        assert len(found) <= len(expected) + 1
        for first in (20, 5, 13, 0):
            shown = reader.between(first / FPS, (first + 6) / FPS)
            assert [number_of(picture.rgb, COUNT) for picture in shown] == found[first : first + 6]
