"""``memobert-manifest``: make a manifest from a folder of clips; and manifests that come by a pipe."""

from __future__ import annotations

import argparse
import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..core.console import CommandParser, note, run_command
from ..core.errors import UserError
from ..corpora import __main__ as corpora
from ..corpora.clips import CLIPS

_EPILOG = """\
talk.mp4 and talk.wav are one clip; talk.srt (.vtt, .ass, a transcript …) cuts it into a row for each line; talk.txt or
talk.lab holds its words. The suffix of --output decides between TSV, .csv and .jsonl.

  memobert manifest clips --names '{speaker}/{emotion}_{}' --output manifest.tsv

reads alice/happy_01.wav as an utterance of alice that is happy.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the flags of the corpus of clips."""
    parser = CommandParser(
        command="manifest",
        description="Make a manifest, one utterance a row, from a folder of clips with subtitles or words beside them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    corpora.add_corpus_flags(parser, "clips", CLIPS)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return corpora.read_and_write(build_parser().parse_args(sys.argv[1:] if arguments is None else arguments))


def piped_manifest(path: Path) -> Path:
    """Return the path of a manifest; that of a copy of standard input, kept until the process ends, where it is ``-``.

    Relative paths in it start at the current folder.

    Raises:
        UserError: as :func:`..data.manifest.read_manifest`.
    """
    if str(path) != "-":
        return path
    from ..data.manifest import manifest_notes, read_manifest, write_manifest

    content = sys.stdin.buffer.read()
    header = content[:1000].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \r\n").partition(b"\n")[0]
    suffix = ".jsonl" if header[:1] in (b"{", b"[") else ".tsv" if b"\t" in header else ".csv"
    folder = Path(tempfile.mkdtemp(prefix="memobert-manifest-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    given, copy = folder / f"given{suffix}", folder / "standard-input.tsv"
    given.write_bytes(content)
    try:
        for remark in manifest_notes(given):
            note(remark.replace(str(given), "standard input"))
        rows = read_manifest(given)
        write_manifest(copy, (replace(row, video=_absolute(row.video), audio=_absolute(row.audio)) for row in rows))
    except UserError as error:
        raise UserError(str(error).replace(str(given), "standard input")) from None
    return copy


def _absolute(media: str) -> str:
    from ..data.manifest import FILE_ADDRESS

    return os.path.abspath(media) if media and not media.startswith(FILE_ADDRESS) else media


def cli_main() -> None:
    """Entry point of ``memobert-manifest``."""
    run_command(main)
