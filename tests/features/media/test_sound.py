"""Reading one clip: sampling rates, channels, cuts and every kind of defect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from memobert_plugin.core.errors import DefectiveClip
from memobert_plugin.features.media.sound import SAMPLE_RATE, read_clip


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


def test_what_lies_above_8_khz_does_not_fold_back(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "high.wav", tone(1.0, 48_000, hertz=12_000.0), 48_000)
    assert np.abs(read_clip(tmp_path / "high.wav", max_seconds=10.0))[1000:-1000].max() < 5e-3


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
        ("folder", "no such file"),
        ("empty", "no samples"),
        ("truncated", "no samples"),
        ("text", "cannot be read as sound"),
        ("raw", "cannot be read as sound"),
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
