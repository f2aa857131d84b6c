"""Limits in seconds in the training tasks, their log lines, and the limits of exported models."""

from __future__ import annotations

from pathlib import Path

import pytest

from memobert_plugin.checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 10 frames per second in both streams."""
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=2, utterances=6))


@pytest.mark.parametrize("task", ["memobert_pretraining", "memobert_prompt", "memobert_finetune"])
def test_seconds_overrule_frames_and_travel_with_the_checkpoint(
    data_bin: Path, tmp_path: Path, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    fold = () if task == "memobert_pretraining" else ("--fold", "1", "--protocol", "all_but_one")
    with caplog.at_level("INFO"):
        run = TrainingRun(data_bin, task, *fold, "--max-acoustic-seconds", "0.5", "--max-visual-seconds", "0.41")
    dataset = run.task.dataset("train")
    lengths = dataset.collater(range(len(dataset)))["net_input"]
    assert (lengths["visual_lengths"].max(), lengths["acoustic_lengths"].max()) == (4, 5)
    of_rows = dataset.corpus.acoustic_lengths[dataset.rows]
    share = 100 * (of_rows - of_rows.clip(max=5)).sum() / of_rows.sum()
    assert f"train: {share:.1f} % of the acoustic frames lie beyond the first 5 (0.5 s)" in caplog.text
    assert "of the visual frames lie beyond the first 4 (0.4 s)" in caplog.text
    run.train(1)
    limits = read_fairseq_checkpoint(run.save(tmp_path / "model.pt")).description.limits
    assert (limits["visual_frames"], limits["acoustic_frames"]) == (4, 5)


def test_seconds_beyond_the_position_tables_are_refused(data_bin: Path) -> None:
    with pytest.raises(SystemExit, match="--max-acoustic-frames: 90 positions"):
        TrainingRun(data_bin, "memobert_pretraining", "--max-acoustic-seconds", "9")
