"""Read one clip of a sound file: formats, sampling rates, channels, cuts and every kind of defect."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from memobert_plugin.core.errors import DefectiveClip
from memobert_plugin.features.media.sound import SAMPLE_RATE, SoundReader, read_clip, resample, sound_seconds
from tests.films import write_sound


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_any_format_and_rate_becomes_16_khz(tmp_path: Path, suffix: str, rate: int) -> None:
    path = tmp_path / f"clip.{suffix}"
    soundfile.write(path, tone(1.0, rate), rate)
    waveform = read_clip(path, max_seconds=10.0)
    assert waveform.dtype == np.float32
    assert waveform.shape == (SAMPLE_RATE,)
    assert np.abs(waveform - tone(1.0, SAMPLE_RATE))[1000:-1000].max() < (0.05 if suffix == "ogg" else 0.01)


def level(waveform: np.ndarray) -> float:
    """Return decibels relative to a sine of amplitude 0.5, without the edges."""
    middle = waveform[len(waveform) // 4 : -len(waveform) // 4].astype(np.float64)
    return float(10 * np.log10((middle**2).mean() / 0.125 + 1e-30))


@pytest.mark.parametrize("rate", [18_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000])
def test_resampling_keeps_the_pass_band_and_removes_aliases(rate: int) -> None:
    for hertz in (60.0, 1_000.0, 4_000.0, 7_000.0, 7_200.0):
        assert abs(level(resample(tone(1.0, rate, hertz), rate))) < 0.1
    for hertz in (8_000.0, 8_200.0, 8_300.0, 8_500.0, 8_900.0, 10_000.0, 15_000.0):
        if hertz < rate / 2:
            assert level(resample(tone(1.0, rate, hertz), rate)) < -100.0


@pytest.mark.parametrize("hertz", [8_300.0, 9_000.0, 12_000.0, 15_700.0])
def test_no_tone_above_8_khz_is_heard_in_a_clip(tmp_path: Path, hertz: float) -> None:
    soundfile.write(tmp_path / "high.wav", tone(1.0, 48_000, hertz), 48_000, subtype="FLOAT")
    assert level(read_clip(tmp_path / "high.wav", start=0.1, end=0.9)) < -60.0


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_a_clip_equals_the_same_stretch_of_the_whole_at_any_rate(tmp_path: Path, rate: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * rate).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", noise, rate, subtype="FLOAT")
    whole = read_clip(tmp_path / "noise.wav")
    for start, end in ((0.0, 1.0), (0.33333, 1.0), (1.23457, 2.5), (3.0, 4.0)):
        first, last = round(16_000 * start), round(16_000 * end)
        np.testing.assert_allclose(
            read_clip(tmp_path / "noise.wav", start=start, end=end), whole[first:last], atol=1e-5
        )


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(0.5, SAMPLE_RATE, 300.0), tone(0.5, SAMPLE_RATE, 700.0)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_clip(tmp_path / "stereo.wav", max_seconds=10.0), (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_times_cut_exactly_these_samples(tmp_path: Path, suffix: str) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * SAMPLE_RATE).astype(np.float32)
    path = tmp_path / f"long.{suffix}"
    soundfile.write(path, samples, SAMPLE_RATE)
    whole = read_clip(path, max_seconds=10.0)
    cut = read_clip(path, max_seconds=10.0, start=1.25, end=2.5)
    np.testing.assert_array_equal(cut, whole[20_000:40_000])
    np.testing.assert_array_equal(read_clip(path, max_seconds=10.0, start=4.0), whole[64_000:])
    np.testing.assert_array_equal(read_clip(path, max_seconds=10.0, end=0.5), whole[:8_000])
    np.testing.assert_array_equal(read_clip(path, max_seconds=10.0, start=4.0, end=99.0), whole[64_000:])


def test_a_short_cut_does_not_read_the_long_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "film.flac"
    soundfile.write(path, tone(60.0, SAMPLE_RATE), SAMPLE_RATE)
    asked: list[int] = []
    read = soundfile.SoundFile.read

    def recorded(file: soundfile.SoundFile, frames: int, **further: object) -> np.ndarray:
        asked.append(frames)
        return read(file, frames, **further)

    monkeypatch.setattr(soundfile.SoundFile, "read", recorded)
    assert len(read_clip(path, max_seconds=10.0, start=50.0, end=50.5)) == 8_000
    assert len(read_clip(path, max_seconds=2.0)) == 32_000
    assert asked[0] == 8_000
    assert asked[1] < 40_000


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_limited_clip_equals_the_beginning_of_the_whole(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "long.wav", tone(3.0, rate), rate)
    whole, limited = (read_clip(tmp_path / "long.wav", max_seconds=limit) for limit in (10.0, 1.5))
    np.testing.assert_allclose(limited, whole[:24_000], atol=1e-6)


def test_a_streamed_flac_without_a_length_is_read(tmp_path: Path) -> None:
    pytest.importorskip("av")
    soundfile.write(tmp_path / "known.flac", tone(2.0, SAMPLE_RATE), SAMPLE_RATE)
    content = bytearray((tmp_path / "known.flac").read_bytes())
    content[21] &= 0xF0  # the upper 4 of the 36 bits of the number of samples (RFC 9639, 8.2)
    content[22:26] = bytes(4)
    content[26:42] = bytes(16)
    (tmp_path / "streamed.flac").write_bytes(content)
    stretches: list[dict[str, Any]] = [{}, {"start": 0.5, "end": 1.25}]
    for stretch in stretches:
        known, streamed = (read_clip(tmp_path / f"{name}.flac", **stretch) for name in ("known", "streamed"))
        np.testing.assert_array_equal(streamed, known)
    assert sound_seconds(tmp_path / "streamed.flac") is None


@pytest.mark.parametrize("size", [0, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_a_streamed_wav_without_a_length_is_read(tmp_path: Path, size: int) -> None:
    pytest.importorskip("av")
    soundfile.write(tmp_path / "known.wav", tone(2.0, SAMPLE_RATE), SAMPLE_RATE)
    content = bytearray((tmp_path / "known.wav").read_bytes())
    for place in (4, content.index(b"data") + 4):
        content[place : place + 4] = size.to_bytes(4, "little")
    (tmp_path / "streamed.wav").write_bytes(content)
    np.testing.assert_array_equal(read_clip(tmp_path / "streamed.wav"), read_clip(tmp_path / "known.wav"))
    np.testing.assert_array_equal(
        read_clip(tmp_path / "streamed.wav", start=0.5, end=1.0), read_clip(tmp_path / "known.wav", start=0.5, end=1.0)
    )


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_libsndfile_and_ffmpeg_give_equal_samples(tmp_path: Path, subtype: str, rate: int) -> None:
    pytest.importorskip("av")
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, (rate, 2))
    soundfile.write(tmp_path / "noise.wav", noise, rate, subtype=subtype)
    (tmp_path / "noise.mov").write_bytes((tmp_path / "noise.wav").read_bytes())  # a film's suffix: read by FFmpeg
    stretches: list[dict[str, Any]] = [{}, {"start": 0.21, "end": 0.77}]
    for stretch in stretches:
        one, other = (read_clip(tmp_path / name, **stretch) for name in ("noise.wav", "noise.mov"))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("format_", ["FLAC", "OGG", "WAVEX", "WAV"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8])
def test_channels_are_mixed_alike_by_both_libraries(tmp_path: Path, format_: str, channels: int) -> None:
    pytest.importorskip("av")
    planes = np.random.default_rng(0).normal(0, 0.1, (SAMPLE_RATE, channels))
    soundfile.write(tmp_path / "many.wav", planes, SAMPLE_RATE, format=format_)
    (tmp_path / "many.mov").write_bytes((tmp_path / "many.wav").read_bytes())
    one, other = read_clip(tmp_path / "many.wav"), read_clip(tmp_path / "many.mov")
    np.testing.assert_allclose(one, other, atol=1e-5 if format_ == "OGG" else 0.0)


def test_two_channels_that_cancel_each_other_are_one(tmp_path: Path) -> None:
    pytest.importorskip("av")
    voice = tone(2.0, SAMPLE_RATE)
    soundfile.write(tmp_path / "inverted.wav", np.stack([voice, -voice], axis=1), SAMPLE_RATE)
    (tmp_path / "inverted.mov").write_bytes((tmp_path / "inverted.wav").read_bytes())
    soundfile.write(tmp_path / "mono.wav", voice, SAMPLE_RATE)
    for name in ("inverted.wav", "inverted.mov"):
        np.testing.assert_array_equal(read_clip(tmp_path / name), read_clip(tmp_path / "mono.wav"))
    soundfile.write(tmp_path / "right.wav", np.stack([np.zeros_like(voice), voice], axis=1), SAMPLE_RATE)
    np.testing.assert_allclose(read_clip(tmp_path / "right.wav"), read_clip(tmp_path / "mono.wav") / 2, atol=1e-4)


def test_the_centre_of_a_surround_file_counts_most_and_low_frequency_effects_do_not_count(tmp_path: Path) -> None:
    silent = np.zeros((8_000, 6), np.float32)
    levels = []
    for channel in range(6):
        planes = silent.copy()
        planes[:, channel] = 0.5
        soundfile.write(tmp_path / "surround.flac", planes, SAMPLE_RATE)
        levels.append(float(read_clip(tmp_path / "surround.flac").mean()) / 0.5)
    total = 1 + 2 * 0.5**0.5 + 2 * 0.5
    assert levels == pytest.approx(
        [0.5**0.5 / total, 0.5**0.5 / total, 1 / total, 0, 0.5 / total, 0.5 / total], abs=1e-4
    )


@pytest.mark.parametrize(
    ("suffix", "codec", "rate"),
    [
        (".m4a", "aac", 16_000), (".aac", "aac", 16_000), (".mka", "libopus", 48_000), (".wma", "wmav2", 16_000),
        (".amr", "libopencore_amrnb", 8_000), (".ac3", "ac3", 48_000), (".mp2", "mp2", 16_000),
        (".m4a", "alac", 44_100),
    ],
)  # fmt: skip
def test_sound_files_that_only_ffmpeg_reads_are_read(tmp_path: Path, suffix: str, codec: str, rate: int) -> None:
    av = pytest.importorskip("av")
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    path = write_sound(tmp_path / f"voice{suffix}", tone(6.0, rate), rate, codec)
    whole = read_clip(path)
    assert abs(len(whole) - 96_000) < 4_000
    assert abs(level(whole)) < 2.0
    with SoundReader(path) as reader:
        for start in (4.0, 0.0, 1.03, 0.4, 2.5):
            clip = reader.between(start, start + 0.8)
            np.testing.assert_array_equal(clip, read_clip(path, start=start, end=start + 0.8))
            assert len(clip) == 12_800


def test_formats_of_ffmpeg_name_the_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "voice.m4a"
    path.write_bytes(b"\0\0\0\x1cftypM4A " + bytes(100))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DefectiveClip, match=r'voice\.m4a: cannot be read as sound .*pip install "\.\[video\]"'):
        read_clip(path)
    soundfile.write(tmp_path / "voice.wav", tone(0.5, 44_100), 44_100)
    assert len(read_clip(tmp_path / "voice.wav")) == 8_000


def write_defective(folder: Path, defect: str) -> Path:
    path = folder / f"{defect}.wav"
    if defect == "empty":
        soundfile.write(path, np.zeros(0, dtype=np.float32), SAMPLE_RATE)
    elif defect == "text":
        path.write_text("no sound at all")
    elif defect == "nan":
        soundfile.write(path, np.full(1000, np.nan, dtype=np.float32), SAMPLE_RATE, subtype="FLOAT")
    elif defect == "infinite":
        soundfile.write(path, np.full(1000, np.inf, dtype=np.float32), SAMPLE_RATE, subtype="FLOAT")
    elif defect == "folder":
        path.mkdir()
    elif defect == "truncated":
        whole = folder / "whole.wav"
        soundfile.write(whole, tone(1.0, SAMPLE_RATE), SAMPLE_RATE)
        path.write_bytes(whole.read_bytes()[:44])
    elif defect == "raw":
        path = folder / "clip.raw"
        path.write_bytes(b"\0" * 100)
    return path


@pytest.mark.parametrize(
    ("defect", "reason"),
    [
        ("missing", "no such file"),
        ("folder", "a folder, not a file"),
        ("empty", "no samples"),
        ("truncated", "no samples"),
        ("text", "cannot be read as sound"),
        ("raw", r"no film by its name \(the suffix .raw\), and cannot be read as sound"),
        ("nan", "NaN or infinite"),
        ("infinite", "NaN or infinite"),
    ],
)
def test_a_defect_is_named_in_one_line(tmp_path: Path, defect: str, reason: str) -> None:
    with pytest.raises(DefectiveClip, match=reason) as caught:
        read_clip(write_defective(tmp_path, defect), max_seconds=10.0)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_clip_beyond_the_end_is_a_defect(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", tone(1.0, SAMPLE_RATE), SAMPLE_RATE)
    with pytest.raises(DefectiveClip, match="starts at 2 s, the file ends at 1 s"):
        read_clip(tmp_path / "short.wav", max_seconds=10.0, start=2.0, end=3.0)


def test_a_real_clip_is_read(real_data: Path) -> None:
    path = sorted((real_data / "ravdess_speech").glob("Actor_*/*.flac"))[0]
    assert len(read_clip(path, max_seconds=10.0)) == soundfile.info(path).frames
    assert len(read_clip(path, max_seconds=1.0)) == SAMPLE_RATE
