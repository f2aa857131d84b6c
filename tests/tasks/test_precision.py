"""Training in half and mixed precision on a CPU; fairseq's ``--fp16`` itself needs CUDA."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun, load_safely

# Where a gradient overflows, fairseq empties CUDA's cache, which fails here; with a low scale none overflows.
HALF = ("--memory-efficient-fp16", "--fp16-init-scale", "1")
PRECISIONS = {"memory-efficient fp16": HALF, "amp": ("--amp",)}


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=4, utterances=24))


def run_of(data_bin: Path, task: str, *flags: str) -> TrainingRun:
    return TrainingRun(
        data_bin, task, "--encoder-embed-dim", "32",
        "--lr", "3e-3", "--batch-size", "8", *flags,
    )  # fmt: skip


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("task", ["memobert_pretraining", "memobert_prompt", "memobert_finetune"])
def test_losses_are_finite_and_fall(data_bin: Path, tmp_path: Path, precision: str, task: str) -> None:
    run = run_of(data_bin, task, *PRECISIONS[precision])
    half = precision != "amp"
    assert {parameter.dtype for parameter in run.model.parameters()} == {torch.float16 if half else torch.float32}
    before = run.validate()
    assert all(np.isfinite(step["loss"]) for step in run.train(30) if step["sample_size"])
    after = run.validate()
    # The generated distributions have nothing to learn from, so mvfc is only part of the mean.
    names = ["wwmlm_loss", "mvfr_loss", "mafr_loss", "loss"] if task == "memobert_pretraining" else ["loss"]
    assert [name for name in names if not after[name] < before[name]] == []
    again = run_of(data_bin, task, *PRECISIONS[precision])
    again.trainer.load_checkpoint(str(run.save(tmp_path / "checkpoint.pt")))
    assert again.validate()["loss"] == pytest.approx(after["loss"], rel=1e-4)
    assert all(torch.isfinite(value).all() for value in load_safely(tmp_path / "checkpoint.pt")["model"].values())


@pytest.mark.parametrize("task", ["memobert_pretraining", "memobert_finetune"])
def test_half_precision_follows_float32(data_bin: Path, task: str) -> None:
    """The same updates from the same start."""
    single, half = run_of(data_bin, task), run_of(data_bin, task, *HALF)
    losses = [[step["loss"] for step in run.train(10) if step["sample_size"]] for run in (single, half)]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


def test_recomputed_activations_work_in_half_precision(data_bin: Path) -> None:
    plain, recomputed = (
        run_of(data_bin, "memobert_pretraining", *HALF, *flags) for flags in ([], ["--checkpoint-activations"])
    )
    losses = [[step["loss"] for step in run.train(6)] for run in (plain, recomputed)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
