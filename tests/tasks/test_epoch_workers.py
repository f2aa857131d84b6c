"""Processes that load batches end with their epoch, in training and in validation."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun

WORKERS = 1


def running_children() -> int:
    return sum(len(path.read_text().split()) for path in Path("/proc/self/task").glob("*/children"))


@pytest.mark.parametrize("buffer", ["0", "10"])
def test_workers_do_not_pile_up_over_epochs(tmp_path: Path, buffer: str) -> None:
    data_bin = make_data_bin(tmp_path, CorpusShape(speakers=2, utterances=12))
    flags = ("--num-workers", str(WORKERS), "--data-buffer-size", buffer)
    run = TrainingRun(data_bin, "memobert_pretraining", *flags)
    before = running_children()
    seen = []
    gc.disable()  # whether it comes by in time is chance
    try:
        for _ in range(4):
            run.train(run.updates_per_epoch)
            run.validate()
            seen.append(running_children() - before)
    finally:
        gc.enable()
    assert seen == [2 * WORKERS] * 4  # one data loader trains, one validates
