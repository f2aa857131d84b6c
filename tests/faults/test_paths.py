"""Names that come out of files lead nowhere but into the folder they belong to."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

import memobert_plugin
from memobert_plugin.checkpoints.bundle import CONFIGURATION, read_bundle
from memobert_plugin.cli import binarize, extract
from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.core.files import staged_folder
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from memobert_plugin.features.media.container import media_facts
from tests.data_bins import CorpusShape, make_data_bin, write_vocabulary
from tests.fuzzing.targets import make_bundle

IDS = ("../../escaped", "/tmp/escaped", "..", ".", ".hidden", "~/escaped", "a/../../b", "$(id)", "-rf", "x" * 300)
PACKAGE = Path(memobert_plugin.__file__).parent


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "inside"
    folder.mkdir(parents=True)
    soundfile.write(folder / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 16_000), 16_000)
    write_manifest(folder / "m.tsv", [ManifestRow(0, id=name, audio="a.wav", text="i am") for name in IDS])
    return folder / "m.tsv"


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_whatever_the_ids_frames_and_data_bin_stay_in_their_folders(manifest: Path, tmp_path: Path) -> None:
    before, folder = files_below(tmp_path), manifest.parent
    assert extract.main(["acoustic", "--manifest", str(manifest), "--output", str(folder / "frames")]) == 0
    flags = ["--manifest", manifest, "--acoustic", folder / "frames", "--vocab", write_vocabulary(folder)]
    assert binarize.main([str(flag) for flag in (*flags, "--output", folder / "bin")]) == 0
    new = files_below(tmp_path) - before - {"deep/inside/vocab.txt"}
    assert {str(Path(name).parent) for name in new} <= {
        f"deep/inside/{name}" for name in ("frames", "bin", "bin/tokenizer")
    }
    assert len([name for name in new if name.endswith(".npz")]) == len(IDS)
    corpus = Corpus(folder / "bin")
    assert corpus.utterance_ids(range(len(IDS))) == list(IDS)
    assert corpus.acoustic_lengths.min() > 0


def test_an_id_with_a_zero_byte_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"row 2: id holds the control character U\+0000"):
        write_manifest(tmp_path / "m.tsv", [ManifestRow(0, id="a\0b")])


@pytest.mark.parametrize("name", ["%2Ehidden.npz", "failed.tsv", "extractor.json"])
def test_a_link_inside_an_output_folder_is_not_followed(name: str, manifest: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("precious")
    frames = manifest.parent / "frames"
    frames.mkdir()
    (frames / name).symlink_to(mine)
    with suppress(UserError):
        extract.main(["acoustic", "--manifest", str(manifest), "--output", str(frames), "--overwrite"])
    assert mine.read_text() == "precious"


def test_a_link_in_the_place_of_a_folder_that_is_being_written_is_not_followed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "precious.txt").touch()
    (tmp_path / ".bin.writing").symlink_to(mine)
    with pytest.raises(FileExistsError), staged_folder(tmp_path / "bin", "mark"):
        pass
    assert (mine / "precious.txt").exists()


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "tokenizer/../../../x"])
def test_a_bundle_that_names_files_elsewhere_has_none_of_them_opened(name: str, tmp_path: Path) -> None:
    """The file is a pipe: whoever opens it would wait for ever."""
    data_bin = make_data_bin(tmp_path / "corpus", CorpusShape(speakers=2, utterances=2))
    bundle = make_bundle(data_bin, tmp_path / "a" / "b" / "bundle")
    if not Path(name).is_absolute():
        os.mkfifo((bundle / name).resolve())
    configuration = json.loads((bundle / CONFIGURATION).read_text())
    configuration["sha256"][name] = "0" * 64
    (bundle / CONFIGURATION).write_text(json.dumps(configuration))
    assert read_bundle(bundle).description.kind == "prompt"


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("list.m3u8", ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", "secret.wav", "#EXT-X-ENDLIST"]),
        ("list.mp4", ["ffconcat version 1.0", "file secret.wav"]),
        ("list.mkv", ["ffconcat version 1.0", "file '/etc/hostname'"]),
        ("list.mov", ["ffconcat version 1.0", "file 'http://localhost:1/x'"]),
    ],
)
def test_a_film_that_is_a_list_of_others_is_refused(name: str, lines: Sequence[str], tmp_path: Path) -> None:
    pytest.importorskip("av")
    soundfile.write(tmp_path / "secret.wav", np.zeros(16_000), 16_000)
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    with pytest.raises(DefectiveClip, match=name):
        media_facts(tmp_path / name)


def test_no_shell_is_started_anywhere() -> None:
    """A file's name cannot become a command where there is no shell."""
    forbidden = {"system", "popen", "getoutput", "getstatusoutput"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                assert called not in forbidden, f"{path}:{node.lineno}"
                assert not any(keyword.arg == "shell" for keyword in node.keywords), f"{path}:{node.lineno}"
