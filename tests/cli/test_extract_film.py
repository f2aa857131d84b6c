"""``memobert-extract film``, ``merge`` and ``visual`` as a user types them."""

from __future__ import annotations

import html.parser
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from memobert_plugin.cli.binarize import main as binarize
from memobert_plugin.cli.extract import main
from memobert_plugin.core.errors import UserError
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.frames import read_frames
from memobert_plugin.data.manifest import read_manifest
from memobert_plugin.features.extraction.films import plan
from memobert_plugin.features.extraction.recognition import Recognized
from memobert_plugin.features.extraction.transcription import Transcriber
from tests.films import Cue, Track, write_srt, write_tracks
from tests.talking_faces import DrawnFace, write_talking_film
from tests.whisper_folders import FakeRecognizer, FakeVoice, heard, write_folder

pytest.importorskip("av")
ROOT = Path(__file__).resolve().parents[2]
BOTH = [DrawnFace(x=40, talks=((0.0, 2.0),), seen=(0.0, 4.5)), DrawnFace(x=120, talks=((2.0, 4.0),), seen=(0.0, 4.5))]
CUES = [Cue(0.0, 2.0, "I said <b>hello</b>!"), Cue(2.0, 4.0, "And I <script>said bye."), Cue(4.6, 6.0, "[music]")]
QUIET = ["--faces", "tracker", "--voice", "energy"]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_talking_film(folder, "one", BOTH, CUES, 6.0)
    return folder


def extract(films: Path, output: Path, *more: object) -> int:
    arguments = ["film", films, "--output", output, *QUIET, "--tracker", films / "tracks", *more]
    return main([str(argument) for argument in arguments])


def test_a_film_becomes_a_data_bin_with_one_command_each(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert extract(films, output) == 0
    printed = capsys.readouterr().out
    assert "1 film, 0.00 h; 3 lines of subtitles, 2 usable; 1 part, 0 finished before" in printed
    assert "3 lines: 2 utterances (4 s) kept, 1 dropped\n       1  no spoken text" in printed
    assert f"{output / 'manifest.tsv'}: 2 utterances of 1 film: train 1, valid 1 (a block of each film)" in printed
    assert extract(films, output) == 0
    assert "1 part, 1 finished before" in capsys.readouterr().out
    arguments = [
        "--manifest",
        output / "manifest.tsv",
        "--visual",
        output / "visual",
        "--acoustic",
        output / "acoustic",
    ]
    vocabulary = tmp_path / "vocab.txt"
    words = ["i", "said", "hello", "and", "bye", "!", ".", "<", ">", "script"]
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    made = [*arguments, "--vocab", vocabulary, "--output", tmp_path / "bin"]
    assert binarize([str(argument) for argument in made]) == 0
    corpus = Corpus(tmp_path / "bin")
    assert len(corpus) == 2
    assert corpus.visual_lengths.tolist() == [20, 20]
    assert corpus.meta.expression_classes[0] == "neutral"


class Page(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def count(self, tag: str, **wanted: str) -> int:
        return sum(
            name == tag and all(found.get(key) == value for key, value in wanted.items()) for name, found in self.tags
        )


def test_the_contact_sheet_shows_every_line_and_asks_nobody(films: Path, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "sheet.html"
    assert extract(films, tmp_path / "out", "--preview", page) == 0
    text = page.read_text(encoding="utf-8")
    shown = Page(text)
    assert shown.count("article") == 3
    assert shown.count("rect", stroke="#fff", **{"stroke-width": "3"}) == 2
    assert shown.count("rect", stroke="#fff", **{"stroke-dasharray": "4 3"}) == 2
    assert "dropped: no spoken text" in text
    assert "script" not in {tag for tag, _ in shown.tags}
    addresses = re.findall(r'(?:src|href)="([^"]{0,30})', text)
    assert addresses
    assert all(address.startswith(("data:image/jpeg;base64,", "../")) for address in addresses)
    assert re.findall(r'href="[^"]*one\.mp4#t=([^"]*)"', text) == ["0.0,2.0", "2.0,4.0"]
    assert "default-src 'none'" in text


def test_each_of_several_films_has_its_own_sheet(films: Path, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    for name in ("a", "b"):
        write_talking_film(folder if folder.exists() else _made(folder), name, BOTH[:1], CUES[:1], 3.0)
    assert extract(folder, tmp_path / "out", "--preview", tmp_path / "sheet.html") == 0
    assert sorted(path.name for path in tmp_path.glob("*.html")) == ["sheet-a.html", "sheet-b.html", "sheet.html"]
    index = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert 'href="sheet-a.html"' in index and 'href="sheet-b.html"' in index and "<h1>2 films: " in index
    assert '<a href="sheet.html">all films</a>' in (tmp_path / "sheet-a.html").read_text(encoding="utf-8")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_windows_1252_is_said_and_a_broken_film_gives_status_1(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _made(tmp_path / "films")
    write_talking_film(folder, "good", BOTH, CUES, 6.0)
    write_srt(folder / "good.srt", [Cue(0.0, 2.0, "Un café, señor")], "cp1252")
    (folder / "broken.mkv").write_bytes(b"nothing")
    assert extract(folder, tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert f"{folder / 'good.srt'}: not UTF-8, taken for Windows-1252" in printed.out
    assert "1 of 2 films failed (failed.tsv):\n  broken: " in printed.out
    assert "50.0% failed, more than --max-failed-share 0.01" in printed.err
    assert [row.text for row in read_manifest(tmp_path / "out" / "manifest.tsv")] == ["Un cafe, senor"]
    assert extract(folder, tmp_path / "out", "--max-failed-share", "0.5") == 0


def test_machines_share_the_parts_and_merge_them(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in ("1/2", "2/2"):
        assert extract(films, tmp_path / number[0], "--part-minutes", 0.035, "--share", number) == 0
    assert main(["merge", str(tmp_path / "1"), "--output", str(tmp_path / "both")]) == 1
    said = "1 of 2 parts are in none of these folders, the first: one, part 2; extract them and merge again"
    assert said in capsys.readouterr().err
    assert main(["merge", str(tmp_path / "1"), str(tmp_path / "2"), "--output", str(tmp_path / "both")]) == 0
    assert "2 utterances of 1 film" in capsys.readouterr().out
    assert len(list((tmp_path / "both" / "visual").glob("*.npz"))) == 2


@pytest.fixture
def heard_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a film without subtitles, and a recogniser that hears two sentences in it and one it doubts."""
    folder = _made(tmp_path / "heard")
    write_talking_film(folder, "one", BOTH, [], 6.0)
    (folder / "one.srt").unlink(missing_ok=True)
    words = (*heard("I said hello!", 0.0, 2.0).words, *heard("And I said bye.", 2.0, 4.0).words)
    doubted = heard("Um what.", 4.0, 5.5, log_probability=-2.0).words
    fake = FakeRecognizer(lambda samples: Recognized((*words, *doubted), 0.1))
    monkeypatch.setitem(sys.modules, "ctranslate2", ModuleType("ctranslate2"))
    transcriber = Transcriber(fake, FakeVoice((0.0, 5.5)))
    monkeypatch.setattr(plan, "build_transcriber", lambda options: transcriber)
    return folder


def test_films_without_subtitles_are_transcribed(
    heard_film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, more = tmp_path / "out", ("--transcribe", write_folder(tmp_path / "whisper"))
    assert extract(heard_film, output, *more, "--dry-run") == 0
    assert "one.mp4: no subtitles; its lines will be transcribed" in capsys.readouterr().out
    assert extract(heard_film, output, *more) == 0
    printed = capsys.readouterr().out
    assert "3 lines of subtitles and transcripts, 2 usable" in printed
    assert f"one.mp4: lines transcribed: 3, by whisper (sha256 {FakeRecognizer.sha256}), language en" in printed
    assert "1  words of which the recogniser was unsure" in printed
    rows = list(read_manifest(output / "manifest.tsv"))
    assert [(row.text, row.start, row.end) for row in rows] == [
        ("I said hello!", 0.0, 2.0),
        ("And I said bye.", 2.0, 4.0),
    ]
    assert {row.text_source for row in rows} == {"transcribed whisper abababababab en"}
    assert len(list((output / "visual").glob("*.npz"))) == 2
    settings = json.loads((output / "extraction.json").read_text())["lines"]["transcribe"]
    assert settings["recognizer"] == "whisper" and len(settings["sha256"]) == 64
    assert extract(heard_film, output, *more) == 0
    assert "1 part, 1 finished before" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"was made with other options .*transcribe"):
        extract(heard_film, output)


def test_subtitles_come_before_a_transcript(
    heard_film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_srt(heard_film / "one.srt", CUES[:2])
    assert extract(heard_film, tmp_path / "out", "--transcribe", write_folder(tmp_path / "whisper")) == 0
    assert "transcribed" not in capsys.readouterr().out
    assert {row.text_source for row in read_manifest(tmp_path / "out" / "manifest.tsv")} == {""}


def test_a_recogniser_that_cannot_be_used_is_told_before_the_work(heard_film: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--transcribe .*films: holds no model\.bin; give a folder of Whisper"):
        extract(heard_film, tmp_path / "out", "--transcribe", _made(tmp_path / "films"))
    with pytest.raises(UserError, match=r"--language de: .*holds an English-only Whisper; give another size"):
        extract(heard_film, tmp_path / "out", "--transcribe", write_folder(tmp_path / "w"), "--language", "de")
    assert not (tmp_path / "out").exists()


def test_a_film_without_words_fails_alone(
    heard_film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = Transcriber(FakeRecognizer(lambda samples: heard("x")), FakeVoice())
    monkeypatch.setattr(plan, "build_transcriber", lambda options: silent)
    assert extract(heard_film, tmp_path / "out", "--transcribe", write_folder(tmp_path / "whisper")) == 1
    assert "no subtitles, and no words were recognised in its sound" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extract(films, tmp_path / "out", "--dry-run") == 0
    assert "2 usable" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_faces_of_a_manifests_films(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extract(films, tmp_path / "out", "--encoder", "none") == 0
    assert not (tmp_path / "out" / "acoustic").exists()
    capsys.readouterr()
    flags = [*QUIET, "--tracker", films / "tracks", "--manifest", tmp_path / "out" / "manifest.tsv"]
    assert main(["visual", *map(str, flags), "--output", str(tmp_path / "again")]) == 0
    assert "2 utterances, 0 without a film, 0 finished before; 2 extracted" in capsys.readouterr().out
    for name in ("one_00001.npz", "one_00002.npz"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / "visual" / name).read_bytes()


def test_a_page_that_cannot_be_written_is_said_before_the_work(films: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for page in (tmp_path, tmp_path / "file" / "page.html", Path("/proc/page.html")):
        with pytest.raises(UserError, match=rf"--preview {page}: cannot be written \(.*\); name another file"):
            extract(films, tmp_path / "out", "--preview", page)
    assert not (tmp_path / "out" / "extraction.json").exists()


def test_mistakes_end_in_one_line(films: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such film or folder"):
        main(["film", str(tmp_path / "none.mp4"), "--output", str(tmp_path / "out")])
    with pytest.raises(UserError, match="--faces tracker: needs --tracker"):
        main(["film", str(films), "--output", str(tmp_path / "out"), "--faces", "tracker", "--voice", "energy"])
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file: cannot be written to \(.*\); give another --output"):
        extract(films, tmp_path / "file")
    with pytest.raises(UserError, match="no finished part below parts"):
        main(["merge", str(tmp_path), "--output", str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        main(["film", str(films), "--output", "out", "--share", "3/2"])


def test_help_of_every_kind_is_quick_and_imports_nothing_heavy() -> None:
    for kind in ("film", "merge", "visual"):
        code = (
            "import sys; from memobert_plugin.cli.extract import main\n"
            f"try: main(['{kind}', '--help'])\n"
            "except SystemExit: pass\n"
            "assert not {'torch', 'fairseq', 'av', 'ai_edge_litert', 'jinja2', 'submitit'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT)


def loudest_filter(file: Path) -> int:
    frames = read_frames(file)
    assert frames is not None
    return int(frames.frames.mean(axis=0).argmax())


def test_sound_and_subtitles_of_the_language_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    english, german = [Cue(0.2, 1.6, "Go home.")], [Cue(0.2, 1.6, "Geh doch nach Hause, es ist spaet.")]
    tracks = [
        Track("ger", flags="default", tone=300.0),
        Track("eng", tone=2000.0),
        Track("ger", flags="default", cues=german),
        Track("eng", cues=english),
    ]
    write_tracks(tmp_path / "f.mkv", tracks)
    boxes = "".join(f"{step / 10},10,5,50,45\n" for step in range(20))
    (tmp_path / "f.csv").write_text(f"time,left,top,right,bottom\n{boxes}")
    seen = [*QUIET, "--tracker", str(tmp_path / "f.csv"), "--choice", "most_frequent"]

    def film(name: str, *more: str) -> str:
        assert main(["film", str(tmp_path / "f.mkv"), "--output", str(tmp_path / name), *seen, *more]) == 0
        (row,) = read_manifest(tmp_path / name / "manifest.tsv")
        return row.text

    assert film("english", "--language", "eng") == "Go home."
    printed = capsys.readouterr().out
    assert "f.mkv: 2 sounds: stream 2 (eng, aac) taken, not 1 (ger, default, aac)" in printed
    part = json.loads((tmp_path / "english/parts/f/0000/part.json").read_text())
    assert part["sound"].startswith("2 sounds: stream 2 (eng, aac) taken")
    assert film("german").startswith("Geh doch")
    assert "f.mkv: subtitles: stream 3 (ger, default, ssa) taken, not 4 (eng, ssa)" in capsys.readouterr().out
    assert film("both", "--subtitle-stream", "4") == "Go home."
    assert "subtitles in eng, sound in ger (--language takes both in one)" in capsys.readouterr().out
    filters = [loudest_filter(tmp_path / name / "acoustic/f_00001.npz") for name in ("german", "both", "english")]
    assert filters[0] == filters[1] < filters[2] - 20
    manifest = ["--manifest", str(tmp_path / "english/manifest.tsv"), "--output"]
    assert main(["acoustic", *manifest, str(tmp_path / "sound"), "--language", "english"]) == 0
    assert f"{tmp_path / 'f.mkv'}: 2 sounds: stream 2 (eng, aac) taken" in capsys.readouterr().out
    assert loudest_filter(tmp_path / "sound/f_00001.npz") == filters[2]
    with pytest.raises(UserError, match=r"frames of other streams .*language english, not None"):
        main(["acoustic", *manifest, str(tmp_path / "sound")])
    assert main(["acoustic", *manifest, str(tmp_path / "sound"), "--overwrite"]) == 0
    assert loudest_filter(tmp_path / "sound/f_00001.npz") == filters[0]
    capsys.readouterr()
    assert main(["visual", *manifest, str(tmp_path / "faces"), *seen, "--audio-stream", "2"]) == 0
    assert "2 sounds: stream 2 (eng, aac) taken" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--audio-stream", "7"], "--audio-stream 7: no such audio stream; there are: 1 (eng, aac)"),
        (["--video-stream", "1"], "--video-stream 1: no such video stream; there are: 0 (no language, h264)"),
        (["--subtitle-stream", "0"], "--subtitle-stream 0: no such subtitle stream; there are: 2 (ger, ssa)"),
        (["--language", "fr"], "no stream of text inside in language fr; there are: stream 2 (ger, ssa)"),
    ],
)
def test_streams_that_are_not_there_fail_in_a_line_with_those_that_are(
    tmp_path: Path, flags: list[str], reason: str
) -> None:
    write_tracks(tmp_path / "f.mkv", [Track("eng", tone=300.0), Track("ger", cues=[Cue(0.2, 1.6, "Halt!")])])
    (tmp_path / "f.csv").write_text("time,left,top,right,bottom\n0.1,10,5,50,45\n")
    assert extract(tmp_path, tmp_path / "out", "--tracker", tmp_path / "f.csv", *flags) == 1
    (line,) = (tmp_path / "out/failed.tsv").read_text().splitlines()[1:]
    assert line.endswith(reason)
    with pytest.raises(UserError, match="--language klingonish: not a language"):
        extract(tmp_path, tmp_path / "else", "--language", "klingonish")
