"""Memory that nobody uses goes back to the system in the middle of a training."""

from __future__ import annotations

import ctypes
import mmap
import platform
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.tasks import free_memory
from memobert_plugin.tasks.free_memory import return_free_memory
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun

BLOCK, BLOCKS = 100 << 10, 600


def resident() -> int:
    """Bytes in RAM."""
    return mmap.PAGESIZE * int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps such memory and can be asked for it")
def test_holes_in_the_heap_are_returned_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [np.ones(BLOCK, np.uint8) for _ in range(BLOCKS)]
    holes = blocks[::2]  # each between two blocks that stay
    before = resident()
    blocks, holes = blocks[1::2], []
    monkeypatch.setattr(free_memory, "_last", free_memory.time.monotonic())
    return_free_memory()
    kept = before - resident()
    monkeypatch.setattr(free_memory, "_last", -free_memory._SECONDS)
    return_free_memory()
    assert before - resident() > max(kept, 0) + BLOCK * BLOCKS // 4
    assert len(blocks) == BLOCKS // 2 and not holes


def test_trainings_return_it_at_the_start_of_epochs_and_validations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_bin = make_data_bin(tmp_path, CorpusShape(speakers=3, utterances=10))
    run = TrainingRun(data_bin, "memobert_finetune", "--fold", "1")
    trimmed: list[int] = []
    library = type("Library", (), {"malloc_trim": staticmethod(trimmed.append)})
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    for begin in (run.task.begin_epoch, run.task.begin_valid_epoch):
        monkeypatch.setattr(free_memory, "_last", -free_memory._SECONDS)
        begin(1, run.model)
    assert trimmed == [0, 0]
