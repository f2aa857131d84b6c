"""Memory that was freed in the middle of the heap goes back to the system, before workers would inherit it."""

from __future__ import annotations

import mmap
import platform
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.fairseq_quirks import return_free_memory
from memobert_plugin.tasks import corpus_task
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun

BLOCK, BLOCKS = 100 << 10, 600


def resident() -> int:
    """Bytes in RAM."""
    return mmap.PAGESIZE * int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps such memory and can be asked for it")
def test_holes_in_the_heap_are_returned() -> None:
    blocks = [np.ones(BLOCK, np.uint8) for _ in range(BLOCKS)]
    del blocks[::2]  # each between two blocks that stay
    before = resident()
    return_free_memory()
    assert before - resident() > BLOCK * BLOCKS // 4
    assert all(block.all() for block in blocks)


@pytest.mark.parametrize("workers", [0, 1])
def test_it_is_done_before_workers_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    data_bin = make_data_bin(tmp_path, CorpusShape(speakers=3, utterances=10))
    run = TrainingRun(data_bin, "memobert_finetune", "--fold", "1")
    run.task.load_dataset("train")
    times: list[None] = []
    monkeypatch.setattr(corpus_task, "return_free_memory", lambda: times.append(None))
    run.task.get_batch_iterator(run.task.dataset("train"), max_sentences=4, num_workers=workers)
    assert len(times) == workers
