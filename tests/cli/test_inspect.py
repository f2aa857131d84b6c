"""``memobert-inspect`` describes data-bins and other files, and prints the plugin's folder."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import memobert_plugin
from memobert_plugin.cli.binarize import main as binarize
from memobert_plugin.cli.inspect import main
from memobert_plugin.core.errors import UserError
from memobert_plugin.data.frames import ExtractorInfo, write_extractor_info, write_frames
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from tests.data.sources import Sources


@pytest.fixture
def data_bin(tmp_path: Path) -> Path:
    sources = Sources(tmp_path)
    info = ExtractorInfo("logmel", {"pool": 3}, "ab" * 32, 4.0, version="1.2")
    write_extractor_info(tmp_path / "acoustic", info)
    sources.rows[5] = dataclasses.replace(sources.rows[5], start=0.0, end=3600.0)
    return sources.binarize().output


def test_it_tells_counts_lengths_dimensions_hours_and_extractors(
    data_bin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(data_bin)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines]
    assert lines[0] == f"{data_bin}: 6 utterances, 1.00 hours"
    assert ["visual", "5", "16", "frames", "6", "1", "1.2", "2", "3", "4", "5.6", "5.92", "6"] in rows
    assert ["acoustic", "5", "25", "frames", "5", "1", "1.4", "3", "5", "7", "8.6", "8.92", "9"] in rows
    assert (
        f"acoustic frames by logmel; options {{'pool': 3}}; weights_sha256 {'ab' * 32}; frame_rate 4.0; version 1.2"
        in lines
    )
    assert "visual frames by unknown" in lines
    assert "expressions: neutral, happiness, surprise, sadness, anger, disgust, fear, contempt" in lines
    assert ["train", "5", "1.00"] in rows
    assert ["anger", "2", "0.00"] in rows
    assert ["(none)", "2", "1.00"] in rows
    assert ["speaker", "utterances", "hours", "anger", "sad", "(none)"] in rows
    assert ["S10", "2", "0.00", "0", "2", "0"] in rows


def test_frames_beyond_the_default_limits_are_said_when_writing_and_inspecting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames 30 ms apart, as of older extractions: 128 of them are 3.84 s, and 64 are read."""
    write_manifest(tmp_path / "m.tsv", [ManifestRow(0, "u", "s", "s", "train", "stop", "sad")])
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nstop\n")
    (tmp_path / "acoustic").mkdir()
    write_frames(tmp_path / "acoustic" / "u.npz", np.zeros((128, 2), np.float32))
    write_extractor_info(tmp_path / "acoustic", ExtractorInfo("logmel", {"pool": 3}, frame_rate=100 / 3))
    paths = {"--manifest": "m.tsv", "--vocab": "vocab.txt", "--acoustic": "acoustic", "--output": "bin"}
    assert binarize([part for flag, name in paths.items() for part in (flag, str(tmp_path / name))]) == 0
    said = "50.0 % of the acoustic frames lie beyond the first 64 (1.92 s), which training reads by default"
    assert f"note: {said}; --max-acoustic-seconds reads more" in capsys.readouterr().out
    assert main([str(tmp_path / "bin")]) == 0
    assert said in capsys.readouterr().out
    assert main([str(tmp_path / "bin"), "--json"]) == 0
    acoustic = json.loads(capsys.readouterr().out)["modalities"]["acoustic"]
    assert (acoustic["default_limit"], acoustic["share_beyond_default_limit"]) == (64, 0.5)


def test_json_holds_the_same(data_bin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(data_bin), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["utterances"] == 6
    assert told["hours"] == pytest.approx(1.0 + 25 / 4 / 3600)
    assert {name: group["utterances"] for name, group in told["splits"].items()} == {"train": 5, "valid": 1}
    assert {name: group["utterances"] for name, group in told["emotions"].items()} == {"anger": 2, "sad": 2, "": 2}
    assert list(told["speakers"]) == ["S2", "S9", "S10"]
    assert told["speakers"]["S9"]["emotions"] == {"anger": 2}
    assert told["modalities"]["text"]["percentiles"]["50"] == 8
    assert told["modalities"]["visual"]["dim"] == 6
    assert told["modalities"]["acoustic"]["extractor"]["version"] == "1.2"


def test_text_alone_of_unknown_length_is_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_bin = Sources(tmp_path).binarize(modalities="").output
    assert main([str(data_bin)]) == 0
    printed = capsys.readouterr().out
    assert "6 utterances, 0.00 hours (duration of 6 unknown)" in printed
    assert "text only" in printed
    assert "visual" not in printed


def test_many_speakers_are_cut_short_in_the_table_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = Sources(tmp_path, utterances=60)
    sources.rows = [dataclasses.replace(row, speaker=f"film {row.line}") for row in sources.rows]
    data_bin = sources.binarize(modalities="").output
    main([str(data_bin)])
    assert "and 20 more speakers" in capsys.readouterr().out
    main([str(data_bin), "--json"])
    assert len(json.loads(capsys.readouterr().out)["speakers"]) == 60


def test_the_histogram_is_a_picture(data_bin: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert main([str(data_bin), "--plot", str(tmp_path / "lengths.png")]) == 0
    assert (tmp_path / "lengths.png").read_bytes().startswith(b"\x89PNG")
    for name in ("lengths.xyz", "none/lengths.png"):
        with pytest.raises(UserError, match=r"lengths\.\w+: the picture cannot be written"):
            main([str(data_bin), "--plot", str(tmp_path / name)])


def test_without_matplotlib_the_extra_is_named(data_bin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r'--plot: matplotlib is not installed; pip install "\.\[plot\]"'):
        main([str(data_bin), "--plot", "lengths.png"])


def test_the_user_dir_is_the_packages_folder_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--user-dir"]) == 0
    assert memobert_plugin.__file__ is not None
    assert capsys.readouterr().out == f"{Path(memobert_plugin.__file__).resolve().parent}\n"


def test_wrong_use_is_one_line(data_bin: Path) -> None:
    with pytest.raises(UserError, match="no data-bin given"):
        main([])
    with pytest.raises(UserError, match="--user-dir: prints one directory and takes nothing else"):
        main(["--user-dir", str(data_bin)])


@pytest.mark.parametrize("command", ["binarize", "inspect"])
def test_help_pulls_in_no_heavy_package(command: str) -> None:
    code = (
        f"import sys; from memobert_plugin.cli.{command} import build_parser; build_parser().format_help(); "
        "print(*{'torch', 'fairseq', 'matplotlib', 'tokenizers', 'sentencepiece'} & set(sys.modules))"
    )
    root = Path(memobert_plugin.__file__ or "").parents[1]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


MADE = Path(__file__).parents[1] / "checkpoints" / "made_at_17cffec"


def said(path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main([str(path)]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_manifest_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.csv"
    path.write_text("id,text,emotion,rating\na,one,sad,1\nb,,happy,2\nc,two,sad,3\n")
    assert said(path, capsys) == [
        f"{path}: a manifest",
        "utterances: 3",
        "with: text 2",
        "emotions: happy 1, sad 2",
        "notes: columns that are not used: rating",
    ]


def test_spellings_of_a_manifest_are_joined_as_binarize_joins_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.csv"
    path.write_text("id,emotion,split\na,Happy,train\nb,happy,Train\nc,happy ,train\n")
    assert said(path, capsys)[2:] == [
        "emotions: Happy 3",
        "splits: train 3",
        "notes: emotion 'happy', 'happy ' counted as 'Happy': they differ in case or blanks only, "
        "split 'Train' counted as 'train': they differ in case or blanks only",
    ]


def test_frames_and_their_folder_are_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_extractor_info(tmp_path, ExtractorInfo("logmel", {"pool": 6}, frame_rate=16.5))
    write_frames(tmp_path / "a.npz", np.ones((3, 4), np.float32))
    assert said(tmp_path / "a.npz", capsys)[1:] == ["frames: 3", "dimensions: 4", "type: float32"]
    assert said(tmp_path, capsys) == [
        f"{tmp_path}: a folder of frames",
        "utterances: 1",
        "extractor: name logmel, options pool 6, frame_rate 16.5",
    ]


def test_models_and_predictions_are_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = said(MADE / "bundle", capsys)
    assert bundle[:2] == [f"{MADE / 'bundle'}: a bundle of memobert-export", "trained for: prompt"]
    assert "labels: anger, happy, neutral, sad" in bundle
    checkpoint = said(MADE / "memobert_prompt.pt", capsys)
    assert checkpoint[0].endswith("memobert_prompt.pt: a checkpoint of fairseq-train")
    assert {
        "task: memobert_prompt",
        "updates: 4",
        "verbalizer: anger=angry happy=happy neutral=neutral sad=sad",
    } <= set(checkpoint)
    torch.save({"a": torch.ones(2, 3)}, tmp_path / "x.pt")
    assert said(tmp_path / "x.pt", capsys)[1:] == ["tensors: 1", "parameters: 6"]
    path = tmp_path / "out.jsonl"
    path.write_text('{"id": "a", "label": "sad", "probabilities": {}}\n{"id": "b", "label": "sad"}\n')
    assert said(path, capsys) == [f"{path}: predictions", "utterances: 2", "labels: sad 2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.xyz", "", "of unknown kind; memobert-inspect reads data-bins, bundles"),
        ("x.mp4", "", "x.mp4: .*give another file"),
        ("x.npz", "no archive", "not readable as an .npz"),
        ("x.pt", "no archive", "is damaged"),
        ("x.tsv", "name\n", "no column id"),
        ("x.jsonl", '{"id": 1, "probabilities": 2}\n[\n', "row 2: not a JSON object"),
    ],
)
def test_damaged_and_unknown_files_end_in_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        main([str(tmp_path / name)])
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such file or folder"):
        main([str(tmp_path / "nothing")])
