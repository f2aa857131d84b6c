"""Write the files of a data-bin, utterance by utterance, with flat memory."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ..core.errors import UserError
from .corpus import (
    ARRAYS,
    DICTIONARY_FILE,
    DIMENSION_ARRAYS,
    OFFSETS,
    OPTIONAL_CODES,
    ORDER,
    UTTERANCES_FILE,
    write_dictionary,
)
from .folds import natural_order
from .indexed import IndexedWriter
from .manifest import utterance_uid
from .prepare import PreparedUtterance

CODED = ("speaker", "session", "split", "emotion")
_CODED_ARRAYS = (*CODED, *OPTIONAL_CODES)
_ALL_ARRAYS = {**ARRAYS, **ORDER, **OPTIONAL_CODES, **DIMENSION_ARRAYS}
_NOTHING = np.empty(0, dtype=np.float16)
_BUFFERED = 1 << 16


class ArrayWriter:
    """A writer of a one-dimensional ``.npy`` whose length is known only at the end."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self._dtype = dtype
        self._count = 0
        self._buffer = array("d" if dtype.kind == "f" else "Q" if dtype.kind == "u" else "q")
        self._stream = open(path, "w+b")  # noqa: SIM115
        self._write_header()

    def add(self, value: float) -> None:
        """Append one value."""
        self._buffer.append(value)  # type: ignore[arg-type]
        if len(self._buffer) >= _BUFFERED:
            self._flush()

    def finish(self) -> None:
        """Write the length and close."""
        self._flush()
        self._stream.seek(0)
        self._write_header()
        self._stream.close()

    def _flush(self) -> None:
        self._stream.write(np.array(self._buffer).astype(self._dtype).data)
        self._count += len(self._buffer)
        del self._buffer[:]

    def _write_header(self) -> None:
        """Write the header of the format; with one axis it has 128 bytes for every length."""
        description = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._count,),
        }
        np.lib.format.write_array_header_1_0(self._stream, description)


class CorpusWriter:
    """A writer of the data files of a data-bin; :meth:`finish` completes them and returns the names of the codes.

    Args:
        folder: an empty folder.
        symbols: the dictionary.
        visual, acoustic: true if the corpus has the modality.
    """

    def __init__(self, folder: Path, symbols: list[str], *, visual: bool, acoustic: bool) -> None:
        self._folder = folder
        write_dictionary(symbols, folder / DICTIONARY_FILE)
        self._text = IndexedWriter(folder / "text", np.uint16 if len(symbols) <= 1 << 16 else np.int32)
        self._word_start = IndexedWriter(folder / "word_start", np.uint8)
        self._visual = IndexedWriter(folder / "visual", np.float16) if visual else None
        self._acoustic = IndexedWriter(folder / "acoustic", np.float16) if acoustic else None
        self._expression: IndexedWriter | None = None
        self._arrays = {name: ArrayWriter(folder / f"{name}.npy", dtype) for name, dtype in _ALL_ARRAYS.items()}
        self._dialogues: dict[tuple[str, str], int] = {}
        self._codes: dict[str, dict[str, int]] = {name: {} for name in _CODED_ARRAYS}
        self.ranges: dict[str, list[float]] = {}
        """Least and largest number of each dimension that some utterance has."""
        self._rows = open(folder / UTTERANCES_FILE, "wb")  # noqa: SIM115
        self._rows.write(("\t".join(("id", *CODED)) + "\n").encode())
        self._count = 0

    def add(self, utterance: PreparedUtterance, duration: float) -> None:
        """Append an utterance; ``duration`` in seconds, NaN where unknown."""
        row = utterance.row
        self._text.add(utterance.ids.astype(self._text.dtype))
        self._word_start.add(utterance.word_start)
        if self._visual is not None:
            self._visual.add(_NOTHING if utterance.visual is None else utterance.visual)
        if self._acoustic is not None:
            self._acoustic.add(_NOTHING if utterance.acoustic is None else utterance.acoustic)
        self._add_expression(utterance)
        values: dict[str, float] = {
            "uid": utterance_uid(row.id),
            "duration": duration,
            "visual_length": 0 if utterance.visual is None else len(utterance.visual),
            "acoustic_length": 0 if utterance.acoustic is None else len(utterance.acoustic),
            OFFSETS: self._rows.tell(),
            "start": math.nan if row.start is None else row.start,
            "dialogue": -1,
        }
        if row.start is not None and (media := row.video or row.audio):
            values["dialogue"] = self._dialogues.setdefault((row.session, media), len(self._dialogues))
        for name in _CODED_ARRAYS:
            codes, value = self._codes[name], getattr(row, name)
            values[name] = codes.setdefault(value, len(codes)) if value or name != "emotion" else -1
        for name in DIMENSION_ARRAYS:
            number = getattr(row, name)
            values[name] = math.nan if number is None else number
            if number is not None:
                least, most = self.ranges.get(name, (number, number))
                self.ranges[name] = [min(least, number), max(most, number)]
        for name, writer in self._arrays.items():
            writer.add(values[name])
        self._rows.write(("\t".join((row.id, *(getattr(row, name) for name in CODED))) + "\n").encode())
        self._count += 1

    def finish(self) -> dict[str, list[str]]:
        """Complete every file and return the names of the codes of each column (emotions alphabetical)."""
        self._arrays[OFFSETS].add(self._rows.tell())
        self._rows.close()
        for container in (self._text, self._word_start, self._visual, self._expression, self._acoustic):
            if container is not None:
                container.finish()
        for writer in self._arrays.values():
            writer.finish()
        for name in OPTIONAL_CODES:
            if not any(self._codes[name]):
                (self._folder / f"{name}.npy").unlink()
                self._codes[name] = {}
        for name in DIMENSION_ARRAYS.keys() - self.ranges.keys():
            (self._folder / f"{name}.npy").unlink()
        return {name: self._sort_codes(name, sorted if name == "emotion" else natural_order) for name in _CODED_ARRAYS}

    def _add_expression(self, utterance: PreparedUtterance) -> None:
        """Append expressions. The container is made for the first; the utterances before it have none."""
        if self._expression is None:
            if utterance.expression is None:
                return
            self._expression = IndexedWriter(self._folder / "expression", np.float16)
            for _ in range(self._count):
                self._expression.add(_NOTHING)
        self._expression.add(_NOTHING if utterance.expression is None else utterance.expression)

    def _sort_codes(self, name: str, order: Callable[[Iterable[str]], list[str]]) -> list[str]:
        """Renumber the codes from the order of appearance to the order of their names."""
        codes = self._codes[name]
        if not codes:
            return []
        most = int(np.iinfo(_ALL_ARRAYS[name]).max)
        if len(codes) > most:
            raise UserError(f"{len(codes)} different values in column {name}; a data-bin takes {most}")
        names = order(codes)
        ranks = {value: rank for rank, value in enumerate(names)}
        table = np.array([*(ranks[value] for value in codes), -1], dtype=_ALL_ARRAYS[name])
        if self._count:
            stored = np.load(self._folder / f"{name}.npy", mmap_mode="r+")
            stored[:] = table[stored]
        return names
