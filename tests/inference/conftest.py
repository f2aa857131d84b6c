"""Models that the tests of clips share: trained once, on random frames of the real encoders' sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from memobert_plugin import MEmoBERT
from memobert_plugin.checkpoints.bundle import write_bundle
from memobert_plugin.checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from memobert_plugin.features.denseface.encoder import DenseFace
from memobert_plugin.features.encoders.base import PooledEncoder
from memobert_plugin.features.encoders.logmel import LogMel
from tests.data_bins import CorpusShape, make_data_bin
from tests.inference.models import trained_checkpoint


@pytest.fixture(scope="session")
def clip_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prompted model that says it was trained on DenseFace's and log-mel frames."""
    folder = tmp_path_factory.mktemp("clip_bundle")
    shape = CorpusShape(speakers=3, utterances=8, visual_dim=342, acoustic_dim=80)
    data_bin = make_data_bin(folder / "corpus", shape)
    model = read_fairseq_checkpoint(trained_checkpoint(data_bin, "memobert_prompt", folder / "prompt.pt", updates=10))
    faces = replace(DenseFace.from_shipped().info(choice="speaker", voice={"name": "energy"}), frame_rate=10.0)
    sound = PooledEncoder(LogMel(), 6).info()
    description = replace(model.description, visual_extractor=faces, acoustic_extractor=sound)
    write_bundle(replace(model, description=description), folder / "bundle")
    return folder / "bundle"


@pytest.fixture(scope="session")
def clip_model(clip_bundle: Path) -> MEmoBERT:
    """The same, loaded."""
    return MEmoBERT.from_pretrained(clip_bundle)
