"""The container is fairseq's, byte for byte, and opens without being read."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.indexed import IndexedReader, IndexedWriter, taken, write_index


def write(prefix: Path, items: list[np.ndarray]) -> Path:
    with IndexedWriter(prefix, items[0].dtype) as writer:
        for item in items:
            writer.add(item)
    return prefix


@pytest.fixture
def items() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 60000, size).astype(np.uint16) for size in (3, 0, 7, 1)]


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "i8", "f8", "u2", "u4", "u8"])
def test_items_come_back_in_their_type(tmp_path: Path, dtype: str) -> None:
    items = [np.arange(size).astype(dtype) for size in (4, 0, 2)]
    reader = IndexedReader(write(tmp_path / "x", items))
    assert len(reader) == 3
    assert reader.data.dtype == np.dtype(dtype)
    for index, item in enumerate(items):
        np.testing.assert_array_equal(reader.view(index), item)


def test_the_hosts_reader_reads_our_files(tmp_path: Path, items: list[np.ndarray]) -> None:
    from fairseq.data.indexed_dataset import MMapIndexedDataset

    dataset = MMapIndexedDataset(str(write(tmp_path / "x", items)))
    assert len(dataset) == len(items)
    np.testing.assert_array_equal(dataset.sizes, [3, 0, 7, 1])
    for index, item in enumerate(items):
        np.testing.assert_array_equal(dataset[index].numpy(), item)


def test_our_reader_reads_the_hosts_files_and_ours_are_the_same_bytes(tmp_path: Path, items: list[np.ndarray]) -> None:
    import torch
    from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder

    builder = MMapIndexedDatasetBuilder(str(tmp_path / "host.bin"), dtype=np.uint16)
    for item in items:
        builder.add_item(torch.from_numpy(item.astype(np.int64)))
    builder.finalize(str(tmp_path / "host.idx"))
    reader = IndexedReader(tmp_path / "host")
    for index, item in enumerate(items):
        np.testing.assert_array_equal(reader.view(index), item)
    write(tmp_path / "ours", items)
    for suffix in ("bin", "idx"):
        assert (tmp_path / f"ours.{suffix}").read_bytes() == (tmp_path / f"host.{suffix}").read_bytes()


def test_float16_frames_are_stored_as_uint16_and_viewed_without_a_copy(tmp_path: Path) -> None:
    """fairseq's format has no type for float16."""
    frames = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float16)
    write(tmp_path / "x", [frames, frames[:2]])
    assert IndexedReader(tmp_path / "x").data.dtype == np.uint16
    reader = IndexedReader(tmp_path / "x", view_dtype=np.float16)
    np.testing.assert_array_equal(reader.view(1).reshape(2, 3), frames[:2])
    assert np.shares_memory(reader.view(0), reader.data)
    assert not reader.view(0).flags.writeable
    with pytest.raises(UserError, match="holds uint16 where float64 is expected"):
        IndexedReader(tmp_path / "x", view_dtype=np.float64)


def test_items_lie_one_after_another(tmp_path: Path, items: list[np.ndarray]) -> None:
    reader = IndexedReader(write(tmp_path / "x", items))
    np.testing.assert_array_equal(reader.data, np.concatenate(items))
    np.testing.assert_array_equal(reader.pointers, [0, 6, 6, 20])
    np.testing.assert_array_equal(reader.sizes, [3, 0, 7, 1])
    assert reader.sizes.dtype == np.int32
    assert reader.pointers.dtype == np.int64


def test_a_container_may_be_empty_or_hold_empty_items_only(tmp_path: Path) -> None:
    with IndexedWriter(tmp_path / "none", np.uint8):
        pass
    assert len(IndexedReader(tmp_path / "none")) == 0
    reader = IndexedReader(write(tmp_path / "empty", [np.empty(0, np.uint8)] * 2))
    assert len(reader) == 2
    assert reader.view(1).size == 0


def test_a_reader_pickles_as_its_path(tmp_path: Path, items: list[np.ndarray]) -> None:
    reader = IndexedReader(write(tmp_path / "x", [item.view(np.float16) for item in items]), view_dtype=np.float16)
    state = pickle.dumps(reader)
    assert len(state) < 1000
    np.testing.assert_array_equal(pickle.loads(state).view(2).view(np.uint16), items[2])


def test_the_index_of_many_items_is_that_of_their_running_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memobert_plugin.data.indexed._CHUNK", 7)
    sizes = np.random.default_rng(0).integers(0, 5, 100)
    reader = IndexedReader(write(tmp_path / "x", [np.zeros(size, np.int32) for size in sizes]))
    np.testing.assert_array_equal(reader.sizes, sizes)
    np.testing.assert_array_equal(reader.pointers, 4 * (np.cumsum(sizes) - sizes))


def test_an_interrupted_writer_leaves_no_file(tmp_path: Path) -> None:
    def interrupted() -> None:
        with IndexedWriter(tmp_path / "x", np.uint8) as writer:
            writer.add(np.zeros(3, np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_a_writer_takes_its_own_type_only(tmp_path: Path) -> None:
    with (
        pytest.raises(TypeError, match="int64 for a container of uint16"),
        IndexedWriter(tmp_path / "x", "u2") as writer,
    ):
        writer.add(np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="no type for complex128"):
        IndexedWriter(tmp_path / "x", np.complex128)


def _truncate(path: Path, by: int) -> None:
    path.write_bytes(path.read_bytes()[:-by])


def test_missing_foreign_and_truncated_files_are_refused_by_name(tmp_path: Path, items: list[np.ndarray]) -> None:
    prefix = tmp_path / "x"
    index, data = tmp_path / "x.idx", tmp_path / "x.bin"

    def refused(message: str) -> None:
        with pytest.raises(UserError, match=message):
            IndexedReader(prefix)

    refused(r"x\.idx: cannot be read \(No such file")
    write(prefix, items)
    data.unlink()
    refused(r"x\.bin: missing")
    write(prefix, items)
    _truncate(data, 1)
    refused(r"x\.bin: truncated \(21 of 22 bytes\)")
    data.write_bytes(data.read_bytes() + b"abc")
    refused(r"x\.bin: longer than its index says")
    write(prefix, items)
    _truncate(index, 1)
    refused(r"x\.idx: truncated \(73 of 74 bytes\)")
    index.write_bytes(index.read_bytes()[:12])
    refused(r"x\.idx: truncated inside its header")
    index.write_bytes(b"TNTIDX\x00\x00" + bytes(100))
    refused(r"x\.idx: not a fairseq mmap index")
    index.write_bytes(b"")
    refused(r"x\.idx: not a fairseq mmap index")
    index.write_bytes(struct.pack("<9sQBQ", b"MMIDIDX\x00\x00", 2, 8, 0))
    refused(r"x\.idx: version 2")
    index.write_bytes(struct.pack("<9sQBQ", b"MMIDIDX\x00\x00", 1, 99, 0))
    refused(r"type 99 are unknown")


def test_items_can_be_announced_in_part_and_whatever_their_place(tmp_path: Path) -> None:
    items = [np.arange(size, dtype=np.uint16) for size in (5000, 0, 3, 7001)]
    reader = IndexedReader(write(tmp_path / "x", items))
    reader.announce(reader.pointers[[3, 1, 0, 2]], np.array([7001, 0, 1, 3]))
    np.testing.assert_array_equal(reader.view(3), items[3])
    empty = IndexedReader(write(tmp_path / "none", [np.empty(0, np.uint16)]))
    empty.announce(np.array([0]), np.array([0]))


def test_an_index_written_alone_fits_frames_that_were_never_written(tmp_path: Path) -> None:
    sizes = np.array([4, 0, 6], np.int32)
    write_index(tmp_path / "x", np.float16, sizes)
    with open(tmp_path / "x.bin", "wb") as stream:
        stream.truncate(20)
    reader = IndexedReader(tmp_path / "x", np.float16)
    assert reader.sizes.tolist() == [4, 0, 6] and reader.pointers.tolist() == [0, 8, 8]
    np.testing.assert_array_equal(reader.view(2), np.zeros(6, np.float16))


def test_beginnings_of_items_are_read_one_after_another(tmp_path: Path, items: list[np.ndarray]) -> None:
    reader = IndexedReader(write(tmp_path / "x", items))
    rows, counts = np.array([2, 1, 0, 3]), np.array([4, 0, 3, 1])
    found = np.empty(8, np.uint16)
    reader.read(reader.pointers[rows], counts, found)
    np.testing.assert_array_equal(found, np.concatenate([items[row][:n] for row, n in zip(rows, counts, strict=True)]))


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path: Path, items: list[np.ndarray]) -> None:
    reader = IndexedReader(write(tmp_path / "x", items))
    os.truncate(tmp_path / "x.bin", 4)
    with pytest.raises(UserError, match=r"x\.bin: truncated while it was read"):
        reader.read(reader.pointers[:1], np.array([3]), np.empty(3, np.uint16))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_of_large_arrays_do_not_stay_mapped(tmp_path: Path) -> None:
    def resident() -> int:
        return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("RssFile"))

    np.save(tmp_path / "large.npy", np.arange(1 << 23))
    array = np.asarray(np.load(tmp_path / "large.npy", mmap_mode="r"))
    before, rows = resident(), np.arange(0, len(array), 500)
    np.testing.assert_array_equal(taken(array, rows), rows)
    assert resident() - before < 8 << 10
    assert array[rows[-1]] == rows[-1]
