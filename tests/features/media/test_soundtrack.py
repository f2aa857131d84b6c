"""Read a film's sound: stretches, rates, channels, gaps, containers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import DefectiveClip
from memobert_plugin.features.media.sound import SoundReader, read_clip
from tests.films import tone, write_film
from tests.numbered_films import Kind, write_numbered_film

pytest.importorskip("av")


def noise(seconds: float, rate: int = 16_000) -> np.ndarray:
    """Return sound that resembles itself nowhere else, without the high frequencies that codecs leave out."""
    steps = np.random.default_rng(0).normal(size=round(seconds * 4000))
    return (0.2 * np.interp(np.arange(round(seconds * rate)) * 4000 / rate, np.arange(len(steps)), steps)).astype(
        np.float32
    )


def lag(found: np.ndarray, whole: np.ndarray, start: float, reach: int = 400) -> float:
    """Return by how many milliseconds ``found`` comes later than the same stretch of ``whole``."""
    first = round(start * 16_000)
    padded = np.pad(whole, reach)[first : first + len(found) + 2 * reach]
    return float(np.argmax(np.correlate(padded, found)) - reach) / -16.0


@pytest.mark.parametrize(
    ("suffix", "codec", "rate"),
    [(".mkv", "flac", 16_000), (".mp4", "aac", 44_100), (".mkv", "libopus", 48_000), (".avi", "pcm_s16le", 22_050)],
)
def test_a_stretch_lies_where_its_times_say(tmp_path: Path, suffix: str, codec: str, rate: int) -> None:
    film = write_film(
        tmp_path / f"f{suffix}", seconds=30.0, samples=noise(30.0, rate), rate=rate, sound_codec=codec, fps=5,
        codec="mpeg4" if suffix == ".avi" else "libx264",
    )  # fmt: skip
    with SoundReader(film) as reader:
        for start in (0.0, 0.5, 3.0, 20.0, 21.0, 1.0):
            found = reader.between(start, start + 0.8)
            assert found.shape == (12_800,)
            assert found.dtype == np.float32
            assert abs(lag(found, noise(30.0), start)) <= 1.0


def test_other_rates_and_channels_become_16_khz_mono(tmp_path: Path) -> None:
    both = np.stack([tone(2.0, rate=44_100), 0.5 * tone(2.0, rate=44_100)])
    film = write_film(tmp_path / "f.mkv", seconds=2.0, samples=both, rate=44_100, layout="stereo", sound_codec="flac")
    found = read_clip(film, start=0.0, end=1.5)
    assert found.shape == (24_000,)
    np.testing.assert_allclose(found[100:], 0.75 * tone(2.0)[100:24_000], atol=2e-3)


def test_dialogue_in_the_centre_channel_is_not_drowned(tmp_path: Path) -> None:
    planes = np.zeros((6, 32_000), np.float32)
    planes[2] = tone(2.0)
    film = write_film(tmp_path / "f.mkv", seconds=2.0, samples=planes, layout="5.1", sound_codec="flac")
    assert np.abs(read_clip(film)).max() > 0.25 * np.abs(planes[2]).max()


def test_gaps_are_silent_and_keep_what_follows_in_its_place(tmp_path: Path) -> None:
    late = np.zeros((2, 48_000), np.float32)
    late[:, 32_000:] = tone(1.0)
    film = write_film(tmp_path / "f.mkv", seconds=3.0, samples=late, layout="stereo", sound_codec="flac")
    found = read_clip(film)
    assert not found[:31_900].any()
    assert np.abs(found[32_100:]).max() > 0.4


def test_the_end_of_the_sound_ends_the_clip_and_beyond_it_is_a_defect(tmp_path: Path) -> None:
    film = write_film(tmp_path / "f.mkv", seconds=2.0, sound_codec="flac")
    assert len(read_clip(film, start=1.5, end=9.0)) == 8000
    assert len(read_clip(film, max_seconds=0.5)) == 8000
    with pytest.raises(DefectiveClip, match=r"no samples between 5\.00 s and 6\.00 s"):
        read_clip(film, start=5.0, end=6.0)
    with pytest.raises(DefectiveClip, match="no audio stream"):
        read_clip(write_film(tmp_path / "silent.mp4", silent=True, seconds=0.5))


def test_sound_files_and_films_are_read_alike(tmp_path: Path) -> None:
    film = write_film(tmp_path / "f.mkv", seconds=2.0, sound_codec="flac")
    np.testing.assert_array_equal(read_clip(film, max_seconds=1.0, start=0.5), read_clip(film, start=0.5, end=1.5))


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "aac"), (".mkv", "ac3"), (".mkv", "libopus"), (".mkv", "flac")])
def test_a_clip_does_not_depend_on_what_was_read_before(tmp_path: Path, suffix: str, codec: str) -> None:
    rate = 48_000
    film = write_film(
        tmp_path / f"f{suffix}", seconds=30.0, samples=noise(30.0, rate), rate=rate, sound_codec=codec, fps=5
    )
    with SoundReader(film) as reader:
        for start in (0.0, 0.4, 1.03, 2.5, 17.0, 22.2, 9.0):
            np.testing.assert_array_equal(
                reader.between(start, start + 1.5), read_clip(film, start=start, end=start + 1.5)
            )


@pytest.mark.parametrize(
    ("suffix", "codec", "sound_codec"),
    [
        (".ts", "libx264", "mp2"), (".mpg", "mpeg2video", "mp2"), (".flv", "libx264", "aac"), (".wmv", "wmv2", "wmav2"),
        (".webm", "libvpx", "libopus"), (".mkv", "libx264", "ac3"),
    ],
)  # fmt: skip
def test_sound_and_pictures_begin_together_in_every_container(
    tmp_path: Path, suffix: str, codec: str, sound_codec: str
) -> None:
    rate = 48_000
    kind = Kind(suffix, codec, sound_codec, {"b": "400k"})
    film = write_numbered_film(tmp_path / f"f{suffix}", kind, 500, samples=noise(20.0, rate))
    with SoundReader(film) as reader:
        for start in (0.5, 3.0, 17.0, 15.0, 1.0):
            found = reader.between(start, start + 0.8)
            assert abs(lag(found, noise(20.0), start, reach=2_400)) <= 12.0  # encoders delay sound by up to 11 ms
