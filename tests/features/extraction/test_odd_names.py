"""Files whose names a tab-separated manifest cannot hold: films and clips of such names are extracted like others."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import soundfile

from memobert_plugin.cli.extract import main
from memobert_plugin.data.manifest import media_path, read_manifest
from tests.films import Cue, tone
from tests.talking_faces import DrawnFace, write_talking_film

pytest.importorskip("av")

NAMES = (
    "two\nlines", "a\ttab", "carriage\rreturn", "bell\x07", os.fsdecode(b"caf\xe9"), "next\x85line", "line\u2028sep",
    "colon:name", "-dash", "100%d", "what?x#y", " blanks ", "quote'\"", "back\\slash", "grin\U0001f600", "e\u0301",
    "file:", "a" * 240, "[x]{1,2}*",
)  # fmt: skip
FACES = ["--faces", "tracker", "--voice", "energy", "--choice", "most_frequent", "--picture-rate", "2"]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film")
    return write_talking_film(folder, "good", [DrawnFace(talks=((0.0, 1.0),))], [Cue(0.0, 1.2, "Stop it.")], 1.5)


def test_films_of_any_name_become_utterances(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films, tracks = tmp_path / "films", tmp_path / "tracks"
    films.mkdir()
    tracks.mkdir()
    for name in ("good", *NAMES):
        shutil.copy(film, films / f"{name}.mp4")
        shutil.copy(film.with_suffix(".srt"), films / f"{name}.srt")
        shutil.copy(film.parent / "tracks" / "good.csv", tracks / f"{name}.csv")
    output = tmp_path / "out"
    flags = [*FACES, "--tracker", str(tracks), "--max-failed-share", "1"]
    assert main(["film", str(films), "--output", str(output), *flags]) == 0
    rows = list(read_manifest(output / "manifest.tsv"))
    found = {media_path(output / "manifest.tsv", row.video).stem for row in rows}
    assert found == {"good", *NAMES}
    assert not (output / "failed.tsv").exists()
    for kind, more in (("visual", [*FACES, "--tracker", str(tracks)]), ("acoustic", [])):
        again = tmp_path / kind
        given = ["--manifest", str(output / "manifest.tsv"), "--output", str(again)]
        assert main([kind, *given, *more]) == 0
        assert f"{len(rows)} extracted" in capsys.readouterr().out
        for path in (output / kind).glob("*.npz"):
            assert (again / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_other_manifests_may_hold_such_names_and_a_defect_is_one_line(tmp_path: Path, suffix: str) -> None:
    names = ["two\nlines.wav", "a\ttab.wav", "gone\n.wav"]
    for name in names[:2]:
        soundfile.write(tmp_path / name, tone(0.5), 16_000)
    manifest = tmp_path / f"m.{suffix}"
    if suffix == "csv":
        manifest.write_text("id,audio\n" + "".join(f'u{at},"{name}"\n' for at, name in enumerate(names)))
    else:
        manifest.write_text(
            "".join(json.dumps({"id": f"u{at}", "audio": name}) + "\n" for at, name in enumerate(names))
        )
    output = tmp_path / "out"
    assert main(["acoustic", "--manifest", str(manifest), "--output", str(output)]) == 1
    assert sorted(path.name for path in output.glob("*.npz")) == ["u0.npz", "u1.npz"]
    header, line = (output / "failed.tsv").read_text().splitlines()
    assert (header, line.split("\t")[0]) == ("id\treason", "u2")
    assert "no such file" in line
