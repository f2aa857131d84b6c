"""Manifests that come by a pipe."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from ..core.console import name_in_messages, note
from ..data.manifest import FILE_ADDRESS, manifest_notes, read_manifest, write_manifest

_NAME = "standard input"


def piped_manifest(path: Path) -> Path:
    """Return the path of a manifest; that of a copy of standard input, kept until the process ends, where it is ``-``.

    Relative paths in it start at the current folder.

    Raises:
        UserError: as :func:`~memobert_plugin.data.manifest.read_manifest`.
    """
    if str(path) != "-":
        return path
    content = sys.stdin.buffer.read()
    header = content[:1000].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \r\n").partition(b"\n")[0]
    suffix = ".jsonl" if header[:1] in (b"{", b"[") else ".tsv" if b"\t" in header else ".csv"
    folder = Path(tempfile.mkdtemp(prefix="memobert-manifest-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copied = suffix if suffix == ".jsonl" else ".tsv"
    given, copy = folder / f"given{suffix}", folder / f"standard-input{copied}"
    given.write_bytes(content)
    name_in_messages(given, _NAME)
    name_in_messages(copy, _NAME)
    for remark in manifest_notes(given):
        note(remark)
    rows = [replace(row, video=_absolute(row.video), audio=_absolute(row.audio)) for row in read_manifest(given)]
    write_manifest(copy, rows)
    _place_at(copy, [row.line for row in rows])
    return copy


def _place_at(manifest: Path, numbers: list[int]) -> None:
    """Move the rows of a manifest to these lines, ascending, so that messages number them as they were given."""
    written = manifest.read_text(encoding="utf-8").rstrip("\n").split("\n")
    header, rows = written[: len(written) - len(numbers)], written[len(written) - len(numbers) :]
    lines = header + [""] * (numbers[-1] - len(header))
    for number, row in zip(numbers, rows, strict=True):
        lines[number - 1] = row
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _absolute(media: str) -> str:
    return os.path.abspath(media) if media and not media.startswith(FILE_ADDRESS) else media
