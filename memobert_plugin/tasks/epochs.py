"""Keep what an epoch is made of small, up to 10^8 utterances: which rows, in which order, cut into which batches."""

from __future__ import annotations

import heapq
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ..data.indexed import BLOCK, blocks

Integers = npt.NDArray[np.integer]

_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)
_WORD = 64
"""Rows whose bits are searched together."""


class Rows:
    """Ascending rows of a corpus, kept at 1.1 bits for each of its utterances and read like an array of int64.

    Args:
        count: utterances of the corpus.
        kept: returns for some of them, ``(n,)`` bool, which ones belong to the rows.
    """

    def __init__(self, count: int, kept: Callable[[slice], npt.NDArray[np.bool_]]) -> None:
        self._bits = np.zeros(-(-count // _WORD) * _WORD // 8, np.uint8)
        for block in blocks(count):
            packed = np.packbits(kept(block), bitorder="little")
            self._bits[block.start // 8 : block.start // 8 + len(packed)] = packed
        self._before = np.zeros(len(self._bits) * 8 // _WORD + 1, np.int64)
        for block in blocks(len(self._before) - 1):
            ones = _ONES[self._bits.reshape(-1, _WORD // 8)[block]].sum(axis=1)
            self._before[block.start + 1 : block.start + 1 + len(ones)] = self._before[block.start] + np.cumsum(ones)

    def __len__(self) -> int:
        return int(self._before[-1])

    def __getitem__(self, items: Any) -> npt.NDArray[np.int64]:
        """Return the rows of some items, given as a number, numbers or a slice."""
        if isinstance(items, slice):
            first, stop, step = items.indices(len(self))
            return self._between(first, stop) if step == 1 else self[np.arange(first, stop, step)]
        numbers = np.asarray(items)
        if not numbers.size:
            return np.empty(numbers.shape, np.int64)
        if numbers.min() < 0 or numbers.max() >= len(self):
            raise IndexError(f"items {numbers.min()} to {numbers.max()} of {len(self)} rows")
        word = np.searchsorted(self._before, numbers, side="right") - 1
        bits = np.unpackbits(self._bits.reshape(-1, _WORD // 8)[word], axis=-1, bitorder="little")
        nth = np.asarray(numbers - self._before[word])[..., None]
        return word * _WORD + (np.cumsum(bits, axis=-1, dtype=np.uint8) > nth).argmax(axis=-1)

    def _between(self, first: int, stop: int) -> npt.NDArray[np.int64]:
        if first >= stop:
            return np.empty(0, np.int64)
        begin = int(np.searchsorted(self._before, first, side="right")) - 1
        end = int(np.searchsorted(self._before, stop, side="left"))
        bits = np.unpackbits(self._bits[begin * _WORD // 8 : end * _WORD // 8], bitorder="little")
        skipped = first - int(self._before[begin])
        return begin * _WORD + np.flatnonzero(bits)[skipped : skipped + stop - first]


class Batches(Sequence[Integers]):
    """Batches that lie one after another in one order of the utterances; slices and shards of them are views.

    fairseq copies a list of batches several times. It takes something callable for a source of batches and leaves it
    as it is: called, this object returns itself.

    Args:
        order: items of all batches.
        ends: ``(batches + 1,)`` where each batch begins, and where the last one ends.
        numbers: the batches that are shown, in order; -1 for an empty one, None for all.
    """

    def __init__(self, order: Integers, ends: Integers, numbers: Integers | None = None) -> None:
        self.order, self.ends = order, ends
        self.numbers = np.arange(len(ends) - 1) if numbers is None else numbers

    @classmethod
    def of(cls, batches: Sequence[Sequence[int] | Integers]) -> Batches:
        """Return batches that are in a list."""
        if isinstance(batches, cls):
            return batches
        arrays = [np.asarray(batch, np.int64) for batch in batches]
        return cls(np.concatenate([np.empty(0, np.int64), *arrays]), np.cumsum([0, *map(len, arrays)]))

    def __call__(self, dataset: Any, epoch: int) -> Batches:
        """Return these batches, of whatever dataset and epoch."""
        return self

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Integers: ...

    @overload
    def __getitem__(self, index: slice) -> Batches: ...

    def __getitem__(self, index: int | slice) -> Integers | Batches:
        if isinstance(index, slice):
            return Batches(self.order, self.ends, self.numbers[index])
        number = self.numbers[index]
        found: Integers = self.order[:0] if number < 0 else self.order[self.ends[number] : self.ends[number + 1]]
        return found

    def __iter__(self) -> Iterator[Integers]:
        for index in range(len(self.numbers)):
            yield self[index]

    def clear(self) -> None:
        """Let go of everything."""
        self.order, self.ends, self.numbers = self.order[:0].copy(), self.ends[:1].copy(), self.numbers[:0].copy()

    def digest(self, start: int) -> int:
        """Return the checksum of all batches' sizes and items, going on from ``start``."""
        checksum = zlib.crc32(np.diff(self.ends).astype(np.int64).tobytes(), start)
        for block in blocks(len(self.order)):
            checksum = zlib.crc32(self.order[block].astype(np.int64).tobytes(), checksum)
        return checksum


def shuffled(count: int, group: int = 1) -> Integers:
    """Return ``np.random.permutation(count)``, in 32 bits where they suffice.

    Args:
        count: of numbers, or of groups of them.
        group: consecutive numbers that stay together.
    """
    order: Integers = np.arange(count, dtype=np.int32 if count * group < 1 << 31 else np.int64)
    np.random.shuffle(order)
    return order if group == 1 else np.add.outer(order * group, np.arange(group)).reshape(-1)


def cut(order: Integers, sizes: Integers, max_tokens: int | None, max_sentences: int | None) -> npt.NDArray[np.int64]:
    """Return where consecutive batches begin, ``(batches + 1,)`` with the end of the last one.

    Args:
        order: items.
        sizes: pieces and frames of each item.
        max_tokens: most of them in a batch of more than one item.
        max_sentences: most items in a batch.
    """
    count = len(order)
    if not max_tokens:
        return np.append(np.arange(0, count, max_sentences or max(count, 1)), count)
    ends, start, window = [0], 0, BLOCK
    while start < count:
        # Sums of sizes are made in windows, each of which begins with a batch.
        sums = np.cumsum(sizes[order[start : start + window]], dtype=np.int64).tolist()
        first, before, is_last = 0, 0, start + len(sums) == count
        while first < len(sums):
            stop = bisect_right(sums, before + max_tokens, first + 1)
            if max_sentences and stop > first + max_sentences:
                stop = first + max_sentences
            if stop == len(sums) and not is_last:
                break
            ends.append(start + stop)
            first, before = stop, sums[stop - 1]
        window = window if first else 2 * window
        start += first
    return np.array(ends, np.int64)


def halved(ends: npt.NDArray[np.int64], more: int) -> npt.NDArray[np.int64]:
    """Return batches of which the largest, ``more`` times, was cut in half; of equal ones the first."""
    if not more:
        return ends
    lengths = np.diff(ends)
    largest = np.argsort(-lengths, kind="stable")[:more]
    queue = [(-int(lengths[batch]), int(ends[batch])) for batch in largest]
    added = []
    heapq.heapify(queue)
    for _ in range(more):
        length, begin = heapq.heappop(queue)
        half = -length // 2
        added.append(begin + half)
        heapq.heappush(queue, (-half, begin))
        heapq.heappush(queue, (length + half, begin + half))
    return np.sort(np.concatenate([ends, np.array(added, np.int64)]))


def joined(batches: Batches, fewer: int, sizes: Integers) -> Batches:
    """Return ``fewer`` batches less: join the smallest in pairs, the least with the largest of them."""
    by_size = np.argsort([sizes[batch].sum() for batch in batches], kind="stable").tolist()
    pairs = zip(by_size[:fewer], reversed(by_size[fewer : 2 * fewer]), strict=True)
    together = [np.concatenate([batches[first], batches[second]]) for first, second in pairs]
    return Batches.of([batches[index] for index in sorted(by_size[2 * fewer :])] + together)
