"""Read the lists that ``memobert-extract`` keeps beside the frames of a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..core.names import counted
from .frames import frame_file
from .manifest import ManifestRow

SOURCES = "sources.tsv"
"""Names the file and the times that each utterance's frames come from."""
SOURCES_HEADER = "id\tfile\tstart\tend\tregion"
DROPPED = "dropped.tsv"
"""Gives the reason for every utterance that was left out."""
FAILED = "failed.tsv"
"""Gives the reason for every utterance whose file could not be used."""
REASONS_HEADER = "id\treason"


def listed(path: Path) -> dict[str, str]:
    """Return the rest of each line by its first column, without the header; nothing where there is no such list."""
    try:
        # A kill may have cut the last line off.
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    except OSError:
        return {}
    pairs = (line.partition("\t") for line in lines if line not in (REASONS_HEADER, SOURCES_HEADER))
    return {name: rest for name, tab, rest in pairs if tab}


def unfinished_extraction(folder: Path, rows: Iterable[ManifestRow]) -> Iterator[str]:
    """Yield a note where an extraction into a folder has neither written nor given up some of these utterances."""
    wanted = listed(folder / SOURCES).keys() - listed(folder / DROPPED).keys() - listed(folder / FAILED).keys()
    if not wanted:
        return
    written = {path.name for path in folder.iterdir()}
    lacking = sum(row.id in wanted and frame_file(folder, row.id).name not in written for row in rows)
    if lacking:
        yield (
            f"{folder}: {counted(lacking, 'utterance')} without the frames that memobert-extract was to write: it has "
            "not finished; start it again, then this command"
        )
