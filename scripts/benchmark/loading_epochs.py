"""Batches as a training draws them: the pre-training task's own iterator and masks, and a reader to compare with."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.data.iterators import EpochBatchIterator
from torch import Tensor

import memobert_plugin

memobert_plugin.register()

from memobert_plugin.data.corpus import Corpus  # noqa: E402
from memobert_plugin.objectives.base import draw_objective  # noqa: E402
from memobert_plugin.tasks.pretraining import MEmoBERTPretrainingTask, PretrainingConfig  # noqa: E402
from memobert_plugin.tasks.resuming import end_workers  # noqa: E402

SEED = 1
CONTAINERS = ("text", "word_start", "visual", "expression", "acoustic")


def open_task(data_bin: Path) -> MEmoBERTPretrainingTask:
    """The pre-training task with its training set open."""
    task = MEmoBERTPretrainingTask(PretrainingConfig(data=str(data_bin), seed=SEED, update_freq=[1]))
    task.load_dataset("train")
    return task


def epoch_of(task: MEmoBERTPretrainingTask, max_tokens: int, workers: int, epoch: int = 1) -> EpochBatchIterator:
    """An epoch's batches, cut as fairseq's trainer has them cut."""
    flags = {"max_tokens": max_tokens, "num_workers": workers, "seed": SEED, "epoch": epoch}
    return task.get_batch_iterator(task.dataset("train"), **flags)


def masked_batches(task: MEmoBERTPretrainingTask, batches: EpochBatchIterator) -> Iterator[dict[str, Any]]:
    """Every batch as the model reads it."""
    for update, sample in enumerate(batches.next_epoch_itr()):
        yield task.masked(sample, draw_objective(SEED, update, task.ratios), update)


class Loaded:
    """Counts what was loaded, and when the first of it came."""

    def __init__(self) -> None:
        self.utterances = self.tokens = self.batches = 0
        self.first_after = 0.0

    def load(self, data_bin: Path, max_tokens: int, workers: int, most: int) -> None:
        """Open the data-bin, start an epoch and load and mask its first ``most`` batches."""
        started = time.perf_counter()
        task = open_task(data_bin)
        epoch = epoch_of(task, max_tokens, workers)
        batches = masked_batches(task, epoch)
        self.utterances = self.tokens = self.batches = 0
        for sample in batches:
            if not self.batches:
                self.first_after = time.perf_counter() - started
            self.utterances += sample["nsentences"]
            self.tokens += sample["ntokens"]
            self.batches += 1
            if self.batches == most:
                break
        batches.close()
        # At once: the garbage collector would wait five seconds for each, in a later candidate's time.
        end_workers(epoch)


class PlainReader:
    """What is wanted of a memory-mapped corpus at the least: the same utterances' arrays, joined; nothing is masked.

    Args:
        data_bin: the corpus.
        max_tokens: as of the batches it is compared with.
    """

    def __init__(self, data_bin: Path, max_tokens: int) -> None:
        self._corpus = Corpus(data_bin)
        task = open_task(data_bin)
        self._rows = [task.dataset("train").rows[batch] for batch in epoch_of(task, max_tokens, 0).frozen_batches]
        limits = task.limits()
        widths = (
            1,
            1,
            self._corpus.meta.visual_dim,
            len(self._corpus.meta.expression_classes),
            self._corpus.meta.acoustic_dim,
        )
        longest = (limits.pieces, limits.pieces, limits.visual_frames, limits.visual_frames, limits.acoustic_frames)
        self._most = [width * length for width, length in zip(widths, longest, strict=True)]

    def load(self, most: int) -> None:
        """Read the first ``most`` batches."""
        for rows in self._rows[:most]:
            for name, longest in zip(CONTAINERS, self._most, strict=True):
                _joined(getattr(self._corpus, name), rows, longest)


def _joined(reader: Any, rows: np.ndarray, longest: int) -> Tensor:
    return torch.from_numpy(np.concatenate([reader.view(row)[:longest] for row in rows]))


def forget(data_bin: Path) -> None:
    """Ask the system to drop a data-bin's pages from its cache; those that a process has mapped stay."""
    gc.collect()  # lets go of maps in cycles
    for path in data_bin.glob("*.bin"):
        with open(path, "rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def quiet_fairseq() -> Iterator[None]:
    """Without fairseq's log and what torch says of its data loader."""
    logging.disable(logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
