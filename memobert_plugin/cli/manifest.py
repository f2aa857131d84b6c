"""``memobert-manifest``: make a manifest from a folder of clips."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..core.console import CommandParser, run_command
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


def cli_main() -> None:
    """Entry point of ``memobert-manifest``."""
    run_command(main)
