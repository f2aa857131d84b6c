"""An epoch has the rows, orders and batches that plain lists gave."""

from __future__ import annotations

import sys
import zlib

import numpy as np
import pytest
from fairseq.data import FairseqDataset
from fairseq.data.iterators import EpochBatchIterator
from hypothesis import given
from hypothesis import strategies as st

from memobert_plugin.data import indexed
from memobert_plugin.tasks import epochs
from memobert_plugin.tasks.epochs import Batches, Rows, cut, halved, shuffled
from memobert_plugin.tasks.resuming import TrainingBatches, end_workers


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1_000, 2 * indexed.BLOCK + 100])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_rows_are_read_like_the_array_of_them(count: int, share: float) -> None:
    rng = np.random.default_rng(count)
    kept = rng.random(count) < share
    rows, expected = Rows(count, lambda block: kept[block]), np.flatnonzero(kept)
    assert len(rows) == len(expected)
    np.testing.assert_array_equal(rows[:], expected)
    for first, stop, step in ((0, 70, 1), (3, -1, 1), (5, 5, 1), (9, 2, 1), (1, 500, 3)):
        np.testing.assert_array_equal(rows[first:stop:step], expected[first:stop:step])
    if len(expected):
        items = rng.integers(0, len(expected), 200)
        np.testing.assert_array_equal(rows[items], expected[items])
        np.testing.assert_array_equal(rows[items.reshape(20, 10)], expected[items.reshape(20, 10)])
        assert rows[len(expected) - 1] == expected[-1]
    with pytest.raises(IndexError, match=f"of {len(expected)} rows"):
        rows[len(expected)]


@pytest.mark.parametrize("count", [0, 1, 2, 1_000, 70_000])
def test_an_order_is_the_permutation_that_numpy_draws(count: int) -> None:
    np.random.seed(7)
    order, then = shuffled(count), np.random.random()
    np.random.seed(7)
    np.testing.assert_array_equal(order, np.random.permutation(count))
    assert then == np.random.random() and order.itemsize == 4


def one_after_another(sizes: list[int], max_tokens: int | None, max_sentences: int | None) -> list[int]:
    """Return where batches begin and end, item by item."""
    ends, tokens = [0], 0
    for item, size in enumerate(sizes):
        full = max_sentences is not None and item - ends[-1] >= max_sentences
        if item > ends[-1] and (full or (max_tokens is not None and tokens + size > max_tokens)):
            ends.append(item)
            tokens = 0
        tokens += size
    return [*ends, len(sizes)]


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=60),
    st.none() | st.integers(1, 200),
    st.none() | st.integers(1, 9),
    st.sampled_from([1, 4, 1 << 17]),
)
def test_batches_are_cut_as_item_by_item(
    sizes: list[int], max_tokens: int | None, max_sentences: int | None, window: int
) -> None:
    order = np.random.default_rng(0).permutation(len(sizes)).astype(np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epochs, "BLOCK", window)
        ends = cut(order, np.array(sizes, np.uint16), max_tokens, max_sentences)
    assert ends.tolist() == one_after_another([sizes[item] for item in order], max_tokens, max_sentences)


@given(st.lists(st.integers(4, 12), min_size=1, max_size=12), st.integers(0, 12))
def test_the_first_of_the_largest_batches_is_halved_again_and_again(lengths: list[int], more: int) -> None:
    expected = list(lengths)
    for _ in range(more):
        largest = expected.index(max(expected))
        half = expected[largest] // 2
        expected[largest : largest + 1] = [half, expected[largest] - half]
    assert np.diff(halved(np.cumsum([0, *lengths]), more)).tolist() == expected


class Items(FairseqDataset):
    """Numbers whose batches are lists of them."""

    def __getitem__(self, index: int) -> int:
        return int(index)

    def __len__(self) -> int:
        return 40

    def collater(self, samples: list[int]) -> list[int]:
        return samples


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(("shards", "shard"), [(1, 0), (3, 0), (3, 2)])
@pytest.mark.parametrize("done", [0, 1])
def test_an_epoch_gives_the_batches_that_fairseq_gives(grouped: bool, shards: int, shard: int, done: int) -> None:
    dataset, order = Items(), np.random.default_rng(1).permutation(40).astype(np.int32)
    ends = np.array([0, 5, 6, 10, 17, 20, 31, 36, 40])
    ours = Batches(order, ends)
    settings = {"seed": 5, "num_shards": shards, "shard_id": shard, "epoch": 3, "grouped_shuffling": grouped}
    theirs = EpochBatchIterator(dataset, dataset.collater, list(ours), **settings)
    iterator = EpochBatchIterator(dataset, dataset.collater, ours, **settings)
    iterator.__class__ = TrainingBatches
    assert len(iterator) == len(theirs) and iterator.first_batch == theirs.first_batch
    state = {"version": 2, "epoch": 3, "iterations_in_epoch": done, "shuffle": True}
    for one in (iterator, theirs):
        one.load_state_dict(state)
    assert list(iterator.next_epoch_itr()) == list(theirs.next_epoch_itr())


def test_the_digest_is_that_of_lists_which_earlier_checkpoints_hold() -> None:
    batches = [np.arange(3), np.array([7, 4]), np.array([], np.int64), np.array([5])]
    numbers = np.concatenate([[3, 2, 0, 1], *batches]).astype(np.int64)
    assert Batches.of(batches).digest(12) == zlib.crc32(numbers.tobytes(), 12)


def test_the_order_of_an_epoch_that_is_over_leaves_the_memory() -> None:
    order = np.arange(40)
    iterator = EpochBatchIterator(Items(), list, Batches(order, np.arange(41)), epoch=1)
    iterator.__class__ = TrainingBatches
    epoch = iterator.next_epoch_itr()
    assert len(list(epoch)) == 40
    held = sys.getrefcount(order)
    end_workers(iterator)
    assert sys.getrefcount(order) < held and order.tolist() == list(range(40))
