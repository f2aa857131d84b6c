"""Small trained models for tests, and the utterances of the data-bin they were trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from memobert_plugin.checkpoints.bundle import write_bundle
from memobert_plugin.checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from memobert_plugin.data.frames import frame_file, read_frames
from memobert_plugin.data.manifest import read_manifest
from memobert_plugin.features.denseface.encoder import DenseFace
from memobert_plugin.features.encoders.base import PooledEncoder
from memobert_plugin.features.encoders.logmel import LogMel
from memobert_plugin.inference.utterance import Utterance
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun

MANIFEST = "manifest.tsv"


def trained_checkpoint(data_bin: Path, task: str, path: Path, *flags: str, updates: int = 40) -> Path:
    """A checkpoint of some updates at a rate that makes its answers differ from utterance to utterance."""
    fold = () if task == "memobert_pretraining" else ("--fold", "1")
    run = TrainingRun(data_bin, task, *fold, "--lr", "3e-3", *flags)
    run.train(updates)
    return run.save(path)


def utterances_of(data_bin: Path) -> list[Utterance]:
    """Every utterance of a generated data-bin, frames and text as they were before they were binarized."""
    folder, found = data_bin.parent, []
    for row in read_manifest(folder / MANIFEST):
        frames = {name: read_frames(frame_file(folder / name, row.id)) for name in ("visual", "acoustic")}
        visual, acoustic = frames["visual"], frames["acoustic"]
        found.append(
            Utterance(
                text=row.text,
                visual=visual.frames if visual else None,
                expression=visual.expression if visual else None,
                acoustic=acoustic.frames if acoustic else None,
                name=row.id,
            )
        )
    return found


def bundle_for_clips(folder: Path, task: str, *flags: str) -> Path:
    """A bundle that says it was trained on DenseFace's and log-mel frames."""
    shape = CorpusShape(speakers=3, utterances=8, visual_dim=342, acoustic_dim=80, dimensions=True, several=True)
    data_bin = make_data_bin(folder / "corpus", shape)
    model = read_fairseq_checkpoint(trained_checkpoint(data_bin, task, folder / "x.pt", *flags, updates=10))
    faces = replace(DenseFace.from_shipped().info(choice="speaker", voice={"name": "energy"}), frame_rate=10.0)
    sound = PooledEncoder(LogMel(), 6).info()
    description = replace(model.description, visual_extractor=faces, acoustic_extractor=sound)
    write_bundle(replace(model, description=description), folder / "bundle")
    return folder / "bundle"


def logmel_bundle(checkpoint: Path, folder: Path, pool: int = 3) -> Path:
    """A bundle whose speech frames are said to be log-mel filter banks, for a checkpoint of 80-d acoustic frames."""
    model = read_fairseq_checkpoint(checkpoint)
    info = PooledEncoder(LogMel(), pool).info()
    write_bundle(replace(model, description=replace(model.description, acoustic_extractor=info)), folder)
    return folder
