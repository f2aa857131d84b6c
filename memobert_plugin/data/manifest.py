"""The manifest: one tab-separated row per utterance, the only thing a corpus reader has to produce.

Fields are separated by tabs and never quoted, so a quotation mark is an ordinary character of the text.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import UserError
from ..core.files import regular, replaced_when_complete

COLUMNS = ("id", "speaker", "session", "split", "text", "emotion", "video", "audio", "start", "end")
"""The header's names, in the order of :func:`write_manifest`; reading accepts any order and further columns."""

REGION = "region"
"""A further column that only corpora with several people in one picture need."""
REGIONS = ("left", "right")
"""Halves of the picture."""

_BREAKS_ROWS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One utterance. Unknown fields are empty strings, unknown times None."""

    line: int
    """Line of the manifest (the header is line 1); ignored on writing."""
    id: str
    speaker: str = ""
    session: str = ""
    split: str = ""
    text: str = ""
    emotion: str = ""
    video: str = ""
    """Path relative to the manifest's folder, or absolute."""
    audio: str = ""
    """Path relative to the manifest's folder, or absolute."""
    start: float | None = None
    """Seconds from the beginning of the media file."""
    end: float | None = None
    """Seconds from the beginning of the media file."""
    region: str = ""
    """The half of the picture that shows the speaker, ``left`` or ``right``; empty where it is the whole picture."""


def media_path(manifest_path: str | os.PathLike[str], media: str) -> Path:
    """Return where a row's ``video`` or ``audio`` lies: relative paths start at the manifest's folder."""
    return Path(manifest_path).parent / media


def utterance_uid(utterance_id: str) -> int:
    """Return the 64-bit number that stands for an utterance wherever randomness or an array needs one."""
    return int.from_bytes(hashlib.blake2b(utterance_id.encode(), digest_size=8).digest(), "little")


def read_manifest(path: str | os.PathLike[str]) -> Iterator[ManifestRow]:
    """Stream the rows of a manifest.

    Raises:
        UserError: no such file, not UTF-8, a missing or repeated column, a row with another number of fields, an
            empty id, a control character, a bad time, no row at all, or (found when the last row has been read) an id
            that stands twice.
    """
    path = Path(path)
    uids = array("Q")
    for row in _rows(path):
        uids.append(utterance_uid(row.id))
        yield row
    if not uids:
        raise UserError(f"{path}: the manifest has a header but no row; add one row per utterance")
    _refuse_duplicates(path, uids)


def write_manifest(path: str | os.PathLike[str], rows: Iterable[ManifestRow]) -> None:
    """Write a manifest, whole or not at all; the column ``region`` is there if any row has one.

    Raises:
        UserError: an id that is empty or stands twice, a field with a control character, a bad time or region.
    """
    seen: set[str] = set()
    rows = list(rows)
    columns = (*COLUMNS, REGION) if any(row.region for row in rows) else COLUMNS
    with replaced_when_complete(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        stream.write("\t".join(columns) + "\n")
        for number, row in enumerate(rows, start=2):
            place = f"{path}, row {number}"
            fields = [_written(getattr(row, name)) for name in columns]
            _checked_row(place, number, dict(zip(columns, fields, strict=True)))
            if row.id in seen:
                raise UserError(f"{place}: id {row.id!r} stands twice; ids must be unique")
            seen.add(row.id)
            stream.write("\t".join(fields) + "\n")


def _written(value: str | float | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else repr(float(value))


def _rows(path: Path) -> Iterator[ManifestRow]:
    try:
        with open(regular(path), encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            header = next(reader, None)
            positions = _column_positions(path, header)
            width = len(header or ())
            for fields in reader:
                if not fields:
                    continue
                place = f"{path}, row {reader.line_num}"
                if len(fields) != width:
                    raise UserError(
                        f"{place}: {len(fields)} fields where the header has {width}; separate fields by one tab"
                    )
                yield _checked_row(place, reader.line_num, {name: fields[at] for name, at in positions.items()})
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); save the manifest as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}, row {reader.line_num}: {error}; a manifest is plain tab-separated text") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the manifest's path") from None


def _column_positions(path: Path, header: list[str] | None) -> dict[str, int]:
    if not header:
        raise UserError(f"{path}: empty; a manifest starts with the header {' '.join(COLUMNS)} (separated by tabs)")
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise UserError(
            f"{path}, row 1: no column {', '.join(missing)}; the header needs {' '.join(COLUMNS)} (separated by tabs)"
        )
    known = [name for name in (*COLUMNS, REGION) if name in header]
    repeated = [name for name in known if header.count(name) > 1]
    if repeated:
        raise UserError(f"{path}, row 1: column {', '.join(repeated)} stands twice; keep one")
    return {name: header.index(name) for name in known}


def _checked_row(place: str, line: int, fields: dict[str, str]) -> ManifestRow:
    for name, value in fields.items():
        found = _BREAKS_ROWS.search(value)
        if found:
            raise UserError(f"{place}: {name} holds the control character U+{ord(found[0]):04X}; replace it by a space")
    if not fields["id"].strip():
        raise UserError(f"{place}: empty id; give every utterance its own")
    region = fields.get(REGION, "")
    if region and region not in REGIONS:
        raise UserError(f"{place}: region {region!r}; give {' or '.join(REGIONS)}, or nothing, or rename the column")
    start, end = (_seconds(place, name, fields.pop(name)) for name in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise UserError(
            f"{place}: end {end:g} does not lie after start {start or 0.0:g}; give seconds from the file's beginning"
        )
    return ManifestRow(line=line, start=start, end=end, **fields)


def _seconds(place: str, name: str, value: str) -> float | None:
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0.0):
        raise UserError(f"{place}: {name} {value!r} is no time; give seconds such as 12.5, or leave the field empty")
    return seconds


def _refuse_duplicates(path: Path, uids: array[int]) -> None:
    """Look for equal 64-bit hashes; only if there are some, read the file again and compare the ids themselves."""
    import numpy as np

    ordered = np.sort(np.frombuffer(uids, dtype=np.uint64))
    suspects = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not suspects:
        return
    first_line: dict[str, int] = {}
    for row in _rows(path):
        if utterance_uid(row.id) not in suspects:
            continue
        if row.id in first_line:
            raise UserError(
                f"{path}, row {row.line}: id {row.id!r} already stands in row {first_line[row.id]}; ids must be unique"
            )
        first_line[row.id] = row.line
