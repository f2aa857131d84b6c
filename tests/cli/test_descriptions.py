"""``memobert-inspect`` says what each file and folder is that the product makes or takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.numpy import save_file

from memobert_plugin.cli.descriptions import KNOWN, as_lines, describe
from memobert_plugin.cli.report import main as report
from memobert_plugin.core.errors import UserError
from memobert_plugin.core.version import shipped_model
from memobert_plugin.data.frames import ExtractorInfo, write_extractor_info
from memobert_plugin.inference.outputs import write_answers
from tests.evaluation.sweeps import write_grid
from tests.films import Cue, tone, write_film, write_srt
from tests.inference.test_outputs import LABELS, LINES


def said(path: Path) -> list[str]:
    """The description without the path before the kind."""
    content = describe(path)
    assert content is not None
    return as_lines(content).removeprefix(f"{path}: ").splitlines()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv"])
def test_predictions_in_every_format(tmp_path: Path, suffix: str) -> None:
    write_answers(tmp_path / f"out{suffix}", LINES, LABELS)
    lines = said(tmp_path / f"out{suffix}")
    assert lines[:4] == ["predictions", "utterances: 2", "failed: 1", "labels: anger 1, calm 1"]
    assert (lines[4:] == ["emotions: anger, calm"]) == (suffix != ".jsonl")


def test_films_sound_subtitles_and_their_folder(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", seconds=2.0, fps=20)
    assert said(film)[:3] == ["a film", "seconds: 2", "pictures per second: 20"]
    soundfile.write(tmp_path / "b.wav", tone(1.5), 16_000)
    assert said(tmp_path / "b.wav") == ["a sound file", "seconds: 1.5"]
    write_srt(tmp_path / "a.srt", [Cue(0.5, 2.0, "Stop it."), Cue(2.1, 2.3, "Uh.")])
    lines = ["lines: 2", "usable: 1", "left out: shorter than 1 s 1", "begin: 0.5", "end: 2.3"]
    assert said(tmp_path / "a.srt") == ["subtitles or a transcript", *lines]
    folder = ["a folder of clips", "films: 1", "sound files: 1", "subtitle files: 1"]
    assert said(tmp_path)[:4] == folder


def test_weights_vocabularies_failures_and_trackers(tmp_path: Path) -> None:
    save_file({"a": np.ones((2, 3)), "b": np.ones(4)}, tmp_path / "w.safetensors", {"made_by": "hand"})
    assert said(tmp_path / "w.safetensors") == ["weights", "tensors: 2", "parameters: 10", "remarks: made_by hand"]
    (tmp_path / "vocab.txt").write_text("[PAD]\n[unused0]\n[UNK]\n[\nstop\n")
    assert said(tmp_path / "vocab.txt") == ["a vocabulary of word pieces", "pieces: 5", "special: [PAD], [UNK]"]
    (tmp_path / "failed.tsv").write_text("id\treason\na\tno voice: x\nb\tno voice\nc\tno face\n")
    assert said(tmp_path / "failed.tsv")[1:] == ["utterances: 3", "reasons: no face 1, no voice 2"]
    (tmp_path / "t.csv").write_text("time,left,top,right,bottom\n0.0,1,1,9,9\n0.5,1,1,9,9\n")
    assert said(tmp_path / "t.csv") == ["faces of a tracker (--tracker)", "faces: 2", "begin: 0", "end: 0.5"]


def test_models_of_centered_voices_are_told(tmp_path: Path) -> None:
    assert "speaker mean: subtracted" in said(shipped_model())
    older = Path(__file__).parents[1] / "checkpoints" / "made_at_17cffec" / "memobert_prompt.pt"
    assert not any("speaker mean" in line for line in said(older))
    content = torch.load(older, weights_only=True)
    content["task_state"]["origins"]["acoustic"]["speaker_mean"] = [0.0] * 5
    torch.save(content, tmp_path / "centered.pt")
    assert "speaker mean: subtracted" in said(tmp_path / "centered.pt")


def test_runs_reports_extractions_and_pretrained_models(tmp_path: Path) -> None:
    runs = write_grid(tmp_path / "runs")
    assert report([str(runs), "--out", str(tmp_path / "report"), "--no-pictures"]) == 0
    assert said(tmp_path / "report")[0] == "a report of memobert-report"
    run = said(next(runs.rglob("run.json")).parent)
    assert run[-1].startswith("corpus: ") or any(line.startswith("fold: ") for line in run)
    films = tmp_path / "films"
    (films / "visual").mkdir(parents=True)
    write_extractor_info(films / "visual", ExtractorInfo("denseface", {}))
    (films / "extraction.json").write_text("{}")
    (films / "manifest.tsv").write_text("id\ttext\na_00001\tstop\n")
    made = ["films extracted by memobert-extract film", "frames: visual denseface", "utterances: 1", "with: text 1"]
    assert [line for line in said(films) if not line.startswith("parts")] == made
    bert = tmp_path / "bert"
    bert.mkdir()
    (bert / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 128}))
    assert said(bert)[:3] == ["a model of Hugging Face's", "model type: bert", "hidden size: 128"]
    (bert / "config.json").write_text("[")
    with pytest.raises(UserError, match="not readable as JSON"):
        describe(bert)


def test_a_plan_and_its_sweep(tmp_path: Path) -> None:
    pytest.importorskip("fairseq")
    from memobert_plugin.sweep.records import SweepFolder
    from tests.data_bins import CorpusShape, make_data_bin
    from tests.sweep.sweeps import plan_values, script_run, write_plan

    data_bin = make_data_bin(tmp_path / "corpus", CorpusShape(speakers=2, utterances=8))
    plan = write_plan(tmp_path, plan_values(data_bin))
    assert said(plan)[0] == "a plan of memobert-sweep" and f"corpus: {data_bin}" in said(plan)
    sweep = SweepFolder(tmp_path / "sweep")
    with sweep.launched(plan):
        sweep.prepare(plan, [script_run(tmp_path, "emotion/direct/full/fold1", "pass")], frozenset())
    assert {"runs: 1", "status: waiting 1"} <= set(said(sweep.path))


def test_a_page_is_described_by_its_title(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<!DOCTYPE html>\n<title>a &amp; b: calm, 80 %</title>")
    assert said(tmp_path / "page.html") == ["a page, to open in a browser", "title: a & b: calm, 80 %"]


def test_the_message_about_unknown_files_lists_the_kinds(tmp_path: Path) -> None:
    (tmp_path / "x.xyz").touch()
    with pytest.raises(UserError, match="of unknown kind") as caught:
        describe(tmp_path / "x.xyz")
    assert KNOWN in str(caught.value)


def test_a_folder_of_folds_lists_its_checkpoints(tmp_path: Path) -> None:
    for fold in (1, 2):
        (tmp_path / f"fold{fold}").mkdir()
        (tmp_path / f"fold{fold}" / "checkpoint_best.pt").touch()
    found = describe(tmp_path)
    assert found is not None and found["kind"].startswith("a folder of checkpoints")
    assert found["files"] == ["fold1/checkpoint_best.pt", "fold2/checkpoint_best.pt"]
