"""Folders, subtitles, stretches and manifests as utterances."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from memobert_plugin.features.media.streams import StreamChoice
from memobert_plugin.inference.requests import EMBEDDED, of_clips, of_manifest, of_subtitles, of_windows
from tests.films import Cue, remux, tone, write_film, write_srt

CUES = [Cue(0.2, 1.4, "I hate it."), Cue(1.6, 1.7, "Oh."), Cue(2.0, 2.9, "<i>Go home!</i>")]


def test_a_folder_is_its_films_and_sounds_in_natural_order(tmp_path: Path) -> None:
    for name in ("b10.wav", "b9.wav", "a.mp4", "notes.txt"):
        (tmp_path / name).touch()
    assert [one.title for one in of_clips([tmp_path]).utterances] == ["a.mp4", "b9.wav", "b10.wav"]


def test_files_of_one_name_are_named_by_their_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("one", "two"):
        Path(folder).mkdir()
        Path(folder, "x.wav").touch()
    asked = of_clips([Path("one/x.wav"), Path("two/x.wav"), Path("two")]).utterances
    assert [one.title for one in asked] == ["one/x.wav", "two/x.wav", "two/x.wav"]
    assert [one.title for one in of_clips([Path("one/x.wav")]).utterances] == ["x.wav"]


def test_a_folder_of_pictures_is_one_clip(tmp_path: Path) -> None:
    (tmp_path / "1.png").touch()
    assert [one.clip for one in of_clips([tmp_path]).utterances] == [tmp_path]
    (tmp_path / "1.png").unlink()
    with pytest.raises(UserError, match="no film, no sound file and no picture"):
        of_clips([tmp_path])


def test_one_text_belongs_to_one_clip_or_stands_alone(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
    assert of_clips([tmp_path / "a.wav"], "stop").utterances[0].text == "stop"
    assert of_clips([], "stop").utterances[0].text == "stop"
    with pytest.raises(UserError, match="one text for 2 clips"):
        of_clips([tmp_path], "stop")


@pytest.mark.parametrize("where", ["file", "film"])
def test_subtitles_become_utterances_with_their_times(tmp_path: Path, where: str) -> None:
    film = write_film(tmp_path / "film.mkv", cues=CUES if where == "film" else ())
    given = EMBEDDED if where == "film" else str(write_srt(tmp_path / "film.srt", CUES))
    request = of_subtitles(film, given)
    assert [(one.start, one.end, one.text) for one in request.utterances] == [
        (pytest.approx(0.2), pytest.approx(1.4), "I hate it."),
        (pytest.approx(2.0), pytest.approx(2.9), "Go home!"),
    ]
    assert request.timeline and [one.title for one in request.utterances] == [
        "film.mkv 0:00:00.20",
        "film.mkv 0:00:02.00",
    ]
    assert any("1 of 3 lines left out" in remark for remark in request.remarks)


def test_speakers_that_subtitles_name_are_those_of_their_utterances(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", seconds=4.0)
    cues = "00:00.200 --> 00:01.400\n<v Mira>I hate it.\n\n00:02.000 --> 00:03.000\nGo home!\n"
    (tmp_path / "film.vtt").write_text(f"WEBVTT\n\n{cues}", encoding="utf-8")
    request = of_subtitles(film, str(tmp_path / "film.vtt"))
    assert [one.speaker for one in request.utterances] == ["Mira", ""]


def test_subtitles_without_a_usable_line_are_refused(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", seconds=1.0)
    with pytest.raises(UserError, match="none of its 1 line can be used"):
        of_subtitles(film, str(write_srt(tmp_path / "late.srt", [Cue(50.0, 52.0, "Late.")])))
    with pytest.raises(DefectiveClip, match=r"none\.srt"):
        of_subtitles(film, str(tmp_path / "none.srt"))


@pytest.mark.parametrize(
    ("seconds", "ends"), [(4.0, [2.0, 4.0]), (4.2, [2.0, 4.2]), (5.0, [2.0, 4.0, 5.0]), (0.1, [0.1])]
)
def test_stretches_cover_a_clip_and_a_short_rest_joins_the_last(
    tmp_path: Path, seconds: float, ends: list[float]
) -> None:
    soundfile.write(tmp_path / "clip.wav", tone(seconds), 16_000)
    request = of_windows(tmp_path / "clip.wav", 2.0)
    assert [one.end for one in request.utterances] == pytest.approx(ends)
    assert [one.start for one in request.utterances] == pytest.approx([0.0, *ends[:-1]])


def test_a_manifests_rows_keep_their_sound(tmp_path: Path) -> None:
    row = ManifestRow(0, "x", text="go", video="v.mp4", audio="a.wav", start=1.0, end=2.0, region="left")
    only = ManifestRow(0, "y", audio="b.wav")
    write_manifest(tmp_path / "m.tsv", [row, only])
    both, sound = of_manifest(tmp_path / "m.tsv").utterances
    assert (both.clip, both.sound, both.start, both.end) == (tmp_path / "v.mp4", tmp_path / "a.wav", 1.0, 2.0)
    assert (both.region, sound.region) == ("left", None)
    assert (sound.clip, sound.sound, sound.title) == (tmp_path / "b.wav", None, "y")


def test_columns_of_a_manifest_that_are_not_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text("id\taudio\ttexts\nx\ta.wav\tgo\n")
    request = of_manifest(tmp_path / "m.tsv")
    assert request.remarks == [f"{tmp_path / 'm.tsv'}: columns that are not used: texts (did you mean text?)"]


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        of_clips([tmp_path / "none.mp4"])


def test_a_microdvd_file_takes_the_films_rate(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv", fps=20)
    (tmp_path / "film.sub").write_text("{10}{30}I hate it.\n")
    request = of_subtitles(film, str(tmp_path / "film.sub"))
    assert [(one.start, one.end) for one in request.utterances] == [(0.5, 1.5)]
    assert any("the film's 20 pictures per second were taken" in remark for remark in request.remarks)


def test_stretches_end_in_a_pause_of_the_voice_nearby(tmp_path: Path) -> None:
    samples = tone(6.0)
    samples[round(2.2 * 16_000) : round(2.6 * 16_000)] = 0.0
    soundfile.write(tmp_path / "clip.wav", samples, 16_000)
    ends = [one.end for one in of_windows(tmp_path / "clip.wav", 2.0).utterances]
    assert ends == pytest.approx([2.3, 4.0, 6.0], abs=0.05)
    assert ends == [round(end or 0.0, 3) for end in ends]


def test_no_stretch_becomes_too_short_by_a_pause(tmp_path: Path) -> None:
    samples = tone(2.5)
    samples[round(2.25 * 16_000) : round(2.4 * 16_000)] = 0.0
    soundfile.write(tmp_path / "clip.wav", samples, 16_000)
    ends = [one.end for one in of_windows(tmp_path / "clip.wav", 2.0).utterances]
    assert ends == pytest.approx([2.0, 2.5])


def test_stretches_end_in_a_pause_of_the_sound_that_was_asked_for(tmp_path: Path) -> None:
    paused = tone(6.0)
    paused[round(2.2 * 16_000) : round(2.6 * 16_000)] = 0.0
    one = write_film(tmp_path / "one.mkv", seconds=6.0, sound_codec="pcm_s16le")
    other = write_film(tmp_path / "other.mkv", seconds=6.0, samples=paused, sound_codec="pcm_s16le")
    film = remux(tmp_path / "film.mkv", [(one, (0, 1)), (other, (1,))])

    def ends(streams: StreamChoice) -> list[float | None]:
        return [stretch.end for stretch in of_windows(film, 2.0, streams).utterances]

    assert ends(StreamChoice(audio_stream=1)) == pytest.approx([2.0, 4.0, 6.0], abs=0.05)
    assert ends(StreamChoice(audio_stream=2)) == pytest.approx([2.3, 4.0, 6.0], abs=0.05)
    with pytest.raises(DefectiveClip, match="--audio-stream 7: no such audio stream"):
        of_windows(film, 2.0, StreamChoice(audio_stream=7))
