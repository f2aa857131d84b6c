"""``memobert-predict --transcribe`` as it is typed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from memobert_plugin.cli.predict import main
from memobert_plugin.core.errors import UserError
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from memobert_plugin.features.extraction import transcription
from memobert_plugin.features.extraction.recognition import Recognized
from memobert_plugin.features.extraction.transcription import Transcriber
from tests.films import Cue, write_film, write_srt
from tests.whisper_folders import FakeRecognizer, FakeVoice, heard, write_folder


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def recognizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The flag and a folder whose recogniser hears one sentence in any sound."""
    fake = Transcriber(FakeRecognizer(lambda samples: heard("We love it.", 0.0, 1.0)), FakeVoice((0.0, 100.0)))
    monkeypatch.setitem(sys.modules, "ctranslate2", ModuleType("ctranslate2"))
    monkeypatch.setattr(transcription, "build_transcriber", lambda options: fake)
    return ("--transcribe", str(write_folder(tmp_path / "whisper")))


def test_words_of_clips_without_text_are_transcribed(
    bundle: Path, clips: Path, tmp_path: Path, recognizer: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    output, page = tmp_path / "out.jsonl", tmp_path / "page.html"
    given = ["--model", str(bundle), "--output", str(output), "--report", str(page), *recognizer]
    assert main([str(clips), *given]) == 0
    for line in lines_of(output):
        assert (line["text"], line["text_source"]) == ("We love it.", "transcribed")
        assert line["transcript"]["sha256"] == FakeRecognizer.sha256 and line["transcript"]["language"] == "en"
        assert line["modalities"]["text"]["present"]
    shown = capsys.readouterr().out
    assert "words transcribed in 2 of 2: by whisper (sha256 abababababab), language en" in shown
    told = page.read_text(encoding="utf-8")
    assert "(transcribed)" in told and "Nobody typed these words: whisper recognised them in the sound" in told
    assert (
        f"In 2 of 2 utterances nobody gave the words; they were recognised in the sound by whisper (sha256 {'ab' * 32}"
        in told
    )


def test_given_words_are_never_transcribed(
    bundle: Path, clips: Path, tmp_path: Path, recognizer: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.jsonl"
    given = ["--model", str(bundle), "--output", str(output), "--overwrite", *recognizer]
    assert main([str(clips / "a.wav"), "--text", "stop it", *given]) == 0
    assert [(line["text"], line["text_source"], line["transcript"]) for line in lines_of(output)] == [
        ("stop it", "typed", None)
    ]
    rows = [
        ManifestRow(0, "given", text="stop it", audio=str(clips / "a.wav")),
        ManifestRow(0, "heard", audio=str(clips / "b.wav")),
        ManifestRow(0, "heard_before", text="stop", audio=str(clips / "b.wav"), text_source="transcribed whisper a en"),
    ]
    write_manifest(tmp_path / "m.tsv", rows)
    assert main(["--manifest", str(tmp_path / "m.tsv"), *given]) == 0
    assert [line["text_source"] for line in lines_of(output)] == ["manifest", "transcribed", "transcribed"]
    assert main([str(clips / "a.wav"), "--modalities", "a", *given]) == 0
    (line,) = lines_of(output)
    assert (line["text"], line["text_source"]) == ("", None)
    assert line["modalities"]["text"]["reason"] == "left out on request"
    capsys.readouterr()


def test_a_film_without_subtitles_is_cut_into_the_lines_that_are_heard(
    bundle: Path, tmp_path: Path, recognizer: tuple[str, str]
) -> None:
    film = write_film(tmp_path / "film.mp4", seconds=4.0, picture=None)
    output = tmp_path / "out.jsonl"
    for cut in ("transcribed", "embedded"):
        given = [str(film), "--model", str(bundle), "--subtitles", cut, "--output", str(output), "--overwrite"]
        assert main([*given, *recognizer]) == 0
        assert [(line["start"], line["end"], line["text_source"]) for line in lines_of(output)] == [
            (0.0, 1.0, "transcribed")
        ]
    with pytest.raises(UserError, match="--subtitles transcribed: needs --transcribe FOLDER"):
        main([str(film), "--model", str(bundle), "--subtitles", "transcribed"])
    write_srt(tmp_path / "film.srt", [Cue(0.5, 1.5, "Stop it!")])
    given = [
        str(film),
        "--model",
        str(bundle),
        "--subtitles",
        str(tmp_path / "film.srt"),
        "--output",
        str(output),
        "--overwrite",
    ]
    assert main([*given, *recognizer]) == 0
    assert [(line["text"], line["text_source"]) for line in lines_of(output)] == [("Stop it!", "subtitles")]


@pytest.mark.parametrize(
    ("recognized", "note", "reason"),
    [
        (heard("We love it.", log_probability=-1.3), "transcribed words are unsure: average log-probability -1.30", ""),
        (heard("thanks", log_probability=-1.3, no_speech=0.9), "", "no words were recognised in the sound"),
    ],
)
def test_unsure_words_are_noted_and_no_words_give_the_reason(
    bundle: Path,
    clips: Path,
    tmp_path: Path,
    recognizer: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    recognized: Recognized,
    note: str,
    reason: str,
) -> None:
    fake = Transcriber(FakeRecognizer(lambda samples: recognized), FakeVoice((0.0, 100.0)))
    monkeypatch.setattr(transcription, "build_transcriber", lambda options: fake)
    output = tmp_path / "out.jsonl"
    assert (
        main([str(clips / "a.wav"), "--model", str(bundle), "--output", str(output), "--overwrite", *recognizer]) == 0
    )
    (line,) = lines_of(output)
    assert (note in line["notes"]) == bool(note)
    assert line["modalities"]["text"]["reason"] == reason


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--transcribe", "nowhere"], "--transcribe nowhere: is no folder; give a folder of Whisper"),
        (["--language", "de"], "--language de: .* holds an English-only Whisper"),
    ],
)
def test_a_recogniser_that_cannot_be_used_is_told_before_the_model_is_loaded(
    clips: Path, recognizer: tuple[str, str], flags: list[str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        main([str(clips), "--model", "none", *recognizer, *flags])
