"""Read pictures at a steady rate: times, stretches, defects."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memobert_plugin.core.errors import DefectiveClip
from memobert_plugin.features.media.container import media_facts
from memobert_plugin.features.media.pictures import PictureReader, pictures
from tests.films import write_film

pytest.importorskip("av")


def tenths(found: list[np.ndarray]) -> list[int]:
    """Return the tenth of a second that each picture says it was made for."""
    return [round(float(rgb.mean()) / 4) for rgb in found]


def levels(path: Path, **stretch: Any) -> list[int]:
    return tenths([picture.rgb for picture in pictures(path, **stretch)])


def test_ten_pictures_a_second_each_the_one_shown_at_its_time(tmp_path: Path) -> None:
    film = write_film(tmp_path / "f.mp4", seconds=3.0)
    found = list(pictures(film))
    assert [picture.time for picture in found] == pytest.approx([k / 10 for k in range(30)])
    assert tenths([picture.rgb for picture in found]) == list(range(30))
    assert found[0].rgb.shape == (48, 64, 3)
    assert found[0].rgb.dtype == np.uint8


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
def test_a_stretch_in_the_middle_is_the_same_as_in_the_whole(tmp_path: Path, suffix: str) -> None:
    film = write_film(
        tmp_path / f"f{suffix}", seconds=30.0, key_every=40, codec="mpeg4" if suffix == ".avi" else "libx264"
    )
    expected = [k % 64 for k in range(222, 231)]
    assert levels(film, start=22.2, end=23.1) == expected
    with PictureReader(film) as reader:
        for start in (0.5, 22.2, 29.0, 3.0, 22.2):
            rgb = [picture.rgb for picture in reader.between(start, start + 0.9)]
            assert tenths(rgb) == [round(10 * start + k) % 64 for k in range(9)]


def test_a_variable_frame_rate_leaves_times_as_they_are(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.52, 0.54, 1.9, 2.0]
    film = write_film(tmp_path / "f.mkv", times=times)
    shown = [max(time for time in times if time <= k / 10 + 1e-6) for k in range(21)]
    assert levels(film, end=2.04) == [int(10 * time + 1e-6) for time in shown]


def test_no_picture_is_made_up_after_the_last(tmp_path: Path) -> None:
    film = write_film(tmp_path / "f.mp4", seconds=1.0)
    assert len(levels(film, start=0.5, end=9.0)) == 5
    assert levels(film, start=4.0, end=5.0) == []


def test_facts_are_known_without_decoding(tmp_path: Path) -> None:
    facts = media_facts(write_film(tmp_path / "f.mp4", seconds=2.0, silent=True))
    assert facts.duration == pytest.approx(2.0, abs=0.05)
    assert (facts.has_video, facts.has_audio, facts.subtitles) == (True, False, ())


def test_files_that_are_no_films_are_defects_with_a_reason(tmp_path: Path) -> None:
    sound_only = write_film(tmp_path / "sound.mp4", picture=None)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(20_000))
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n")
    for path, reason in (
        (sound_only, "no video stream"),
        (tmp_path / "noise.mp4", "cannot be opened as a media file"),
        (tmp_path / "list.mp4", "list.mp4: "),
        (tmp_path / "none.mp4", "no such file"),
        (tmp_path, "a folder, not a file"),
    ):
        with pytest.raises(DefectiveClip, match=reason):
            next(pictures(path))


def test_a_name_is_never_taken_for_an_address(tmp_path: Path) -> None:
    film = write_film(tmp_path / "f.mp4", seconds=0.4)
    for name in ("concat:a|b.mp4", "data:x.mp4", "%03d.mp4", "pipe:0.mp4"):
        copy = tmp_path / name
        copy.write_bytes(film.read_bytes())
        assert len(list(pictures(copy))) == 4


def test_pictures_that_cannot_be_decoded_are_a_defect_where_they_are_asked_for(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    film = write_film(tmp_path / "f.mp4", seconds=8.0, picture=lambda _: random.integers(0, 255, (48, 64, 3), np.uint8))
    content = bytearray(film.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = random.bytes(20_000)
    film.write_bytes(content)
    with PictureReader(film) as reader:
        assert len(list(reader.between(0.0, 3.0))) == 30
        with pytest.raises(DefectiveClip, match=r"f\.mp4: the pictures near 4\.\d\d s cannot be decoded"):
            list(reader.between(3.0, 5.0))
        assert len(list(reader.between(5.0, 8.0))) == 30


def test_pictures_do_not_wait_for_the_garbage_collector(tmp_path: Path) -> None:
    """Pixels are large, and it counts objects: a folder of clips would fill the memory."""
    import av

    film = write_film(tmp_path / "f.mp4", seconds=3.0)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            with PictureReader(film) as reader:
                assert sum(1 for _ in reader.between(0.0, 3.0)) == 30
        alive = sum(isinstance(each, av.VideoFrame) for each in gc.get_objects())
    finally:
        gc.enable()
    assert alive <= 6  # of 90: of each film the one whose side data were read, and what the last reader holds


def test_an_animated_gif_is_a_film_without_sound(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    shown = [image.new("L", (64, 48), 8 * tenth) for tenth in range(10)]
    shown[0].save(tmp_path / "f.gif", save_all=True, append_images=shown[1:], duration=100)
    facts = media_facts(tmp_path / "f.gif")
    assert facts.audio is None and facts.video is not None
    found = [(round(picture.time, 1), round(picture.rgb.mean())) for picture in pictures(tmp_path / "f.gif")]
    assert [time for time, _ in found] == [tenth / 10 for tenth in range(10)]
    assert [level for _, level in found] == pytest.approx([8 * tenth for tenth in range(10)], abs=3)
