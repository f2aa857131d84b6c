"""Processes that load batches, and their memory, end with their epoch, in training and in validation."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun


def running_children() -> int:
    return sum(len(path.read_text().split()) for path in Path("/proc/self/task").glob("*/children"))


def shared_maps() -> int:
    return Path("/proc/self/maps").read_text().count("/dev/zero")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("buffer", ["0", "10"])
def test_workers_and_memory_do_not_pile_up_over_epochs(tmp_path: Path, buffer: str, workers: int) -> None:
    data_bin = make_data_bin(tmp_path, CorpusShape(speakers=2, utterances=12))
    flags = ("--num-workers", str(workers), "--data-buffer-size", buffer)
    run = TrainingRun(data_bin, "memobert_pretraining", *flags)
    before = running_children()
    seen, maps = [], []
    gc.disable()  # whether it comes by in time is chance
    try:
        for _ in range(4):
            run.train(run.updates_per_epoch)
            run.validate()
            seen.append(running_children() - before)
            maps.append(shared_maps())
    finally:
        gc.enable()
    assert seen == [2 * workers] * 4  # one data loader trains, one validates
    assert maps[0] > 0 and len(set(maps[1:])) == 1  # the first one's dummy batch keeps its buffer
