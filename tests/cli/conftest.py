"""A model of text and sound, and two clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from memobert_plugin.checkpoints.bundle import write_bundle
from memobert_plugin.checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from memobert_plugin.features.encoders.base import PooledEncoder
from memobert_plugin.features.encoders.logmel import LogMel
from tests.data_bins import CorpusShape, make_data_bin
from tests.films import tone


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.host import TrainingRun  # here: without fairseq the tests that need this model are left out

    folder = tmp_path_factory.mktemp("model")
    data_bin = make_data_bin(folder / "corpus", CorpusShape(speakers=2, utterances=8, visual_dim=0, acoustic_dim=80))
    run = TrainingRun(data_bin, "memobert_prompt", "--fold", "1", "--protocol", "all_but_one")
    run.train(3)
    model = read_fairseq_checkpoint(run.save(folder / "checkpoint.pt"))
    info = PooledEncoder(LogMel(), 3).info()
    write_bundle(replace(model, description=replace(model.description, acoustic_extractor=info)), folder / "bundle")
    return folder / "bundle"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name, seconds in (("a.wav", 1.0), ("b.wav", 2.0)):
        soundfile.write(folder / name, tone(seconds), 16_000)
    return folder
