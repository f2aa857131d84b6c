"""A folder that holds one extractor's frames, one file per utterance, written by one run at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from ...core.errors import UserError, room_is_needed
from ...core.files import replaced_when_complete, taken
from ...data.extraction_lists import FAILED, REASONS_HEADER
from ...data.frames import ExtractorInfo, read_extractor_info, write_extractor_info
from ...data.manifest import read_manifest
from ..media.streams import ANY_STREAMS, StreamChoice, respelled

STREAMS_NAME: Final = "streams.json"
_LOCK_NAME: Final = ".lock"
_TEMPORARY_PREFIX: Final = ".writing-"


def finished_files(folder: Path) -> set[str]:
    """Return the names of the frame files in a folder that may not exist yet."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.name.endswith(".npz") and not entry.name.startswith(".")}


def refuse_other_extractor(folder: Path, info: ExtractorInfo, streams: StreamChoice = ANY_STREAMS) -> None:
    """Check that a folder's frames, if there are any, come from the same encoder and streams with the same options.

    Raises:
        UserError: they come from others, or the folder has frames and no ``extractor.json``.
    """
    if not finished_files(folder):
        return
    advice = "give another --output, or --overwrite to replace all frames in it"
    found = replace(read_extractor_info(folder), version=info.version)
    if found.name == ExtractorInfo().name:
        raise UserError(f"{folder}: holds frames of an unknown extractor (no extractor.json); {advice}")
    if found != info:
        raise UserError(f"{folder}: holds frames of another extractor ({_differences(found, info)}); {advice}")
    asked = _asked(streams)
    read = respelled(_noted_streams(folder), asked)
    if read != asked:
        names = [f"{name} {read.get(name)}, not {asked.get(name)}" for name in sorted(read.keys() | asked.keys())]
        raise UserError(f"{folder}: holds frames of other streams of the films ({'; '.join(names)}); {advice}")


def _asked(streams: StreamChoice) -> dict[str, Any]:
    return {name: value for name, value in asdict(streams).items() if value is not None}


def _noted_streams(folder: Path) -> dict[str, Any]:
    """Return the streams that a folder's frames were asked to come from; nothing where nobody asked."""
    try:
        return dict(json.loads((folder / STREAMS_NAME).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError):
        raise UserError(f"{folder / STREAMS_NAME}: damaged; give another --output, or --overwrite") from None


def _note_streams(folder: Path, streams: StreamChoice) -> None:
    if asked := _asked(streams):
        with replaced_when_complete(folder / STREAMS_NAME) as temporary:
            temporary.write_text(json.dumps(asked) + "\n", encoding="utf-8")
    else:
        (folder / STREAMS_NAME).unlink(missing_ok=True)


@contextmanager
def frames_are_written(
    folder: Path, info: ExtractorInfo, *, overwrite: bool, streams: StreamChoice = ANY_STREAMS
) -> Iterator[None]:
    """Hold a folder for one run: take its lock, remove a killed run's leftovers, write ``extractor.json``.

    With ``overwrite`` frames of another extractor or of other streams are removed first, so that a folder never mixes
    two. ``streams.json`` notes streams that the user asked for.

    Raises:
        DiskFull: the disk is full; finished files stay.
        UserError: another run writes to the folder, or it has another extractor's frames and ``overwrite`` is False.
    """
    with room_is_needed(folder), _held(folder):
        try:
            refuse_other_extractor(folder, info, streams)
        except UserError:
            if not overwrite:
                raise
            for name in finished_files(folder):
                (folder / name).unlink()
        write_extractor_info(folder, info)
        _note_streams(folder, streams)
        yield


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / _LOCK_NAME, "a", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); give another --output") from None
    with lock:
        if not taken(lock.fileno()):
            raise UserError(f"{folder}: another extraction writes to it; wait, or give another --output")
        for leftover in folder.glob(f"{_TEMPORARY_PREFIX}*"):
            leftover.unlink()
        yield


def in_manifest_order(reasons: Sequence[tuple[str, str]], manifest: Path) -> list[tuple[str, str]]:
    """Sort (id, reason) pairs like the manifest's rows; processes and jobs return them in any order."""
    if not reasons:
        return []
    by_id = dict(reasons)
    return [(row.id, by_id[row.id]) for row in read_manifest(manifest) if row.id in by_id]


def write_failures(folder: Path, failures: Sequence[tuple[str, str]]) -> None:
    """Write ``failed.tsv``, or remove an old one when nothing failed."""
    write_reasons(folder / FAILED, failures)


def write_reasons(path: Path, reasons: Sequence[tuple[str, str]]) -> None:
    """Write (id, reason) pairs as a TSV with a header; without any, remove the file."""
    if not reasons:
        path.unlink(missing_ok=True)
        return
    # Reasons name files, and names of files need be neither one line nor UTF-8.
    with replaced_when_complete(path) as temporary:
        lines = (f"{' '.join(name.split())}\t{' '.join(reason.split())}\n" for name, reason in reasons)
        temporary.write_text(f"{REASONS_HEADER}\n" + "".join(lines), encoding="utf-8", errors="backslashreplace")


def _differences(found: ExtractorInfo, wanted: ExtractorInfo) -> str:
    if found.name != wanted.name:
        return f"{found.name}, not {wanted.name}"
    options = [
        f"{name} {found.options.get(name)!r}, not {wanted.options.get(name)!r}"
        for name in sorted(found.options.keys() | wanted.options.keys())
        if found.options.get(name) != wanted.options.get(name)
    ]
    if found.weights_sha256 != wanted.weights_sha256:
        options.append("other weights")
    return "; ".join(options) or "another frame rate, dimension or classes"
