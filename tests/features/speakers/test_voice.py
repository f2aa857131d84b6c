"""Voice activity: energy on made-up sound, intervals from a file, the detector on real speech."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.features.media.sound import SAMPLE_RATE, read_clip
from memobert_plugin.features.speakers.voice import (
    EnergyVoice,
    Interval,
    IntervalsFile,
    SileroVoice,
    load_voice_activity,
    within_intervals,
)


def bursts(seconds: float, intervals: list[Interval], *, hum: float = 0.0, amplitude: float = 0.3) -> np.ndarray:
    """Made-up syllables in the intervals, and a steady hum everywhere."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    syllables = np.sin(2 * np.pi * 300 * times) * (0.6 + 0.4 * np.sin(2 * np.pi * 5 * times))
    noise = np.random.default_rng(0).normal(0, 1, len(times))
    return (amplitude * syllables * within_intervals(times, intervals) + hum * noise).astype(np.float32)


def assert_close(found: list[Interval], expected: list[Interval], tolerance: float = 0.04) -> None:
    assert len(found) == len(expected), found
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize("hum", [0.0, 0.002, 0.02])
@pytest.mark.parametrize("amplitude", [0.05, 0.5])
def test_energy_finds_what_stands_out(hum: float, amplitude: float) -> None:
    expected = [(0.5, 1.4), (2.0, 3.0)]
    assert_close(EnergyVoice().intervals(bursts(4.0, expected, hum=hum * amplitude, amplitude=amplitude)), expected)


def test_energy_closes_short_pauses_and_drops_clicks() -> None:
    sound = bursts(4.0, [(0.5, 1.0), (1.1, 1.5), (2.5, 2.53)])
    assert_close(EnergyVoice().intervals(sound), [(0.5, 1.5)])


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(100), np.zeros(SAMPLE_RATE), np.full(SAMPLE_RATE, 1e-4)])
def test_energy_hears_nothing_in_silence(samples: np.ndarray) -> None:
    assert EnergyVoice().intervals(samples.astype(np.float32)) == []


def test_energy_takes_a_steady_tone_for_speech_all_the_time() -> None:
    tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE)
    assert_close(EnergyVoice().intervals(tone.astype(np.float32)), [(0.0, 2.0)])


def test_intervals_from_a_file_are_cut_to_the_clip(tmp_path: Path) -> None:
    path = tmp_path / "film.tsv"
    path.write_text("begin\tend\tspeaker\n10.0\t12.5\tA\n\n13\t14\tB\n11.0\t12.0\tB\n20.0\t21.0\tA\n")
    voice = IntervalsFile(path)
    voice.start(tmp_path / "film.mp4")
    assert voice.intervals(np.zeros(3 * SAMPLE_RATE), start=11.0) == [(0.0, 1.5), (2.0, 3.0)]
    assert voice.intervals(np.zeros(3 * SAMPLE_RATE)) == []


def test_a_folder_has_a_file_per_film(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("0.0\t1.0\n")
    (tmp_path / "b.tsv").write_text("0.5\t1.0\n")
    voice = IntervalsFile(tmp_path)
    for name, begin in (("a", 0.0), ("b", 0.5), ("a", 0.0)):
        voice.start(Path(f"films/{name}.mkv"))
        assert voice.intervals(np.zeros(SAMPLE_RATE)) == [(begin, 1.0)]
    with pytest.raises(DefectiveClip, match=r"c\.mkv"):
        voice.start(Path("films/c.mkv"))


@pytest.mark.parametrize("row", ["1.0", "2.0\t1.0", "1.0\tone", "1.0\tnan", "begin\tend", "1.0 2.0"])
def test_a_row_that_is_no_interval_is_named(tmp_path: Path, row: str) -> None:
    path = tmp_path / "film.tsv"
    path.write_text(f"0.0\t1.0\n{row}\n")
    with pytest.raises(DefectiveClip, match=r"film\.tsv, row 2: not begin and end in seconds"):
        IntervalsFile(path).start(tmp_path / "film.mp4")


def test_a_file_that_cannot_be_read_is_a_defect(tmp_path: Path) -> None:
    (tmp_path / "film.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DefectiveClip, match=r"film\.tsv: cannot be read"):
        IntervalsFile(tmp_path).start(tmp_path / "film.mp4")


def test_names_and_what_goes_with_them(tmp_path: Path) -> None:
    assert isinstance(load_voice_activity("energy"), EnergyVoice)
    assert isinstance(load_voice_activity("intervals", intervals=tmp_path), IntervalsFile)
    with pytest.raises(UserError, match="voice activity by intervals: needs a TSV of begin and end, or a folder"):
        load_voice_activity("intervals")
    with pytest.raises(UserError, match="voice activity by energy: takes no intervals; give --voice intervals, or"):
        load_voice_activity("energy", intervals=tmp_path)
    with pytest.raises(UserError, match="by webrtc: unknown; choose silero, energy, intervals"):
        load_voice_activity("webrtc")
    with pytest.raises(UserError, match="no such file or folder"):
        load_voice_activity("intervals", intervals=tmp_path / "nowhere")


def test_without_silero_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    with pytest.raises(UserError, match=r"pip install 'memobert-plugin\[faces\]'"):
        load_voice_activity("silero")


def test_silero_leaves_the_number_of_threads_and_hears_no_tones(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for name in [name for name in sys.modules if name.startswith("silero_vad")]:
        monkeypatch.delitem(sys.modules, name)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        voice = SileroVoice()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert voice.intervals(np.zeros(2 * SAMPLE_RATE, dtype=np.float32)) == []
    assert voice.intervals(np.zeros(0, dtype=np.float32)) == []
    assert voice.options["version"]


def test_both_find_the_words_of_a_real_clip(real_data: Path) -> None:
    """A recorded sentence between two pauses of silence; each call begins anew."""
    sentence = read_clip(sorted((real_data / "ravdess_speech" / "Actor_01").glob("*.flac"))[0], max_seconds=10.0)
    silence = np.zeros(SAMPLE_RATE, dtype=np.float32)
    sound = np.concatenate([silence, sentence, silence])
    moments = np.arange(0.0, len(sound) / SAMPLE_RATE, 0.01)
    silero, energy = SileroVoice(), EnergyVoice()
    found = silero.intervals(sound)
    assert found == silero.intervals(sound)
    heard = within_intervals(moments, found)
    assert 0.5 < heard.mean() * len(moments) * 0.01 < len(sentence) / SAMPLE_RATE
    assert not heard[:95].any()
    assert (heard == within_intervals(moments, energy.intervals(sound))).mean() > 0.8
