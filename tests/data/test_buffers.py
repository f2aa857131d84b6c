"""Frames of batches in memory that is used again: never while somebody still looks at them."""

from __future__ import annotations

import errno
import functools
import gc
import mmap
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from memobert_plugin.data import buffers as buffer_pool
from memobert_plugin.data.buffers import BufferPool, bytes_for
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.tasks.utterance_dataset import UtteranceDataset
from tests.data_bins import CorpusShape, make_data_bin
from tests.tasks.test_utterance_dataset import dataset_of

FRAMES = ("visual", "acoustic", "expression")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> UtteranceDataset:
    shape = CorpusShape(speakers=2, utterances=20)
    return dataset_of(Corpus(make_data_bin(tmp_path_factory.mktemp("corpus"), shape)), with_words=True)


def frames_of(batch: dict[str, Any]) -> dict[str, Tensor]:
    return {name: batch["net_input"][name] if name != "expression" else batch[name] for name in FRAMES}


def loader(dataset: UtteranceDataset, pool: BufferPool, workers: int, **more: Any) -> DataLoader[Any]:
    batches = [[first, first + 1] for first in range(0, len(dataset), 2)]
    collater = functools.partial(dataset.collater, pool=pool)
    return DataLoader(dataset, batch_sampler=batches, collate_fn=collater, num_workers=workers, **more)


def fill_with(value: float) -> Callable[[np.ndarray], None]:
    def fill(flat: np.ndarray) -> None:
        flat[:] = value

    return fill


def in_buffers(pool: BufferPool, tensor: Tensor) -> bool:
    starts = [np.frombuffer(buffer, np.uint8).ctypes.data for buffer in pool._buffers]
    return any(start <= tensor.data_ptr() < start + pool.size for start in starts)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("buffers", [0, 1, 3, 40])
def test_batches_that_are_kept_stay_as_they_are(dataset: UtteranceDataset, workers: int, buffers: int) -> None:
    """However few buffers there are: the others are in fresh memory."""
    pool = BufferPool(workers, buffers, 1 << 20)
    kept = list(loader(dataset, pool, workers))
    inside = [in_buffers(pool, frames_of(batch)["acoustic"]) for batch in kept]
    assert sum(inside) == min(buffers * max(workers, 1), len(kept))
    for number, batch in enumerate(kept):
        expected = frames_of(dataset.collater([2 * number, 2 * number + 1]))
        for name, frames in frames_of(batch).items():
            assert frames.shape == expected[name].shape
            assert torch.equal(frames, expected[name])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_that_are_let_go_make_way_for_the_next(dataset: UtteranceDataset, workers: int) -> None:
    pool = dataset.buffer_pool(workers, 1, max_tokens=None, max_sentences=2)
    inside: list[bool] = []
    for _ in range(3):
        for batch in loader(dataset, pool, workers):
            frames = frames_of(batch)
            inside.append(all(in_buffers(pool, tensor) for tensor in frames.values() if tensor.numel()))
            del batch, frames
    assert all(inside) and len(pool._buffers) < len(inside) == 3 * len(dataset) // 2
    gc.collect()
    assert not pool._taken.any()


def test_a_buffer_is_taken_until_its_last_tensor_is_gone() -> None:
    pool = BufferPool(0, 1, bytes_for([6, 5]))
    buffer = pool.take(bytes_for([6, 5]))
    assert buffer is not None
    first, second = buffer.write(2, 3, fill_with(1)), buffer.write(1, 5, fill_with(2))
    row = second[0]
    del buffer, first, second
    assert pool.take(10) is None
    assert row.tolist() == [2.0] * 5
    del row
    assert pool.take(10) is not None


def test_frames_outlive_the_pool_that_lent_them() -> None:
    pool = BufferPool(0, 1, 100)
    buffer = pool.take(20)
    assert buffer is not None
    frames = buffer.write(2, 5, fill_with(3))
    del pool, buffer
    gc.collect()
    assert frames.tolist() == [[3.0] * 5] * 2


def test_arrays_begin_on_cache_lines_and_do_not_overlap() -> None:
    pool = BufferPool(0, 1, 1000)
    buffer = pool.take(bytes_for([1, 33, 1]))
    assert buffer is not None
    arrays = [buffer.write(1, width, fill_with(width)) for width in (1, 33, 1)]
    assert [array.data_ptr() % 64 for array in arrays] == [0, 0, 0]
    assert [array.tolist() for array in arrays] == [[[1.0]], [[33.0] * 33], [[1.0]]]
    assert arrays[2].data_ptr() + 2 - arrays[0].data_ptr() <= bytes_for([1, 33, 1])


@pytest.mark.parametrize(("size", "wanted"), [(0, 1), (100, 101), (100, 0)])
def test_what_does_not_fit_is_put_elsewhere(size: int, wanted: int) -> None:
    assert BufferPool(0, 2, size).take(wanted) is None


def test_where_the_system_grants_no_memory_batches_go_elsewhere(
    dataset: UtteranceDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mmap.mmap

    def strict(number: int, size: int) -> mmap.mmap:
        if size >= 1 << 20:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return real(number, size)

    monkeypatch.setattr(buffer_pool, "mmap", SimpleNamespace(mmap=strict))
    pool = BufferPool(0, 3, 1 << 20)
    assert pool.take(10) is None
    assert len(list(loader(dataset, pool, 0))) == len(dataset) // 2


def test_memory_of_workers_is_not_for_the_training_process() -> None:
    assert BufferPool(2, 3, 100).take(10) is None


@pytest.mark.slow
def test_workers_that_are_not_forked_share_fresh_memory(dataset: UtteranceDataset) -> None:
    pool = BufferPool(1, 3, 1 << 20)
    assert pickle.loads(pickle.dumps(pool)).take(10) is None
    batches = list(loader(dataset, pool, 1, multiprocessing_context="spawn"))
    assert torch.equal(frames_of(batches[3])["visual"], frames_of(dataset.collater([6, 7]))["visual"])


@pytest.mark.parametrize(("max_tokens", "max_sentences"), [(200, None), (None, 4), (200, 4), (None, None)])
def test_a_buffer_holds_every_batch_that_the_limits_allow(
    dataset: UtteranceDataset, max_tokens: int | None, max_sentences: int | None
) -> None:
    pool = dataset.buffer_pool(0, 1, max_tokens, max_sentences)
    assert (pool.size > 0) == ((max_tokens, max_sentences) != (None, None))
    if pool.size:
        for indices in dataset.batch_by_size(np.arange(len(dataset)), max_tokens, max_sentences):
            assert in_buffers(pool, frames_of(dataset.collater(indices.tolist(), pool))["acoustic"])
