"""--center-frames: the mean training frame is projected to zero when a training starts from scratch, and only then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.tasks.frame_statistics import frame_sample
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=3, utterances=12))


def test_the_mean_is_that_of_all_frames(data_bin: Path) -> None:
    corpus = Corpus(data_bin)
    assert corpus.visual is not None and corpus.meta.visual_dim
    frames = np.concatenate([corpus.visual.view(row) for row in range(len(corpus))]).reshape(-1, corpus.meta.visual_dim)
    sample = frame_sample(corpus.visual, np.arange(len(corpus)), corpus.meta.visual_dim)
    assert np.allclose(sample.mean(0), frames.astype(np.float64).mean(0), atol=1e-6)


@pytest.mark.parametrize("task", ["memobert_pretraining", "memobert_finetune", "memobert_prompt"])
def test_projections_start_around_zero_and_nothing_else_changes(data_bin: Path, task: str) -> None:
    corpus = Corpus(data_bin)
    plain, centred = TrainingRun(data_bin, task), TrainingRun(data_bin, task, "--center-frames")
    changed = {name for name, value in centred.parameters().items() if not torch.equal(value, plain.parameters()[name])}
    assert changed == {"visual_embedder.linear.bias", "acoustic_embedder.linear.bias"}
    for embedder, reader, dim in (
        (centred.model.visual_embedder, corpus.visual, corpus.meta.visual_dim),
        (centred.model.acoustic_embedder, corpus.acoustic, corpus.meta.acoustic_dim),
    ):
        assert reader is not None and dim
        trained = [reader.view(row) for row in centred.task.training_rows()]
        frames = torch.from_numpy(np.concatenate(trained).astype(np.float32)).view(-1, dim)
        assert embedder.linear(frames).mean(0).abs().max() < 1e-4


def test_a_checkpoint_that_is_loaded_overrules_it(data_bin: Path, tmp_path: Path) -> None:
    trained = TrainingRun(data_bin, "memobert_pretraining")
    trained.train(1)
    path = trained.save(tmp_path / "checkpoint.pt")
    loaded = TrainingRun(data_bin, "memobert_finetune", "--center-frames", "--finetune-from-model", str(path))
    loaded.config.checkpoint.save_dir = str(tmp_path / "new")
    checkpoint_utils.load_checkpoint(loaded.config.checkpoint, loaded.trainer)
    name = "visual_embedder.linear.bias"
    assert torch.equal(loaded.parameters()[name], trained.parameters()[name])


def test_frames_that_are_centered_on_their_speakers_and_frames_that_are_not_do_not_mix(
    data_bin: Path, tmp_path: Path
) -> None:
    shape = CorpusShape(speakers=3, utterances=12)
    centered = make_data_bin(tmp_path / "centered", shape, center_speakers=True)
    runs = {
        name: TrainingRun(folder, "memobert_pretraining")
        for name, folder in (("centered", centered), ("other", data_bin))
    }
    for run in runs.values():
        run.train(1)
    path, other = (run.save(tmp_path / f"{name}.pt") for name, run in runs.items())
    start = ("memobert_prompt", "--fold", "1", "--finetune-from-model")
    TrainingRun(centered, *start, str(path)).train(1)
    with pytest.raises(
        SystemExit, match=r"centered\.pt: it reads speech frames less their speaker's mean, the data-bin"
    ):
        TrainingRun(data_bin, *start, str(path))
    with pytest.raises(SystemExit, match=r"other\.pt: it reads speech frames as they are, the data-bin's are centered"):
        TrainingRun(centered, *start, str(other))
    task = TrainingRun(centered, "memobert_pretraining").task
    with pytest.raises(UserError, match="does not fit the model: it reads speech frames less their speaker's mean"):
        task.refuse_unfit(Corpus(data_bin))


def test_a_data_bin_whose_frames_were_made_otherwise_is_named_once(
    data_bin: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = TrainingRun(data_bin, "memobert_pretraining")
    run.train(1)
    start = run.save(tmp_path / "start.pt")
    other = Path(shutil.copytree(data_bin, tmp_path / "other"))
    meta = json.loads((other / "corpus.json").read_text())
    meta["acoustic_extractor"]["weights_sha256"] = "of another encoder"
    meta["acoustic_extractor"]["frame_rate"] *= 2
    (other / "corpus.json").write_text(json.dumps(meta))
    for folder, times in ((data_bin, 0), (other, 1)):
        caplog.clear()
        TrainingRun(folder, "memobert_prompt", "--fold", "1", "--finetune-from-model", str(start))
        told = "start.pt: trained on acoustic frames of another making than the data-bin's (frame_rate"
        assert caplog.text.count(told) == times
    task = TrainingRun(f"{data_bin}:{other}", "memobert_pretraining").task
    for epoch in (1, 2, 3, 4):
        task.load_dataset("train", epoch=epoch)
    assert caplog.text.count("other: its acoustic frames are not made as the model's (frame_rate") == 1


def test_models_without_these_projections_and_corpora_without_a_modality_are_left_alone(tmp_path: Path) -> None:
    without_faces = make_data_bin(tmp_path, CorpusShape(speakers=3, utterances=6, visual_dim=0))
    run = TrainingRun(without_faces, "memobert_finetune", "--center-frames")
    assert run.model.visual_embedder is None
