"""Read and write fairseq's memory-mapped container (``.bin`` + ``.idx``) without copies.

fairseq's reader casts every element to int64, has no float16, and reads both files completely when it opens them. The
files here are the same, byte for byte, so fairseq can read them too. float16 frames are stored as uint16.
"""

from __future__ import annotations

import mmap
import os
import struct
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import DTypeLike

from ..core.errors import UserError
from ..core.files import regular

_MAGIC = b"MMIDIDX\x00\x00"
_VERSION = 1
_HEADER = struct.Struct("<9sQBQ")
_DTYPES: dict[int, np.dtype] = {
    code: np.dtype(name)
    for code, name in enumerate(["u1", "i1", "i2", "i4", "i8", "f8", "f8", "u2", "u4", "u8"], start=1)
}
_CODES: dict[np.dtype, int] = {dtype: code for code, dtype in reversed(_DTYPES.items())}
_CHUNK = 1 << 20
BLOCK = 1 << 17
"""Utterances that are looked at together where a corpus is read from end to end."""
_SMALL = 1 << 25
"""Bytes of an array whose pages stay mapped once they were read."""


def blocks(count: int) -> Iterator[slice]:
    """Yield slices that divide ``count`` utterances into blocks."""
    for begin in range(0, count, BLOCK):
        yield slice(begin, min(begin + BLOCK, count))


def release_pages(*arrays: np.ndarray) -> None:
    """Take the pages of large mapped arrays out of this process; the system keeps them in its cache of files."""
    for array in arrays:
        owner: object = array
        while isinstance(owner, np.ndarray):
            owner = owner.base
        if isinstance(owner, mmap.mmap) and array.nbytes > _SMALL and hasattr(mmap, "MADV_DONTNEED"):
            owner.madvise(mmap.MADV_DONTNEED)


def taken(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return ``array[rows]`` of a mapped array; pages of a large one would stay mapped and count as memory."""
    values = array[rows]
    release_pages(array)
    return values


class IndexedReader:
    """A container opened for reading; items are views into one flat memory map.

    Opening reads the header and compares the files' sizes with it; its cost does not depend on the number of items. A
    reader is pickled as its path.

    Args:
        prefix: path without ``.bin`` / ``.idx``.
        view_dtype: read the elements as this type of the same width, such as ``np.float16`` for stored uint16.

    Raises:
        UserError: a file is missing, foreign, of another version or truncated.
    """

    sizes: np.ndarray
    """(N,) int32, elements of each item."""
    pointers: np.ndarray
    """(N,) int64, byte at which each item begins."""
    data: np.ndarray
    """All elements, one after another, read-only."""

    def __init__(self, prefix: str | os.PathLike[str], view_dtype: DTypeLike | None = None) -> None:
        self.prefix = os.fspath(prefix)
        self._view_dtype = None if view_dtype is None else np.dtype(view_dtype)
        stored, count = _read_header(f"{self.prefix}.idx")
        self.sizes = _mapped(f"{self.prefix}.idx", np.int32, count, _HEADER.size)
        self.pointers = _mapped(f"{self.prefix}.idx", np.int64, count, _HEADER.size + 4 * count)
        data_bytes = int(self.pointers[-1]) + int(self.sizes[-1]) * stored.itemsize if count else 0
        _check_size(f"{self.prefix}.bin", data_bytes)
        self._file: int | None = None
        data = np.empty(0, stored)
        if data_bytes:
            self._file = os.open(f"{self.prefix}.bin", os.O_RDONLY | getattr(os, "O_BINARY", 0))
            weakref.finalize(self, os.close, self._file)
            data = np.frombuffer(mmap.mmap(self._file, data_bytes, access=mmap.ACCESS_READ), stored)
        if self._view_dtype is not None and self._view_dtype.itemsize != stored.itemsize:
            raise UserError(
                f"{self.prefix}.idx: holds {stored} where {self._view_dtype} is expected; write the data-bin again"
            )
        self.data = data if self._view_dtype is None else data.view(self._view_dtype)

    def __len__(self) -> int:
        return len(self.sizes)

    def view(self, index: int) -> np.ndarray:
        """Return item ``index`` as a flat read-only view."""
        start = int(self.pointers[index]) // self.data.itemsize
        return self.data[start : start + int(self.sizes[index])]

    def announce(self, begins: np.ndarray, counts: np.ndarray) -> None:
        """Tell the operating system what is read next, so that it fetches it from the disk together.

        Args:
            begins: (B,) pointers of items.
            counts: (B,) how many elements of each, from its beginning.
        """
        if self._file is None or not hasattr(os, "posix_fadvise"):
            return
        wanted = np.flatnonzero(counts)
        lengths = counts[wanted] * self.data.itemsize
        with suppress(OSError):  # no more than advice
            for first, length in zip(begins[wanted].tolist(), lengths.tolist(), strict=True):
                os.posix_fadvise(self._file, first, length, os.POSIX_FADV_WILLNEED)

    def read(self, begins: np.ndarray, counts: np.ndarray, out: np.ndarray) -> None:
        """Read the beginnings of items into ``out``, one after another.

        The file is read, not its map: pages of the map would count as memory of this process.

        Args:
            begins: (B,) pointers of the items.
            counts: (B,) how many elements of each, from its beginning.
            out: (elements of all,) of the container's type.

        Raises:
            UserError: the file has been truncated since it was opened.
        """
        stop = 0
        if self._file is None or not hasattr(os, "preadv"):
            for first, count in zip((begins // self.data.itemsize).tolist(), counts.tolist(), strict=True):
                out[stop : stop + count] = self.data[first : first + count]
                stop += count
            return
        target = memoryview(out.view(np.uint8).data)
        for first, size in zip(begins.tolist(), (counts * self.data.itemsize).tolist(), strict=True):
            if os.preadv(self._file, [target[stop : stop + size]], first) != size:
                raise UserError(f"{self.prefix}.bin: truncated while it was read; copy it again")
            stop += size

    def __reduce__(self) -> tuple[type[IndexedReader], tuple[str, np.dtype | None]]:
        return type(self), (self.prefix, self._view_dtype)


class IndexedWriter:
    """A writer of a container, item by item; sizes go to a side file, so that memory stays flat.

    As a context manager it finishes the container at the end, and removes its files after an exception.

    Args:
        prefix: path without ``.bin`` / ``.idx``.
        dtype: one of fairseq's types, or float16 (stored as uint16).
    """

    def __init__(self, prefix: str | os.PathLike[str], dtype: DTypeLike) -> None:
        self.prefix = os.fspath(prefix)
        self.dtype = np.dtype(dtype)
        _stored(self.dtype)
        self._data = open(f"{self.prefix}.bin", "wb")  # noqa: SIM115
        self._sizes = open(f"{self.prefix}.sizes", "w+b")  # noqa: SIM115

    def add(self, array: np.ndarray) -> None:
        """Append one item; ``array`` is flattened and must already have the container's type."""
        if array.dtype != self.dtype:
            raise TypeError(f"{self.prefix}: got {array.dtype} for a container of {self.dtype}")
        if array.size >= 1 << 31:
            raise ValueError(f"{self.prefix}: an item of {array.size} elements does not fit fairseq's int32 sizes")
        self._data.write(np.ascontiguousarray(array).data)
        self._sizes.write(struct.pack("<i", array.size))

    def finish(self) -> None:
        """Write the index and close the files."""
        self._data.close()
        self._sizes.flush()
        count = self._sizes.tell() // 4
        write_index(self.prefix, self.dtype, _mapped(self._sizes.name, np.int32, count, 0))
        self._sizes.close()
        os.unlink(f"{self.prefix}.sizes")

    def __enter__(self) -> IndexedWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
            return
        self._data.close()
        self._sizes.close()
        for suffix in ("bin", "idx", "sizes"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self.prefix}.{suffix}")


def write_index(prefix: str | os.PathLike[str], dtype: DTypeLike, sizes: np.ndarray) -> None:
    """Write the ``.idx`` of a container whose items lie one after another in its ``.bin``.

    Args:
        prefix: path without ``.bin`` / ``.idx``.
        dtype: as of :class:`IndexedWriter`.
        sizes: (N,) int32, elements of each item; a memory map is read in pieces.

    Raises:
        ValueError: a type that the container does not know.
    """
    stored = _stored(np.dtype(dtype))
    with open(f"{os.fspath(prefix)}.idx", "wb") as index:
        index.write(_HEADER.pack(_MAGIC, _VERSION, _CODES[stored], len(sizes)))
        for begin in range(0, len(sizes), _CHUNK):
            index.write(np.ascontiguousarray(sizes[begin : begin + _CHUNK], np.int32).data)
        position = 0
        for begin in range(0, len(sizes), _CHUNK):
            ends = position + np.cumsum(sizes[begin : begin + _CHUNK], dtype=np.int64) * stored.itemsize
            index.write(np.concatenate(([position], ends[:-1])).astype(np.int64).data)
            position = int(ends[-1])


def _stored(dtype: np.dtype) -> np.dtype:
    """Return the type that stores ``dtype`` in the container."""
    stored = np.dtype(np.uint16) if dtype == np.float16 else dtype
    if stored not in _CODES:
        raise ValueError(f"the container has no type for {dtype}")
    return stored


def _read_header(path: str) -> tuple[np.dtype, int]:
    try:
        with open(regular(path), "rb") as stream:
            header = stream.read(_HEADER.size)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); write the data-bin again with memobert-binarize"
        ) from None
    if not header.startswith(_MAGIC[: len(header)]) or not header:
        raise UserError(f"{path}: not a fairseq mmap index; write the data-bin again with memobert-binarize")
    if len(header) < _HEADER.size:
        raise UserError(f"{path}: truncated inside its header; write the data-bin again with memobert-binarize")
    _, version, code, count = _HEADER.unpack(header)
    if version != _VERSION or code not in _DTYPES:
        raise UserError(
            f"{path}: version {version}, type {code} are unknown (known: version 1); write the data-bin again"
        )
    _check_size(path, _HEADER.size + 12 * count)
    return _DTYPES[code], count


def _check_size(path: str, expected: int) -> None:
    if not Path(path).is_file():
        raise UserError(f"{path}: missing; write the data-bin again with memobert-binarize")
    found = os.path.getsize(path)
    if found != expected:
        what = "truncated" if found < expected else "longer than its index says"
        raise UserError(f"{path}: {what} ({found} of {expected} bytes); copy it again or write the data-bin again")


def _mapped(path: str, dtype: DTypeLike, count: int, offset: int) -> np.ndarray:
    """Map ``count`` elements; a plain array over the map, whose slices cost less than a memmap's."""
    if not count:
        return np.empty(0, dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=(count,)))
