"""``memobert-predict`` as it is typed."""

from __future__ import annotations

import io
import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from memobert_plugin import MEmoBERT
from memobert_plugin.checkpoints.bundle import read_bundle, write_bundle
from memobert_plugin.cli.predict import main
from memobert_plugin.core import version
from memobert_plugin.core.console import run_command
from memobert_plugin.core.errors import Interrupted, UserError
from memobert_plugin.data.frames import ExtractorInfo, frame_file, write_extractor_info, write_frames
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from memobert_plugin.inference.utterance import Evidence, Utterance
from tests.films import Cue, Track, tone, write_film, write_srt, write_tracks


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_clips_become_lines_a_table_and_a_page(
    bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, page = tmp_path / "out.jsonl", tmp_path / "page.html"
    assert main([str(clips), "--model", str(bundle), "--output", str(output), "--report", str(page)]) == 0
    lines = lines_of(output)
    assert [line["id"] for line in lines] == ["a.wav", "b.wav"]
    for line in lines:
        assert line["label"] == max(line["probabilities"], key=lambda label: line["probabilities"][label])
        assert sum(line["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
        assert line["modalities"]["acoustic"]["present"] and not line["modalities"]["text"]["present"]
    printed = capsys.readouterr().out
    assert "a.wav" in printed and "sound frames" in printed and "this model does not read faces" not in printed
    assert "All 2 answers" in page.read_text(encoding="utf-8")


def test_quiet_leaves_a_pipe_alone(bundle: Path, clips: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(clips / "a.wav"), "--model", str(bundle), "--json", "-q"]) == 0
    printed = capfd.readouterr()
    assert json.loads(printed.out)["id"] == "a.wav" and printed.err == ""


def test_a_clip_that_failed_is_named_and_the_others_are_answered(
    bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clips / "broken.wav").write_bytes(b"RIFF")
    output = tmp_path / "out.jsonl"
    assert main([str(clips), "--model", str(bundle), "--output", str(output)]) == 1
    by_id = {line["id"]: line for line in lines_of(output)}
    assert set(by_id) == {"a.wav", "b.wav", "broken.wav"} and "label" in by_id["a.wav"]
    assert "cannot be read as sound" in by_id["broken.wav"]["error"] and "label" not in by_id["broken.wav"]
    assert "failed: broken.wav" in capsys.readouterr().out


def test_a_film_with_subtitles_is_a_timeline(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = write_film(tmp_path / "film.mp4", seconds=4.0, picture=None)
    cues = write_srt(tmp_path / "film.srt", [Cue(0.5, 1.5, "Stop it!"), Cue(2.0, 3.5, "We love it.")])
    output, page = tmp_path / "out.jsonl", tmp_path / "page.html"
    asked = [str(film), "--model", str(bundle), "--subtitles", str(cues)]
    assert main([*asked, "--output", str(output), "--report", str(page)]) == 0
    assert [(line["start"], line["end"], line["text"]) for line in lines_of(output)] == [
        (0.5, 1.5, "Stop it!"),
        (2.0, 3.5, "We love it."),
    ]
    assert "0.5 – 1.5 s" in capsys.readouterr().out
    assert "Over time" in page.read_text(encoding="utf-8")


def test_zero_frames_stand_for_absent_speech(bundle: Path, tmp_path: Path) -> None:
    answers = []
    for number, more in enumerate(([], ["--zero-frames"])):
        output = tmp_path / f"{number}.jsonl"
        assert main(["--text", "i am here", "--model", str(bundle), "--output", str(output), *more]) == 0
        answers.append(lines_of(output)[0]["probabilities"])
    assert answers[0] != answers[1]


def test_every_cuts_a_long_clip(bundle: Path, clips: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert main([str(clips / "b.wav"), "--model", str(bundle), "--every", "0.5", "--output", str(output)]) == 0
    assert [line["start"] for line in lines_of(output)] == [0.0, 0.5, 1.0, 1.5]


def test_a_manifest_gives_names_and_texts(bundle: Path, clips: Path, tmp_path: Path) -> None:
    row = ManifestRow(0, "first", text="we love it", audio=str(clips / "a.wav"))
    write_manifest(tmp_path / "m.tsv", [row, ManifestRow(0, "gone", audio="none.wav")])
    output = tmp_path / "out.jsonl"
    assert main(["--manifest", str(tmp_path / "m.tsv"), "--model", str(bundle), "--output", str(output)]) == 1
    first, gone = lines_of(output)
    assert first["id"] == "first" and first["modalities"]["text"]["present"] and "no such file" in gone["error"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,audio,mood\nfirst,clips/a.wav,odd\n", "standard input: columns that are not used: mood"),
        ("id\taudio\tmood\nfirst\tclips/a.wav\todd\n", "standard input: columns that are not used: mood"),
        ('{"id": "first", "audio": "clips/a.wav"}\n', ""),
    ],
)
def test_a_manifest_may_come_by_a_pipe(
    bundle: Path,
    clips: Path,
    content: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(clips.parent)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    output = clips.parent / "out.jsonl"
    assert main(["--manifest", "-", "--model", str(bundle), "--output", str(output)]) == 0
    assert [line["id"] for line in lines_of(output)] == ["first"]
    assert said in capsys.readouterr().err


def test_mistakes_in_a_manifest_by_a_pipe_are_named(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"id,start\na,soon\n")))
    with pytest.raises(SystemExit) as stopped:
        run_command(lambda: main(["--manifest", "-", "--model", str(bundle)]))
    assert stopped.value.code == 2 and "error: standard input, row 2: start 'soon'" in capsys.readouterr().err


def test_a_text_needs_no_clip(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--text", "we love it", "--model", str(bundle)]) == 0
    assert "3 word pieces" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "no clip given"),
        (["a.wav", "--manifest", "m.tsv"], "names the clips itself"),
        (["a.wav", "b.wav", "--every", "2"], "cuts one file"),
        (["a.wav", "--every", "0.1"], "give 0.5 to 60 seconds"),
        (["a.wav", "--batch-size", "0"], "from 1 on"),
        (["a.wav", "--window", "4"], "belongs to --live"),
        (["a.wav", "--output", "/nowhere/out.jsonl"], "its folder does not exist"),
        (["a.wav", "--output", "-", "--report", "-"], "name two files"),
        (["a.wav", "--output", "out", "--report", "./tests/../out"], "name two files"),
        (["--live", "a.mp4", "--output", "a.csv"], "takes one --output of JSON lines"),
        (["none.wav"], "no such file or folder"),
        (["face.png", "--every", "2"], "cuts one file"),
        ([os.devnull], "a pipe or a device, not a file"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(flags: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        main([*flags, "--model", "none"])


def test_without_a_shipped_model_one_has_to_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "SHIPPED_MODEL", tmp_path / "none")
    message = "no model is shipped in this installation; give --model, a bundle of memobert-export"
    with pytest.raises(UserError, match=message) as caught:
        main(["--text", "we love it"])
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=message):
        MEmoBERT.from_pretrained()


def test_the_shipped_model_answers_where_none_is_named_and_the_page_has_its_licence(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(version, "SHIPPED_MODEL", bundle.resolve())
    page = tmp_path / "page.html"
    assert main(["--text", "we love it", "--report", str(page)]) == 0
    assert MEmoBERT.from_pretrained().labels == MEmoBERT.from_pretrained(bundle).labels
    assert "CC BY-NC-SA 4.0" in page.read_text(encoding="utf-8")
    monkeypatch.setattr(version, "SHIPPED_MODEL", tmp_path / "none")
    assert main(["--text", "we love it", "--report", str(page), "--model", str(bundle), "--overwrite"]) == 0
    assert "CC BY-NC-SA" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("there", [True, False])
def test_the_version_names_the_licences(
    bundle: Path, there: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(version, "SHIPPED_MODEL", bundle.resolve() if there else bundle / "none")
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    printed = capsys.readouterr().out
    assert caught.value.code == 0
    assert printed.startswith(f"memobert-predict {version.VERSION}, MIT licence\n")
    assert "CC BY-NC-SA 4.0: RAVDESS, under this licence" in printed and "GoEmotions, EmoryNLP and FER+" in printed
    assert ("not in this installation" in printed) != there


def test_labels_are_chosen_on_the_command_line(bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    given = ["--text", "we love it", "--model", str(bundle), "--output", str(output), "--overwrite"]
    assert main([*given, "--labels", "calm=table,sad"]) == 0
    (line,) = lines_of(output)
    assert list(line["probabilities"]) == ["calm", "sad"]
    assert sum(line["probabilities"].values()) == pytest.approx(1.0)
    with pytest.raises(UserError, match='--labels: unknown label "joy"; the model has anger, happy'):
        main([*given, "--labels", "joy,sad"])


def test_what_is_not_one_of_the_modalities_is_refused(bundle: Path) -> None:
    with pytest.raises(UserError, match="modalities 'xyz'"):
        main(["--text", "we love it", "--modalities", "xyz", "--model", str(bundle)])


@pytest.mark.parametrize("flag", ["--output", "--report"])
def test_standard_output_holds_nothing_but_the_results(
    bundle: Path, flag: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--text", "we love it", "--model", str(bundle), flag, "-"]) == 0
    printed = capfd.readouterr()
    assert "3 word pieces" in printed.err and "written" not in printed.err
    if flag == "--output":
        assert json.loads(printed.out)["text"] == "we love it"
    else:
        assert printed.out.startswith("<!DOCTYPE html>") and printed.out.rstrip().endswith("</html>")


@pytest.mark.parametrize("flag", ["--output", "--report"])
def test_a_link_a_pipe_and_a_device_are_written_to(bundle: Path, tmp_path: Path, flag: str) -> None:
    target, link, fifo, read = tmp_path / "target", tmp_path / "link", tmp_path / "fifo", []
    link.symlink_to(target)
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_text(encoding="utf-8")), daemon=True)
    reader.start()
    for path in (link, fifo, Path("/dev/null")):
        if path.name == "null" and not path.is_char_device():
            continue
        assert main(["--text", "we love it", "--model", str(bundle), flag, str(path)]) == 0
    reader.join(10)
    assert link.is_symlink() and fifo.is_fifo() and not Path("/dev/null").is_file()
    assert read == [target.read_text(encoding="utf-8")] and "we love it" in read[0]


def test_sound_of_the_language_asked_for_is_read_and_said(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cues = [Cue(0.2, 1.6, "Go home.")]
    tracks = [Track("ger", flags="default", tone=300.0), Track("eng", tone=2000.0), Track("eng", cues=cues)]
    film, output = write_tracks(tmp_path / "f.mkv", tracks), tmp_path / "out.jsonl"
    given = [str(film), "--model", str(bundle), "--output", str(output), "--overwrite"]
    assert main([*given, "--language", "english", "--subtitles", "embedded"]) == 0
    (line,) = lines_of(output)
    assert (line["text"], line["start"]) == ("Go home.", 0.2)
    assert "2 sounds: stream 2 (eng, aac) taken, not 1 (ger, default, aac)" in line["notes"]
    assert main([*given, "--subtitle-stream", "3"]) == 0
    assert "2 sounds: stream 1 (ger, default, aac) taken, not 2 (eng, aac)" in lines_of(output)[0]["notes"]
    capsys.readouterr()
    assert main([*given, "--audio-stream", "7"]) == 1
    assert "failed: f.mkv: " in (shown := capsys.readouterr().out)
    assert "--audio-stream 7: no such audio stream; there are: 1 (ger, default, aac), 2 (eng, aac)" in shown
    with pytest.raises(UserError, match="--language klingonish: not a language"):
        main([*given, "--language", "klingonish"])
    with pytest.raises(UserError, match="no stream of text inside in language fr; there are: stream 3"):
        main([*given, "--language", "fr", "--subtitles", "embedded", "--audio-stream", "1"])


def test_json_and_standard_input_make_a_pipe(
    bundle: Path, clips: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{clips / 'b.wav'}\n{clips / 'a.wav'}\n"))
    assert main(["-", "--model", str(bundle), "--json", "-q"]) == 0
    printed = capfd.readouterr()
    assert [json.loads(line)["id"] for line in printed.out.splitlines()] == ["b.wav", "a.wav"]
    assert "note" not in printed.err and "written" not in printed.err
    monkeypatch.setattr("sys.stdin", io.StringIO("stop\n it\n"))
    assert main(["--text", "-", "--model", str(bundle), "--json", "-"]) == 0
    assert json.loads(capfd.readouterr().out)["text"] == "stop it"


def test_a_clip_after_json_is_not_taken_for_the_output(bundle: Path, clips: Path) -> None:
    before = (clips / "a.wav").read_bytes()
    for arguments in (["--json", str(clips / "a.wav")], [str(clips / "b.wav"), "--json", str(clips / "a.wav")]):
        with pytest.raises(UserError, match=r"no clip given|name the clips before the flag"):
            main([*arguments, "--model", str(bundle), "--overwrite"])
    assert (clips / "a.wav").read_bytes() == before


@pytest.mark.parametrize(
    ("given", "output"),
    [
        (["mine", "--every", "4", "--overlay"], "mine"),
        (["mine", "--every", "4", "--overlay"], "link"),
        (["mine", "--report"], "mine"),
        (["--manifest", "mine", "--output"], "sub/../mine"),
        (["film.mp4", "--subtitles", "mine", "--output"], "mine"),
        (["--live", "mine", "--output"], "mine"),
        (["folder", "--output"], "mine.wav"),
    ],
)
def test_what_is_read_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    Path("mine").write_text("mine")
    Path("link").symlink_to("mine")
    with pytest.raises(UserError, match=r"is read, and would be replaced|is the file to write, and no film"):
        main([*given, output, "--overwrite", "--model", "none"])
    assert Path("mine").read_text() == "mine"


@pytest.mark.parametrize("flag", ["--output", "--report", "--json"])
def test_an_output_that_exists_asks_for_overwrite(bundle: Path, tmp_path: Path, flag: str) -> None:
    output, link = tmp_path / "out", tmp_path / "link"
    output.write_text("mine")
    link.symlink_to(output)
    given = ["--text", "we love it", "--model", str(bundle), flag]
    for path in (output, link):
        with pytest.raises(UserError, match="exists already; give --overwrite"):
            main([*given, str(path)])
    assert output.read_text() == "mine"
    assert main([*given, str(link), "--overwrite"]) == 0
    assert link.is_symlink() and "we love it" in output.read_text()


def test_folders_are_walked_to_any_depth(bundle: Path, clips: Path, tmp_path: Path) -> None:
    (clips / "deep" / "er").mkdir(parents=True)
    (clips / "a.wav").rename(clips / "deep" / "er" / "a.wav")
    (clips / ".hidden.wav").write_bytes(b"")
    assert main([str(clips), "--model", str(bundle), "--output", str(tmp_path / "out.jsonl")]) == 0
    assert [line["id"] for line in lines_of(tmp_path / "out.jsonl")] == ["b.wav", "deep/er/a.wav"]


def test_an_interruption_keeps_what_is_done_and_says_how_to_go_on(
    bundle: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("c.wav", "d.wav"):
        soundfile.write(clips / name, tone(1.0), 16_000)
    read, names = MEmoBERT.read, []

    def reading(self: MEmoBERT, utterance: Utterance, modalities: str | None = None) -> Evidence:
        names.append(utterance.title)
        if utterance.title == "c.wav" and len(names) == 3:
            raise KeyboardInterrupt
        return read(self, utterance, modalities)

    monkeypatch.setattr(MEmoBERT, "read", reading)
    output = tmp_path / "out.jsonl"
    given = [str(clips), "--model", str(bundle), "--output", str(output), "--output", str(tmp_path / "out.csv")]
    with pytest.raises(Interrupted, match=r"2 of 4 are answered and in .*out.jsonl; start .* with --resume"):
        main(given)
    assert [line["id"] for line in lines_of(output)] == ["a.wav", "b.wav"]
    assert main([*given, "--resume"]) == 0
    assert names == ["a.wav", "b.wav", "c.wav", "c.wav", "d.wav"]
    assert [line["id"] for line in lines_of(output)] == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert (tmp_path / "out.csv").read_text().count("\n") == 5
    capsys.readouterr()
    assert main([*given, "--resume"]) == 0
    assert "4 answers kept from" in (told := capsys.readouterr().err) and "nothing is left" in told


def test_subtitles_and_overlay_need_times(bundle: Path, clips: Path, tmp_path: Path) -> None:
    for flag, name in (("--output", "a.srt"), ("--overlay", "a.mp4")):
        with pytest.raises(UserError, match=f"{name}: needs times; add --every 4"):
            main([str(clips / "a.wav"), "--model", str(bundle), flag, str(tmp_path / name)])
    assert (
        main([str(clips / "b.wav"), "--model", str(bundle), "--every", "1", "--output", str(tmp_path / "a.srt")]) == 0
    )
    assert (tmp_path / "a.srt").read_text().count("-->") == 2


def test_clips_of_one_speaker_tell_the_voice(
    bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = read_bundle(bundle)
    extractor = model.description.acoustic_extractor
    assert extractor is not None
    centered = replace(extractor, speaker_mean=[0.5] * 80)
    write_bundle(replace(model, description=replace(model.description, acoustic_extractor=centered)), tmp_path / "c")
    given = [str(clips), "--model", str(tmp_path / "c"), "--output"]
    assert main([*given, str(tmp_path / "alone.jsonl")]) == 0
    assert "2 voices without a speaker's name, read as an average speaker's" in capsys.readouterr().err
    assert main([*given, str(tmp_path / "one.jsonl"), "--same-speaker"]) == 0
    assert "average speaker's" not in capsys.readouterr().err
    alone, one = lines_of(tmp_path / "alone.jsonl"), lines_of(tmp_path / "one.jsonl")
    assert alone[0]["probabilities"] != one[0]["probabilities"]

    rows = [ManifestRow(2, path.stem, speaker="A", audio=str(path)) for path in sorted(clips.iterdir())]
    write_manifest(tmp_path / "m.tsv", rows)
    assert main(["--manifest", str(tmp_path / "m.tsv"), *given[1:], str(tmp_path / "rows.jsonl")]) == 0
    assert [line["probabilities"] for line in lines_of(tmp_path / "rows.jsonl")] == [
        line["probabilities"] for line in one
    ]
    rows = [*(replace(row, speaker="") for row in rows), ManifestRow(2, "words", text="well")]
    write_manifest(tmp_path / "m.tsv", rows)
    given[0] = f"--manifest={tmp_path / 'm.tsv'}"
    assert main([*given, str(tmp_path / "nameless.jsonl")]) == 0
    assert "2 voices without a speaker's name" in capsys.readouterr().err
    assert main([*given, str(tmp_path / "text.jsonl"), "--modalities", "l"]) == 1
    assert "without a speaker's name" not in capsys.readouterr().err
    with pytest.raises(UserError, match="--same-speaker: belongs to clips; a --manifest names its speakers"):
        main(["--manifest", str(tmp_path / "m.tsv"), "--same-speaker"])


def test_ready_frames_are_answered_as_arrays_are(tmp_path: Path) -> None:
    bundle = Path(__file__).parents[1] / "checkpoints" / "made_at_17cffec" / "bundle"
    rng = np.random.default_rng(0)
    visual, acoustic = (rng.normal(size=shape).astype(np.float32) for shape in ((9, 6), (12, 5)))
    for name, frames in (("visual", visual), ("acoustic", acoustic)):
        info = ExtractorInfo("generated", frame_rate=10.0, dim=frames.shape[1])
        (tmp_path / name).mkdir()
        write_extractor_info(tmp_path / name, info)
        write_frames(frame_file(tmp_path / name, "one"), frames)
    (tmp_path / "m.tsv").write_text("id\ttext\none\tso good\ntwo\tso good\n", encoding="utf-8")
    ready = ["--visual", str(tmp_path / "visual"), "--acoustic", str(tmp_path / "acoustic")]
    given = ["--model", str(bundle), "--manifest", str(tmp_path / "m.tsv"), *ready]
    assert main([*given, "--output", str(tmp_path / "out.jsonl")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    expected = MEmoBERT.from_pretrained(bundle).predict(Utterance(text="so good", visual=visual, acoustic=acoustic))
    assert lines[0]["probabilities"] == pytest.approx(expected.to_dict()["probabilities"], abs=1e-6)
    assert lines[0]["modalities"]["visual"]["frames"] == 9 and lines[1]["modalities"]["visual"]["frames"] == 0

    mean = [1.0, 2.0, 3.0, 4.0, 5.0]
    info = ExtractorInfo("generated", frame_rate=10.0, speaker_mean=mean)
    write_extractor_info(tmp_path / "acoustic", info)
    with pytest.raises(UserError, match="its frames are less their speaker's mean, the model reads them as they are"):
        main([*given, "--output", str(tmp_path / "again.jsonl")])
    model = read_bundle(bundle)
    model = replace(model, description=replace(model.description, acoustic_extractor=info))
    write_bundle(model, tmp_path / "centered")
    given[1] = str(tmp_path / "centered")
    assert main([*given, "--output", str(tmp_path / "centered.jsonl")]) == 0
    found = json.loads((tmp_path / "centered.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert found["probabilities"] == pytest.approx(expected.to_dict()["probabilities"], abs=1e-6)

    write_extractor_info(tmp_path / "visual", ExtractorInfo("another", frame_rate=10.0, dim=6))
    with pytest.raises(
        UserError, match=r"has other frames than the model was trained on \(name another, not generated\)"
    ):
        main([*given, "--output", str(tmp_path / "again.jsonl")])
    with pytest.raises(UserError, match="belong to the rows of a --manifest"):
        main(["--model", str(bundle), "--visual", str(tmp_path), "clip.mp4"])
