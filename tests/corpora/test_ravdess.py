"""RAVDESS's files become manifest rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.corpora.__main__ import main
from memobert_plugin.corpora.ravdess import CLIPS_PER_ACTOR, read_ravdess
from memobert_plugin.data.manifest import media_path, read_manifest


def place(folder: Path, *names: str) -> Path:
    """Empty files below ``folder``."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def all_clips(actor: str, modality: str = "03", suffix: str = ".wav") -> list[str]:
    """The names of an actor's 60 spoken clips: neutral is not spoken strongly."""
    return [
        f"Actor_{actor}/{modality}-01-{emotion:02d}-{intensity}-{statement}-{repetition}-{actor}{suffix}"
        for emotion in range(1, 9)
        for intensity in ("01", "02")
        for statement in ("01", "02")
        for repetition in ("01", "02")
        if (emotion, intensity) != (1, "02")
    ]


def test_a_name_says_everything(tmp_path: Path) -> None:
    path = "Actor_12/03-01-05-02-02-01-12.wav"
    [row] = read_ravdess(place(tmp_path, path)).rows
    assert row.id == "01-05-02-02-01-12"
    assert (row.speaker, row.session, row.split) == ("Actor_12", "", "")
    assert (row.emotion, row.text) == ("angry", "Dogs are sitting by the door")
    assert (row.audio, row.video) == (str(tmp_path / path), "")


@pytest.mark.parametrize(
    ("code", "emotion"),
    [*enumerate(("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"), start=1)],
)
def test_emotions_are_the_publishers(tmp_path: Path, code: int, emotion: str) -> None:
    [row] = read_ravdess(place(tmp_path, f"03-01-{code:02d}-01-01-01-01.wav")).rows
    assert row.emotion == emotion


def test_sound_and_film_of_one_clip_are_one_utterance(tmp_path: Path) -> None:
    names = [f"{folder}/Actor_01/{m}-01-03-01-01-02-01{s}" for folder, m, s in (
        ("Audio_Speech_Actors_01-24", "03", ".wav"), ("Video_Speech_Actor_01", "01", ".mp4"),
        ("Video_Speech_Actor_01", "02", ".mp4"),
    )]  # fmt: skip
    [row] = read_ravdess(place(tmp_path, *names)).rows
    assert row.audio == str(tmp_path / names[0])
    assert row.video == str(tmp_path / names[1])


def test_the_film_without_sound_is_the_second_choice(tmp_path: Path) -> None:
    reading = read_ravdess(place(tmp_path, "Actor_01/02-01-03-01-01-02-01.mp4"))
    assert reading.rows[0].video.endswith("02-01-03-01-01-02-01.mp4")
    assert reading.rows[0].audio == ""
    assert any("without a sound file" in remark for remark in reading.remarks)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Actor_01/03-01-05-01-01-01.wav", "seven numbers"),
        ("Actor_01/03-01-5-01-01-01-01.wav", "seven numbers"),
        ("Actor_01/03-01-٠٥-01-01-01-01.wav", "seven numbers"),
        ("Actor_01/noise.wav", "seven numbers"),
        ("Actor_01/03-01-09-01-01-01-01.wav", "emotion 09"),
        ("Actor_01/03-03-05-01-01-01-01.wav", "channel 03"),
        ("Actor_01/03-01-05-01-03-01-01.wav", "statement 03"),
        ("Actor_25/03-01-05-01-01-01-25.wav", "actor 25"),
        ("Actor_02/03-01-05-01-01-02-01.wav", "Actor_02, but the name says actor 01"),
        ("Actor_01/03-01-05-01-01-02-01.mp4", "modality 03 is published as .wav or .flac"),
    ],
)
def test_a_malformed_name_is_reported_with_its_reason(tmp_path: Path, name: str, reason: str) -> None:
    reading = read_ravdess(place(tmp_path, "Actor_01/03-01-01-01-01-01-01.wav", name))
    assert len(reading.rows) == 1
    [defect] = reading.defects
    assert defect.place == str(tmp_path / name)
    assert reason in defect.reason


def test_songs_other_files_and_hidden_ones_are_no_defects(tmp_path: Path) -> None:
    reading = read_ravdess(
        place(
            tmp_path,
            "Actor_01/03-01-01-01-01-01-01.wav",
            "Actor_01/03-02-01-01-01-01-01.wav",
            "labels.csv",
            "Actor_01/._03-01-01-01-01-01-01.wav",
            "__MACOSX/Actor_01/03-01-01-01-01-02-01.wav",
        )
    )
    assert len(reading.rows) == 1
    assert not reading.defects
    assert any("1 file of songs" in remark for remark in reading.remarks)


def test_a_tree_that_is_there_twice_is_read_once(tmp_path: Path) -> None:
    name = "Actor_01/03-01-01-01-01-01-01.wav"
    reading = read_ravdess(place(tmp_path, name, f"audio_speech_actors_01-24/{name}"))
    assert [row.audio for row in reading.rows] == [str(tmp_path / name)]
    assert any("found twice" in remark for remark in reading.remarks)


def test_the_complete_corpus_has_nothing_to_remark(tmp_path: Path) -> None:
    place(tmp_path, *(name for actor in range(1, 25) for name in all_clips(f"{actor:02d}")))
    reading = read_ravdess(tmp_path)
    assert len(reading.rows) == 24 * CLIPS_PER_ACTOR == 1440
    assert not reading.remarks
    assert not reading.defects
    assert [row.speaker for row in reading.rows[::CLIPS_PER_ACTOR]] == [f"Actor_{n:02d}" for n in range(1, 25)]


def test_another_number_of_clips_is_remarked(tmp_path: Path) -> None:
    place(tmp_path, *all_clips("03"), *all_clips("04")[:-1])
    assert read_ravdess(tmp_path).remarks == [
        "119 spoken clips of 2 actors; complete, RAVDESS has 1440 of 24",
        "actors without their 60 clips: Actor_04 59",
    ]


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        read_ravdess(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no spoken clip"):
        read_ravdess(tmp_path)
    with pytest.raises(UserError, match=r"noise\.wav: the name is not seven"):
        read_ravdess(place(tmp_path, "noise.wav"))


def test_the_command_merges_keeps_and_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "out" / "manifest.tsv"
    flags = [
        "--rename-emotions", "calm=neutral, angry=anger", "--emotions", "anger,happy,neutral,sad",
        "--valid-share", "0.25",
    ]  # fmt: skip
    assert main(["ravdess", str(place(tmp_path / "ravdess", *all_clips("01"))), "--output", str(manifest), *flags]) == 0
    rows = list(read_manifest(manifest))
    assert Counter(row.emotion for row in rows) == {"anger": 8, "happy": 8, "neutral": 12, "sad": 8}
    splits = Counter(row.split for row in rows)
    assert set(splits) == {"train", "valid"}
    assert 2 <= splits["valid"] <= 16
    assert "36 utterances of 1 speaker; emotions: anger 8, happy 8, neutral 12, sad 8" in capsys.readouterr().out


def test_the_split_made_here_does_not_depend_on_the_other_utterances(tmp_path: Path) -> None:
    reading = read_ravdess(place(tmp_path, *all_clips("01")))
    splits = {row.id: row.split for row in reading.with_valid_share(0.3).rows}
    for row in reading.of_emotions(["sad"]).with_valid_share(0.3).rows:
        assert row.split == splits[row.id]


def test_media_below_the_manifest_get_relative_paths(tmp_path: Path) -> None:
    name = "ravdess/Actor_01/03-01-01-01-01-01-01.wav"
    reading = read_ravdess(place(tmp_path, name))
    reading.write(tmp_path / "manifest.tsv")
    reading.write(tmp_path / "elsewhere" / "manifest.tsv")
    [inside] = read_manifest(tmp_path / "manifest.tsv")
    [outside] = read_manifest(tmp_path / "elsewhere" / "manifest.tsv")
    assert inside.audio == name
    assert media_path(tmp_path / "elsewhere" / "manifest.tsv", outside.audio) == tmp_path / name


def test_the_command_tells_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = place(tmp_path / "ravdess", "Actor_01/03-01-01-01-01-01-01.wav", "Actor_01/noise.wav")
    arguments = ["ravdess", str(folder), "--output", str(tmp_path / "manifest.tsv")]
    assert main(arguments) == 1
    assert f"left out: {folder / 'Actor_01/noise.wav'}: the name" in capsys.readouterr().err
    assert main([*arguments, "--max-failed-share", "0.5", "--overwrite"]) == 0


def test_an_emotion_that_does_not_occur_is_refused(tmp_path: Path) -> None:
    arguments = ["ravdess", str(place(tmp_path, "03-01-01-01-01-01-01.wav")), "--output", str(tmp_path / "m.tsv")]
    for flags in (["--emotions", "joy"], ["--rename-emotions", "joy=happy"]):
        with pytest.raises(UserError, match="emotion joy: the corpus has neutral"):
            main([*arguments, *flags])


def test_the_real_corpus(real_data: Path) -> None:
    if not (real_data / "ravdess_speech").is_dir():
        pytest.skip("no folder ravdess_speech in the real data")
    reading = read_ravdess(real_data / "ravdess_speech")
    assert not reading.defects
    counts = Counter(row.speaker for row in reading.rows)
    assert set(counts.values()) == {CLIPS_PER_ACTOR}
    assert {row.text for row in reading.rows} == {"Kids are talking by the door", "Dogs are sitting by the door"}
    assert Counter(row.emotion for row in reading.rows)["neutral"] == 4 * len(counts)
