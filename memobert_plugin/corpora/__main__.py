"""``python -m memobert_plugin.corpora``: write the manifest of a corpus from its publisher's files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.console import CommandParser, run_command, say
from ..core.errors import UserError
from ..core.files import messages_kept_apart, refuse_existing_file
from ..core.flags import add_flags, options_from
from .reading import CORPORA, Corpus, Reading, names_list

_SHOWN_DEFECTS = 20


def _renamings(text: str) -> dict[str, str]:
    pairs = [name.split("=") for name in names_list(text)]
    wrong = ["=".join(pair) for pair in pairs if len(pair) != 2 or not all(part.strip() for part in pair)]
    if wrong:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is not OLD=NEW")
    return {old.strip(): new.strip() for old, new in pairs}


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1")
    return share


@dataclass(frozen=True)
class ManifestOptions:
    """The flags that all corpora of utterances take."""

    rename_emotions: dict[str, str] | None = field(
        default=None,
        metadata={
            "type": _renamings,
            "metavar": "OLD=NEW,...",
            "help": "other names for emotions, as calm=neutral,angry=anger; two that get one name become one",
        },
    )
    emotions: tuple[str, ...] | None = field(
        default=None, metadata={"type": names_list, "metavar": "NAME,...", "help": "keep these only (new names count)"}
    )
    valid_share: float | None = field(
        default=None,
        metadata={
            "type": _share,
            "metavar": "SHARE",
            "help": "make the split column: about this share of the utterances in 'valid', chosen by their ids, the "
            "rest in 'train' (default: as published)",
        },
    )
    max_failed_share: float = field(
        default=0.01,
        metadata={
            "type": _share,
            "metavar": "SHARE",
            "help": "exit with status 1 when more than this share of the files or rows is left out",
        },
    )


def build_parser(asked: str | None = None) -> argparse.ArgumentParser:
    """Return the flags of one corpus, or of every corpus."""
    parser = CommandParser(
        prog="memobert corpora",
        description="Write the manifest of a corpus from its publisher's files.",
        epilog="A folder of films with subtitles needs none of these: memobert-extract film. "
        "Exit status: 0 done; 1 done, but more was left out than --max-failed-share allows; 2 a mistake in the "
        "input or other counts than the publisher's, and nothing was written.",
    )
    corpora = parser.add_subparsers(title="corpora", required=True, metavar="CORPUS")
    # Only the corpus asked for is loaded: another package's may be slow to import, or broken.
    for name, corpus in CORPORA.items() if asked is None else [(asked, CORPORA.get(asked))]:
        add_corpus_flags(corpora.add_parser(name, help=corpus.help), name, corpus)
    return parser


def add_corpus_flags(parser: argparse.ArgumentParser, name: str, corpus: Corpus) -> None:
    """Add the flags of one corpus, for :func:`read_and_write`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help=corpus.folder)
    manifest = corpus.makes == "manifest"
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="TSV" if manifest else "FOLDER",
        help="the manifest to write (.tsv, .csv, .jsonl)" if manifest else "the folder of pictures to write",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    add_flags(parser, [("", corpus.options), *([("", ManifestOptions)] if manifest else [])])
    parser.set_defaults(corpus=corpus, name=name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = given[0] if given and given[0] in CORPORA.names() else None
    return read_and_write(build_parser(asked).parse_args(given))


def read_and_write(flags: argparse.Namespace) -> int:
    """Read the corpus of some parsed flags, write its manifest or pictures, and return the exit status."""
    corpus: Corpus = flags.corpus
    options: Any = options_from(flags, corpus.options, flags.name)
    refuse_existing_file(flags.output, flags.overwrite)
    if flags.output.is_dir() and any(flags.output.iterdir()) and not flags.overwrite:
        raise UserError(f"{flags.output}: holds files already; give --overwrite, or choose another output")
    reading = corpus.read(flags.folder, options)
    if reading.other_counts and not getattr(options, "allow_other_counts", True):
        if isinstance(reading, Reading):
            _show_defects(reading)
        raise UserError(
            f"{flags.folder}: {'; '.join(reading.other_counts)}; complete the copy, or give --allow-other-counts"
        )
    if not isinstance(reading, Reading):
        reading.write(flags.output)
        say(f"{flags.output}: {reading.summary()}", *reading.other_counts)
        return 0
    return _write_manifest(reading, flags.output, options_from(flags, ManifestOptions, flags.name))


def _write_manifest(reading: Reading, output: Path, options: ManifestOptions) -> int:
    if options.rename_emotions:
        reading = reading.renamed(options.rename_emotions)
    if options.emotions:
        reading = reading.of_emotions(options.emotions)
    if options.valid_share is not None:
        reading = reading.with_valid_share(options.valid_share)
    _show_defects(reading)
    reading.write(output)
    with messages_kept_apart(output):
        say(f"{output}: {reading.summary()}", *reading.remarks, *reading.other_counts)
    if reading.failed_share > options.max_failed_share:
        print(
            f"{len(reading.defects)} left out, more than --max-failed-share {options.max_failed_share:g}",
            file=sys.stderr,
        )
        return 1
    return 0


def _show_defects(reading: Reading) -> None:
    for defect in reading.defects[:_SHOWN_DEFECTS]:
        print(f"left out: {defect}", file=sys.stderr)
    if len(reading.defects) > _SHOWN_DEFECTS:
        print(f"left out: {len(reading.defects) - _SHOWN_DEFECTS} more", file=sys.stderr)


if __name__ == "__main__":
    sys.argv[0] = "memobert corpora"
    run_command(main)
