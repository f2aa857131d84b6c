"""Read intervals of voice from a file: RTTM, Audacity's labels, or a table of begin and end."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from ....core.errors import DefectiveClip, UserError
from ....core.files import regular
from ...media.companion import companion_file
from ...media.sound import SAMPLE_RATE
from ..voice import Interval, joined_intervals
from . import VOICE_DETECTORS

SUFFIXES: Final = (".tsv", ".rttm", ".txt")
"""Of the files in a folder. The content tells the format, not the suffix."""

_RTTM_TYPES: Final = frozenset(
    [
        "SPEAKER",
        "SPKR-INFO",
        "LEXEME",
        "NON-LEX",
        "NON-SPEECH",
        "FILLER",
        "EDIT",
        "IP",
        "SU",
        "CB",
        "A/P",
        "SEGMENT",
        "NOSCORE",
        "NO_RT_METADATA",
    ]
)
"""First words of RTTM's rows (NIST, RT-09 evaluation plan, appendix A); only SPEAKER rows are intervals of voice."""
_RTTM_COMMENT: Final = ";;"
_RTTM_LAST_NUMBER: Final = 4
_RTTM_SPEAKER_CELL: Final = 7
_AUDACITY_FREQUENCIES: Final = "\\"
"""First cell of the row that Audacity writes below a label with a range of frequencies."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """One row: an interval and the names in it, empty if the row has none."""

    begin: float
    end: float
    speaker: str
    film: str


@dataclass(frozen=True, slots=True)
class IntervalsOptions:
    """The files of intervals."""

    intervals: Path = field(
        metadata={
            "metavar": "PATH",
            "help": "RTTM, Audacity's labels, or a TSV of begin and end in the film's seconds; a folder holds one file "
            "per film, named like it",
        }
    )
    intervals_speaker: str | None = field(
        default=None,
        metadata={"metavar": "NAME", "help": "use the intervals of this speaker or label only (default: of all)"},
    )


@VOICE_DETECTORS.register("intervals")
class IntervalsFile:
    """Intervals of voice that another tool or a person wrote, in the film's time.

    Three formats are told apart by content. RTTM, as pyannote and other diarization tools write it: rows
    ``SPEAKER FILE CHANNEL ONSET DURATION … NAME``; if it is about several files, the rows with the film's name are
    used. Audacity's labels and plain tables: begin, end and optionally a label, separated by tabs; a first row without
    numbers is a header, and rows of no length (Audacity's point labels) are skipped.

    Args:
        path: the file of the only film there is, or a folder of files with one of :data:`SUFFIXES` (see
            :func:`memobert_plugin.features.media.companion.companion_file`).
        speaker: use rows of this speaker or label only; None: all rows, whoever speaks.

    Raises:
        UserError: no such file or folder.
    """

    name: Final = "intervals"
    summary: ClassVar = "intervals in a file (--intervals)"
    Options: ClassVar = IntervalsOptions

    @classmethod
    def from_options(cls, options: IntervalsOptions) -> IntervalsFile:
        """Build the detector."""
        return cls(options.intervals, options.intervals_speaker)

    def __init__(self, path: Path, speaker: str | None = None) -> None:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; give a file of intervals, or a folder with one per film")
        self.options: dict[str, Any] = {} if speaker is None else {"speaker": speaker}
        self._path, self._speaker = path, speaker
        self._read: tuple[Path, list[_Stretch]] | None = None
        self._intervals: list[Interval] | None = None

    def start(self, path: Path) -> None:
        """Take the film's intervals, from the file read last if that is the same.

        Raises:
            DefectiveClip: there is no file for this film, it has a bad row, or neither this film nor this speaker.
        """
        self._intervals = None
        file = companion_file(self._path, path, *SUFFIXES)
        if self._read is None or self._read[0] != file:
            self._read = (file, _read_stretches(file))
        stretches = _of_speaker(file, _of_film(file, self._read[1], path.stem), self._speaker)
        self._intervals = joined_intervals(sorted((row.begin, row.end) for row in stretches), 0.0)

    def intervals(self, samples: np.ndarray, start: float = 0.0) -> list[Interval]:
        """Return the film's intervals within the samples' time; the samples' values are not used."""
        if self._intervals is None:
            raise RuntimeError("start() comes before intervals()")
        seconds = len(samples) / SAMPLE_RATE
        inside = ((max(begin - start, 0.0), min(end - start, seconds)) for begin, end in self._intervals)
        return [(begin, end) for begin, end in inside if begin < end]


def _of_film(file: Path, stretches: list[_Stretch], film: str) -> list[_Stretch]:
    films = dict.fromkeys(row.film for row in stretches)
    if len(films) <= 1:
        return stretches
    if film not in films:
        raise DefectiveClip(f"{file}: has no rows about {film!r}; it is about {_listed(films)}")
    return [row for row in stretches if row.film == film]


def _of_speaker(file: Path, stretches: list[_Stretch], speaker: str | None) -> list[_Stretch]:
    if speaker is None or not stretches:
        return stretches
    speakers = dict.fromkeys(row.speaker for row in stretches)
    if speaker not in speakers:
        raise DefectiveClip(f"{file}: has no speaker {speaker!r}; it has {_listed(speakers)}")
    return [row for row in stretches if row.speaker == speaker]


def _listed(names: Iterable[str]) -> str:
    known = [repr(name[:40]) for name in names if name]
    return ", ".join(known[:5]) + (f" and {len(known) - 5} more" if len(known) > 5 else "") if known else "no names"


def _read_stretches(path: Path) -> list[_Stretch]:
    stretches: list[_Stretch] = []
    parse, is_first = _table_row, True
    try:
        with regular(path).open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip() or line.startswith(_RTTM_COMMENT):
                    continue
                if is_first and line.split(maxsplit=1)[0] in _RTTM_TYPES:
                    parse = _rttm_row
                row = parse(f"{path}, row {number}", line.rstrip("\n"), is_first)
                is_first = False
                if row is not None:
                    stretches.append(row)
    except FileNotFoundError:
        raise DefectiveClip(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DefectiveClip(f"{path}: cannot be read as a list of intervals ({error})") from None
    return stretches


def _rttm_row(place: str, line: str, is_first: bool) -> _Stretch | None:
    """Return the interval of a SPEAKER row, None for rows of other types."""
    cells = line.split()
    if cells[0] in _RTTM_TYPES and cells[0] != "SPEAKER":
        return None
    begin, length = (_seconds(cell) for cell in cells[3:5]) if len(cells) > _RTTM_LAST_NUMBER else (None, None)
    # A number after the length means that a blank in the file's name has moved the cells.
    shifted = len(cells) > _RTTM_LAST_NUMBER + 1 and _seconds(cells[_RTTM_LAST_NUMBER + 1]) is not None
    if cells[0] != "SPEAKER" or shifted or begin is None or length is None or length < 0:
        raise DefectiveClip(f"{place}: not SPEAKER, file, channel, begin and length in seconds, separated by spaces")
    speaker = cells[_RTTM_SPEAKER_CELL] if len(cells) > _RTTM_SPEAKER_CELL else ""
    return _Stretch(begin, begin + length, speaker, cells[1]) if length else None


def _table_row(place: str, line: str, is_first: bool) -> _Stretch | None:
    """Return the interval of a row of begin, end and label; None for headers and rows without length."""
    cells = line.split("\t")
    if cells[0] == _AUDACITY_FREQUENCIES and not is_first:
        return None
    bounds = [_seconds(cell) for cell in cells[:2]]
    if is_first and all(bound is None for bound in bounds):
        return None
    begin, end = bounds if len(bounds) == 2 else (None, None)
    if begin is None or end is None or end < begin:
        raise DefectiveClip(f"{place}: not begin and end in seconds, separated by a tab")
    return _Stretch(begin, end, cells[2].strip() if len(cells) > 2 else "", "") if begin < end else None


def _seconds(text: str) -> float | None:
    """Parse seconds; Audacity may write a decimal comma. None for anything else, NaN and infinity included."""
    try:
        seconds = float(text.replace(",", "."))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
