"""Read and write manifests: one row per utterance, the only file that a corpus has to be turned into.

The suffix tells the format. ``.csv`` is CSV with quotes (separated by commas, semicolons or tabs, as its header shows),
``.jsonl``, ``.ndjson`` and ``.json`` are JSON objects, one a line or in one array. Anything else is tab-separated
without quotes, so that a quotation mark is an ordinary character. A file is UTF-8, or UTF-16 with a byte order mark.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
import math
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote_to_bytes

from ..core.errors import UserError
from ..core.files import regular, replaced_when_complete
from ..core.names import DIMENSION_NAMES, counted

COLUMNS = ("id", "speaker", "session", "split", "text", "emotion", "video", "audio", "start", "end")
"""The columns in the order of :func:`write_manifest`. A manifest needs ``id`` only, and may have others beside them."""

REGION = "region"
"""A further column for corpora that show several people in one picture."""
REGIONS = ("left", "right")
"""Halves of the picture."""
TEXT_SOURCE = "text_source"
"""A further column for corpora whose text was not written by people: ``transcribed``, by which recogniser, and the
language."""
TRANSCRIBED = "transcribed"
PART = "part"
"""A further column for corpora of several parts that a report tells apart, such as ``scripted`` and ``improvised``."""
VOTES = "votes"
"""A further column for corpora that several people labelled: how many chose each emotion, as in ``anger=3 happy=1``."""
LABELS = "labels"
"""A further column for corpora whose utterances have several labels at once, as in ``happy;surprised``."""
FURTHER = (REGION, TEXT_SOURCE, PART, VOTES, LABELS, *DIMENSION_NAMES)
"""Columns that are written if any row has them."""
KNOWN = (*COLUMNS, *FURTHER)

_MEANT = {
    **dict.fromkeys(("file", "path", "filename", "file_name", "filepath", "clip", "media"), "audio or video"),
    **dict.fromkeys(("wav", "sound", "wav_path", "audio_path", "audio_file"), "audio"),
    **dict.fromkeys(("film", "mp4", "video_path", "video_file"), "video"),
    **dict.fromkeys(("label", "class", "target", "category"), "emotion"),
    **dict.fromkeys(("transcript", "transcription", "sentence", "words", "utterance"), "text"),
    **dict.fromkeys(("actor", "subject", "speaker_id", "spk"), "speaker"),
    **dict.fromkeys(("begin", "onset", "start_time"), "start"),
    **dict.fromkeys(("offset", "stop", "end_time"), "end"),
    **dict.fromkeys(("subset", "set", "partition"), "split"),
}
"""Columns as other projects call them."""
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
_LINES_FOR_NOTES = 100
_LARGEST_RATING = 3e38
"""Data-bins hold ratings as float32."""

_BREAKS_ROWS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
"""Control characters and line ends; surrogates, which stand for bytes of a file name that are not UTF-8."""
_NO_PATH = re.compile("\x00")
FILE_ADDRESS = "file:///"
MEDIA = ("video", "audio")
"""The columns that hold paths."""
_INNER_BREAKS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """An utterance. Unknown fields are empty strings, unknown times None."""

    line: int
    """Line of the manifest (a header is line 1); ignored on writing."""
    id: str
    speaker: str = ""
    session: str = ""
    split: str = ""
    text: str = ""
    emotion: str = ""
    video: str = ""
    """Path relative to the manifest's folder, absolute, or a percent-encoded ``file:///`` address."""
    audio: str = ""
    """Path relative to the manifest's folder, absolute, or a percent-encoded ``file:///`` address."""
    start: float | None = None
    """Seconds from the beginning of the media file."""
    end: float | None = None
    """Seconds from the beginning of the media file."""
    region: str = ""
    """The half of the picture that shows the speaker, ``left`` or ``right``; empty for the whole picture."""
    text_source: str = ""
    """``transcribed whisper 0123456789ab en`` for words that a recogniser heard; empty for others."""
    part: str = ""
    """The part of the corpus, such as ``scripted``; empty where it has none."""
    votes: str = ""
    """The annotators who chose each emotion, counted, as :func:`.votes.parse_votes` reads it; empty where unknown."""
    labels: str = ""
    """Several labels at once, separated by semicolons; empty where unknown."""
    valence: float | None = None
    """On the corpus' own scale, like the two others; None where unknown."""
    arousal: float | None = None
    dominance: float | None = None


def media_path(manifest_path: str | os.PathLike[str], media: str) -> Path:
    """Return the path of a row's ``video`` or ``audio``; relative ones start at the manifest's folder.

    A ``file:///`` address, percent-encoded, names a file whose name a row cannot hold.
    """
    if media.startswith(FILE_ADDRESS):
        return Path(os.fsdecode(unquote_to_bytes(media[len(FILE_ADDRESS) - 1 :])))
    return Path(manifest_path).parent / media


def utterance_uid(utterance_id: str) -> int:
    """Return the 64-bit number of an utterance, for random draws and arrays."""
    return int.from_bytes(hashlib.blake2b(utterance_id.encode(), digest_size=8).digest(), "little")


def read_manifest(path: str | os.PathLike[str]) -> Iterator[ManifestRow]:
    """Stream the rows of a manifest.

    Raises:
        UserError: no such file, another encoding, no column ``id``, a repeated column, a row with another number of
            fields, an empty id, a control character, a bad time, no row at all, or (found when the last row has been
            read) an id that occurs twice.
    """
    path = Path(path)
    uids = array("Q")
    for row in _rows(path):
        uids.append(utterance_uid(row.id))
        yield row
    if not uids:
        raise UserError(f"{path}: the manifest has no row; add one row per utterance")
    _refuse_duplicates(path, uids)


def manifest_notes(path: str | os.PathLike[str]) -> list[str]:
    """Return a line about the columns that are not used, or no line.

    Of JSON lines, only the first hundred are looked at.

    Raises:
        UserError: as :func:`read_manifest`, for a header.
    """
    path = Path(path)
    with _opened(path) as stream:
        if _is_json(path):
            objects = islice(_json_objects(path, stream), _LINES_FOR_NOTES)
            names = dict.fromkeys(name for _, fields in objects for name in fields)
        else:
            names = dict.fromkeys(_table(path, stream)[0])
    unused = [name for name in names if name.strip() and _column(name) not in KNOWN]
    if not unused:
        return []
    near = {
        name: _MEANT.get(_column(name)) or next(iter(difflib.get_close_matches(_column(name), KNOWN, 1, 0.75)), "")
        for name in unused
    }
    listed = ", ".join(f"{name} (did you mean {close}?)" if close else name for name, close in near.items())
    return [f"{path}: columns that are not used: {listed}"]


def write_manifest(path: str | os.PathLike[str], rows: Iterable[ManifestRow], *, named_by_user: bool = False) -> None:
    """Write a manifest in the format of its suffix, whole or not at all.

    Columns of :data:`FURTHER` are there if any row has them; ``named_by_user`` as in
    :func:`~memobert_plugin.core.files.replaced_when_complete`.

    Raises:
        UserError: an id that is empty or occurs twice, a field with a control character, a bad time or region.
    """
    path = Path(path)
    rows = list(rows)
    columns = [*COLUMNS, *(name for name in FURTHER if any(getattr(row, name) not in ("", None) for row in rows))]
    seen: set[str] = set()
    with (
        replaced_when_complete(path, named_by_user=named_by_user) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as stream,
    ):
        write = _row_writer(path, stream, columns)
        for number, row in enumerate(rows, start=2):
            place = f"{path}, row {number}"
            row = replace(row, video=_writable(path, row.video), audio=_writable(path, row.audio))
            _checked_row(place, number, {name: _written(getattr(row, name)) for name in columns})
            if row.id in seen:
                raise UserError(f"{place}: id {row.id!r} occurs twice; ids must be unique")
            seen.add(row.id)
            write(row)


def _row_writer(path: Path, stream: IO[str], columns: Sequence[str]) -> Callable[[ManifestRow], object]:
    """Write the header, where the format has one, and return the function that writes a row."""
    if _is_json(path):

        def write_object(row: ManifestRow) -> None:
            fields = {name: value for name in columns if (value := getattr(row, name)) not in ("", None)}
            stream.write(json.dumps(fields, ensure_ascii=False) + "\n")

        return write_object
    if path.suffix.lower() == ".csv":
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        return lambda row: writer.writerow([_written(getattr(row, name)) for name in columns])
    stream.write("\t".join(columns) + "\n")
    return lambda row: stream.write("\t".join([_written(getattr(row, name)) for name in columns]) + "\n")


def _writable(manifest: Path, media: str) -> str:
    """Return a media path as a row can hold it: as an address where the name has control characters or no UTF-8."""
    return media_path(manifest, media).absolute().as_uri() if _BREAKS_ROWS.search(media) else media


def _written(value: str | float | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else repr(float(value))


def _is_json(path: Path) -> bool:
    return path.suffix.lower() in JSON_SUFFIXES


def _column(name: str) -> str:
    """Return a header's name as it is compared: ``" ID"`` is ``id``."""
    return name.strip().lower()


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """Open a manifest as text with its own line ends; report what cannot be read in one line."""
    try:
        with open(regular(path), "rb") as stream:
            begin = stream.read(2)
        # Excel's "Unicode text" is UTF-16.
        encoding = "utf-16" if begin in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        with open(path, encoding=encoding, newline="") as text:
            yield text
    except UnicodeError as error:
        raise UserError(
            f"{path}: not {encoding.upper().removesuffix('-SIG')} ({error}); save the manifest as UTF-8"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the manifest's path") from None


def _rows(path: Path) -> Iterator[ManifestRow]:
    with _opened(path) as stream:
        yield from _json_rows(path, stream) if _is_json(path) else _table_rows(path, stream)


def _table(path: Path, stream: IO[str]) -> tuple[list[str], Any, str]:
    """Return the header, the reader of the rows below it and the delimiter."""
    line = stream.readline()
    delimiter = "\t"
    if path.suffix.lower() == ".csv":
        if line.startswith("sep="):  # written by Excel
            line = stream.readline()
        delimiter = max(_DELIMITERS, key=line.count)
    stream.seek(0)
    if delimiter == "\t":
        reader = csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
    try:
        header = next((fields for fields in reader if fields and not fields[0].startswith("sep=")), [])
    except csv.Error as error:
        raise UserError(f"{path}, row {reader.line_num}: {error}; {_ADVICE}") from None
    return header, reader, delimiter


_ADVICE = "a manifest is plain tab-separated text, or CSV named .csv"


def _table_rows(path: Path, stream: IO[str]) -> Iterator[ManifestRow]:
    header, reader, delimiter = _table(path, stream)
    positions = _column_positions(path, header)
    width = len(header)
    quoted = delimiter != "\t"
    try:
        for fields in reader:
            if not fields or (quoted and not any(fields)):
                continue
            place = f"{path}, row {reader.line_num}"
            if len(fields) != width:
                raise UserError(
                    f"{place}: {counted(len(fields), 'field')} where the header has {width}; separate fields by one "
                    f"{_DELIMITERS[delimiter]}"
                )
            named = {name: fields[at] for name, at in positions.items()}
            if quoted and "text" in named:
                named["text"] = _INNER_BREAKS.sub(" ", named["text"])
            yield _checked_row(place, reader.line_num, named)
    except csv.Error as error:
        raise UserError(f"{path}, row {reader.line_num}: {error}; {_ADVICE}") from None


def _column_positions(path: Path, header: list[str]) -> dict[str, int]:
    if not header:
        raise UserError(f"{path}: empty; a manifest starts with the header {' '.join(COLUMNS)} (separated by tabs)")
    columns = [_column(name) for name in header]
    if "id" not in columns:
        other = next((mark for mark in ",;" if "id" in map(_column, header[0].split(mark))), "")
        advice = f"known are {', '.join(KNOWN)}, separated by tabs (in a .csv by commas)"
        if other:
            advice = f"its header is separated by {_DELIMITERS[other]}s: rename it to .csv"
        raise UserError(f"{path}, row 1: no column id; {advice}")
    known = [name for name in KNOWN if name in columns]
    repeated = [name for name in known if columns.count(name) > 1]
    if repeated:
        raise UserError(f"{path}, row 1: column {', '.join(repeated)} occurs twice; keep one")
    return {name: columns.index(name) for name in known}


def _json_objects(path: Path, stream: IO[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the fields of every object, one a line or all in one array."""
    try:
        begin = stream.read(1)
        while begin.isspace():
            begin = stream.read(1)
        if begin == "[":
            yield from enumerate(_objects(path, json.loads("[" + stream.read())), start=1)
            return
        stream.seek(0)
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, next(_objects(f"{path}, row {number}", [json.loads(line)]))
    except (UserError, UnicodeError):
        raise
    except (ValueError, RecursionError) as error:  # ValueError: also for a number of too many digits
        raise UserError(f"{path}: not JSON lines ({error}); write one object a line") from None


def _objects(place: str | Path, values: list[Any]) -> Iterator[dict[str, Any]]:
    for value in values:
        if not isinstance(value, dict):
            raise UserError(f"{place}: {str(value)[:40]} is not an object with the fields {', '.join(KNOWN)}")
        yield value


def _json_rows(path: Path, stream: IO[str]) -> Iterator[ManifestRow]:
    for number, given in _json_objects(path, stream):
        place = f"{path}, row {number}"
        fields: dict[str, str] = {}
        for name, value in given.items():
            column = _column(name)
            if column not in KNOWN or value is None:
                continue
            if column in fields:
                raise UserError(f"{place}: field {column} occurs twice; keep one")
            if column == LABELS and isinstance(value, list):
                value = ";".join(map(str, value))
            if isinstance(value, bool) or not isinstance(value, (str, int, float)):
                raise UserError(f"{place}: {name} is {str(value)[:40]}; give text, a number or null")
            fields[column] = str(value)
        if "id" not in fields:
            raise UserError(f"{place}: no field id; give every utterance its own")
        if "text" in fields:
            fields["text"] = _INNER_BREAKS.sub(" ", fields["text"])
        yield _checked_row(place, number, fields)


def _checked_row(place: str, line: int, fields: dict[str, str]) -> ManifestRow:
    """Return the row; the columns that hold numbers are taken out of ``fields``."""
    for name, value in fields.items() if _BREAKS_ROWS.search("".join(fields.values())) else ():
        # CSV and JSON can hold any file name; where a manifest is written, addresses replace what it cannot hold.
        found = _NO_PATH.search(value) if name in MEDIA else _BREAKS_ROWS.search(value)
        if found and "\ud800" <= found[0] <= "\udfff":
            raise UserError(f"{place}: {name} holds bytes that are not UTF-8; rename the file")
        if found:
            raise UserError(f"{place}: {name} holds the control character U+{ord(found[0]):04X}; replace it by a space")
    if not fields["id"].strip():
        raise UserError(f"{place}: empty id; give every utterance its own")
    region = fields.get(REGION, "")
    if region and region not in REGIONS:
        raise UserError(f"{place}: region {region!r}; give {' or '.join(REGIONS)}, or nothing, or rename the column")
    start, end = (_seconds(place, name, fields.pop(name, "")) for name in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise UserError(
            f"{place}: end {end:g} is not after start {start or 0.0:g}; give seconds from the file's beginning"
        )
    numbers: dict[str, Any] = {name: _rating(place, name, fields.pop(name, "")) for name in DIMENSION_NAMES}
    return ManifestRow(line=line, start=start, end=end, **numbers, **fields)  # type: ignore[arg-type]


def _rating(place: str, name: str, value: str) -> float | None:
    if not value.strip():
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not abs(number) <= _LARGEST_RATING:
        raise UserError(f"{place}: {name} {value[:40]!r} is not a number; give one such as 3.5, or leave it empty")
    return number


def _seconds(place: str, name: str, value: str) -> float | None:
    if not value.strip():
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0.0):
        raise UserError(f"{place}: {name} {value!r} is not a time; give seconds such as 12.5, or leave the field empty")
    return seconds


def _refuse_duplicates(path: Path, uids: array[int]) -> None:
    """Raise if an id occurs twice.

    Equal 64-bit hashes are looked for first. Only if there are some, the file is read again and its ids are compared.
    """
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
                f"{path}, row {row.line}: id {row.id!r} is already in row {first_line[row.id]}; ids must be unique"
            )
        first_line[row.id] = row.line
