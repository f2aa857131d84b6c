"""Take over frames that another tool has made: arrays, tables, one ``.npz`` with all, Kaldi's archives."""

from __future__ import annotations

import csv
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...core.console import tracked
from ...core.errors import DefectiveClip, UserError, pip_install
from ...core.names import counted
from ...data.frames import ExtractorInfo, Frames, frame_file, read_frames, write_frames
from ..speakers.face_sources import quiet
from .frame_folder import finished_files, frames_are_written, write_failures

Read = Callable[[], np.ndarray]
"""Reads one utterance's frames; raises DefectiveClip."""

_UNREADABLE: Final = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, MemoryError, IndexError)
_LONGEST_KALDI_KEY: Final = 4096
_KALDI_MATRIX: Final = re.compile(rb"[^ \n]+ (?:\0B[FDC]M|\s*\[)")
"""Beginning of an archive: an id, then a binary matrix, or one in text."""
_FORMATS: Final = (
    "a folder of .npy, .npz or .csv files, an .npz file with one array per utterance, Kaldi's .scp or .ark"
)


_PLACES: Final = frozenset({
    "name", "frametime", "frameindex", "frame_time", "file", "start", "end", "time",  # openSMILE's program and package
    "frame", "face_id", "timestamp", "confidence", "success",  # OpenFace 2
})  # fmt: skip
"""Columns of tables that tell where a frame is, and are no part of it."""


@dataclass(frozen=True)
class Taken:
    """The result of taking over."""

    written: int
    finished: int
    """Written by an earlier run."""
    frames: int
    failures: list[tuple[str, str]]
    """Utterances without frames, and the reasons."""


def take_over(
    source: Path, output: Path, info: ExtractorInfo, expression: Path | None = None, *, overwrite: bool = False
) -> Taken:
    """Write the frames of a source into a folder as extraction does; a run that was stopped goes on.

    Args:
        source: see :func:`utterances`; an utterance's id is its name there.
        output: the folder of frames.
        info: what made them; a ``dim`` of None is that of the first utterance that can be used.
        expression: a source of expression distributions for the same ids.
        overwrite: replace frames of another origin.

    Raises:
        UserError: a source of another kind or without utterances, or a folder with other frames.
    """
    reads, expressions = utterances(source), dict(utterances(expression)) if expression is not None else {}
    seen, dim = _until_usable(reads)
    if not seen:
        raise UserError(f"{source}: holds no utterance; give {_FORMATS}")
    info = replace(info, dim=dim) if info.dim is None else info
    done = set() if overwrite else finished_files(output)
    written, frames, finished, failures = 0, 0, 0, []
    with frames_are_written(output, info, overwrite=overwrite):
        for utterance, read in tracked(chain(seen, reads), None, "frames"):
            target = frame_file(output, utterance)
            if target.name in done:
                finished += 1
                continue
            try:
                found = _checked(read(), info.dim)
                shares = expressions[utterance]() if utterance in expressions else None
                if expression is not None and shares is None:
                    raise DefectiveClip(f"{expression} has no such utterance")
                write_frames(target, found, shares)
                read_frames(target)  # which refuses NaN, and shares that are none
            except (DefectiveClip, UserError) as defect:
                target.unlink(missing_ok=True)
                failures.append((utterance, str(defect).removeprefix(f"{target}: ")))
                continue
            written, frames = written + 1, frames + len(found)
        write_failures(output, failures)
    return Taken(written, finished, frames, failures)


def utterances(source: Path) -> Iterator[tuple[str, Read]]:
    """Yield the ids of a source, and how to read each one's frames ``(T, D)``.

    Args:
        source: a folder of ``.npy`` (arrays), ``.npz`` (with ``frames``) or ``.csv`` files (a row for each frame, as
            openSMILE writes low-level descriptors) at any depth, named by their paths; an ``.npz`` file with an array
            for each id; a ``.scp`` or ``.ark`` file of Kaldi with matrices.

    Raises:
        UserError: none of these, or damaged.
    """
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.suffix in (".npy", ".npz", ".csv") and path.is_file())
        named: dict[str, Path] = {}
        for path in files:
            other = named.setdefault(path.relative_to(source).with_suffix("").as_posix(), path)
            if other is not path:
                raise UserError(f"{other} and {path}: both would be one utterance; keep one of them")
        columns: list[str] = []
        return ((name, _file_reader(path, columns)) for name, path in named.items())
    readers = {".npz": _archive, ".scp": _kaldi_table, ".ark": _kaldi_archive}
    if source.suffix not in readers or not source.is_file():
        raise UserError(f"{source}: no such source; give {_FORMATS}")
    return readers[source.suffix](source)


def _file_reader(path: Path, columns: list[str]) -> Read:
    """Return the reader of a file; ``columns`` are those of the first table, which all have."""

    def read() -> np.ndarray:
        try:
            if path.suffix == ".npz":
                frames = read_frames(path) or Frames(np.zeros((0, 0)))
                return frames.frames
            return _table(path, columns) if path.suffix == ".csv" else np.asarray(np.load(path, allow_pickle=False))
        except _UNREADABLE as error:
            raise DefectiveClip(f"not readable as {path.suffix} ({_line(error)})") from None

    return read


def _table(path: Path, columns: list[str]) -> np.ndarray:
    """Read a table with a header and a row for each frame, separated by commas, semicolons or tabs.

    Args:
        path: the file.
        columns: filled by the first table; later ones must have the same.

    Raises:
        ValueError: a cell that is no number, no header, other columns, or rows of other lengths.
    """
    with open(path, newline="", encoding="utf-8-sig") as stream:
        header = stream.readline()
        delimiter = max(";\t,", key=header.count)
        names = [name.strip().casefold() for name in next(csv.reader([header], delimiter=delimiter))]
        if names and all(map(_is_number, names)):
            raise ValueError("no header: its first row has numbers alone; give a row with the columns' names")
        kept = [place for place, name in enumerate(names) if name not in _PLACES]
        rows = []
        for row in filter(None, csv.reader(stream, delimiter=delimiter)):
            if len(row) != len(names):
                raise ValueError(f"a row has {counted(len(row), 'cell')}, its header {len(names)}")
            rows.append([float(row[place]) for place in kept])
    own = [names[place] for place in kept]
    if rows and own != (columns or own):
        other = next(pair for pair in zip_longest(own, columns, fillvalue="none") if pair[0] != pair[1])
        raise ValueError(f"other columns than the first table's: {other[0]} instead of {other[1]}")
    if rows:
        columns[:] = own
    return np.array(rows, np.float32).reshape(len(rows), len(kept))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _archive(source: Path) -> Iterator[tuple[str, Read]]:
    try:
        archive = np.load(source, allow_pickle=False)
    except _UNREADABLE as error:
        raise UserError(f"{source}: not readable as .npz ({_line(error)})") from None

    def reader(name: str) -> Read:
        def read() -> np.ndarray:
            try:
                return np.asarray(archive[name])
            except _UNREADABLE as error:
                raise DefectiveClip(f"not readable ({_line(error)})") from None

        return read

    return ((name, reader(name)) for name in archive.files)


def _kaldi() -> Any:
    try:
        import kaldi_native_io
    except ImportError as error:
        raise UserError(f"Kaldi's archives: cannot be imported ({error}); {pip_install('kaldi')}") from None
    return kaldi_native_io


def _kaldi_table(source: Path) -> Iterator[tuple[str, Read]]:
    """Read a ``.scp`` file: an id and a place (``feats.ark:17``) a line. Commands in it are never run."""
    library = _kaldi()

    def reader(place: str) -> Read:
        def read() -> np.ndarray:
            if place.startswith("|") or place.endswith("|") or place == "-":
                raise DefectiveClip(f"{place!r} is a command, not a place in a file; copy the frames to an .ark first")
            file, colon, offset = place.rpartition(":")
            if not colon or not offset.isdecimal():
                file, offset = place, ""
            beside = file if Path(file).exists() else str(source.parent / file)
            if not Path(beside).is_file():
                raise DefectiveClip(f"{file}: no such file")
            with quiet():
                try:
                    return np.array(library.FloatMatrix.read(f"{beside}:{offset}" if offset else beside).numpy())
                except Exception as error:  # RuntimeError of the library, whatever a foreign file holds
                    raise DefectiveClip(f"{place}: no matrix of Kaldi ({_line(error)})") from None

        return read

    for number, line in enumerate(source.read_text(encoding="utf-8", errors="surrogateescape").splitlines(), start=1):
        utterance, _, place = line.strip().partition(" ")
        if not utterance:
            continue
        if not place.strip():
            raise UserError(f"{source}, line {number}: no place after the id; give a .scp file as Kaldi writes it")
        yield utterance, reader(place.strip())


def _kaldi_archive(source: Path) -> Iterator[tuple[str, Read]]:
    """Read an ``.ark`` file from its beginning."""
    library = _kaldi()
    if any(sign in str(source) for sign in "|,"):
        raise UserError(f"{source}: a name that Kaldi would take for more than a file; rename it")
    with open(source, "rb") as stream:
        begin = stream.read(_LONGEST_KALDI_KEY)
    if not _KALDI_MATRIX.match(begin):
        raise UserError(f"{source}: no archive of Kaldi with matrices; give {_FORMATS}")
    count = 0
    with quiet():
        try:
            matrices = library.SequentialFloatMatrixReader(f"ark:{source}")
        except Exception as error:  # of the library
            raise UserError(f"{source}: no archive of Kaldi with matrices ({_line(error)})") from None
    while not matrices.done:
        found = np.array(matrices.value)
        yield str(matrices.key), lambda found=found: found  # type: ignore[misc]
        count += 1
        with quiet():
            matrices.next()
    # The library's own close() says nothing of an archive that ends in the middle of a matrix
    # (findings/kaldi_native_io_cut_archives_end_early.sh); what it calls does.
    if not matrices._impl.close():
        raise UserError(f"{source}: is damaged or cut off after {counted(count, 'utterance')}; copy it again")


def _until_usable(reads: Iterator[tuple[str, Read]]) -> tuple[list[tuple[str, Read]], int | None]:
    """Return the utterances up to the first one with frames, and the number of values of these."""
    seen = []
    for one in reads:
        seen.append(one)
        try:
            return seen, _checked(one[1](), None).shape[1]
        except (DefectiveClip, UserError):
            continue
    return seen, None


def _checked(frames: np.ndarray, dim: int | None) -> np.ndarray:
    if frames.ndim != 2 or frames.dtype.kind != "f" or not frames.size:
        raise DefectiveClip(f"is {frames.dtype} {frames.shape}; give floats of shape (frames, values)")
    if dim is not None and frames.shape[1] != dim:
        raise DefectiveClip(f"has {frames.shape[1]} values a frame where the others have {dim}")
    return frames.astype(np.float32, copy=False)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[-160:]
