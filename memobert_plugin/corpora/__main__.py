"""``python -m memobert_plugin.corpora``: a corpus as its publisher ships it becomes a manifest."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..errors import run_command
from .meld import read_meld
from .ravdess import read_ravdess
from .reading import Reading

_SHOWN_DEFECTS = 20


def build_parser() -> argparse.ArgumentParser:
    """The flags of every corpus."""
    parser = argparse.ArgumentParser(
        prog="python -m memobert_plugin.corpora",
        description="Write the manifest of a corpus from its publisher's files.",
        epilog="Exit status: 0 done; 1 done, but more was left out than --max-failed-share allows; 2 a mistake in the "
        "input, and nothing was written.",
    )
    corpora = parser.add_subparsers(title="corpora", required=True, metavar="CORPUS")
    ravdess = corpora.add_parser("ravdess", help="RAVDESS speech: sound, film or both")
    _add_flags(ravdess, "folder that holds Actor_01 to Actor_24, at any depth")
    ravdess.set_defaults(read=lambda options: read_ravdess(options.folder))
    meld = corpora.add_parser("meld", help="MELD: text, and clips where you have them")
    _add_flags(meld, "folder with train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv (one or more of them)")
    meld.add_argument("--media", type=Path, metavar="FOLDER", help="where the archives of clips were unpacked")
    meld.set_defaults(read=lambda options: read_meld(options.folder, options.media))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = build_parser().parse_args(arguments)
    reading: Reading = options.read(options)
    if options.rename_emotions:
        reading = reading.renamed(options.rename_emotions)
    if options.emotions:
        reading = reading.of_emotions(options.emotions)
    if options.valid_share is not None:
        reading = reading.with_valid_share(options.valid_share)
    for defect in reading.defects[:_SHOWN_DEFECTS]:
        print(f"left out: {defect}", file=sys.stderr)
    if len(reading.defects) > _SHOWN_DEFECTS:
        print(f"left out: {len(reading.defects) - _SHOWN_DEFECTS} more", file=sys.stderr)
    reading.write(options.output)
    print("\n".join([f"{options.output}: {_summary(reading)}", *reading.remarks]))
    if reading.failed_share > options.max_failed_share:
        print(
            f"{len(reading.defects)} left out, more than --max-failed-share {options.max_failed_share:g}",
            file=sys.stderr,
        )
        return 1
    return 0


def _add_flags(parser: argparse.ArgumentParser, folder: str) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help=folder)
    parser.add_argument("--output", type=Path, required=True, metavar="TSV", help="the manifest to write")
    parser.add_argument(
        "--rename-emotions",
        type=_renamings,
        metavar="OLD=NEW,...",
        help="other names for emotions, as calm=neutral,angry=anger; two that get one name become one",
    )
    parser.add_argument("--emotions", type=_names, metavar="NAME,...", help="keep these only (new names count)")
    parser.add_argument(
        "--valid-share",
        type=_share,
        metavar="SHARE",
        help="make the split column: about this share of the utterances in 'valid', chosen by their ids, the rest in "
        "'train' (default: as published)",
    )
    parser.add_argument(
        "--max-failed-share",
        type=_share,
        default=0.01,
        metavar="SHARE",
        help="exit with status 1 when more than this share of the files or rows is left out (default: %(default)s)",
    )


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing")
    return names


def _renamings(text: str) -> dict[str, str]:
    pairs = [name.split("=") for name in _names(text)]
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


def _summary(reading: Reading) -> str:
    def counted(values: Counter[str]) -> str:
        return ", ".join(f"{value} {count}" for value, count in sorted(values.items()))

    parts = [f"{len(reading.rows)} utterances of {len({row.speaker for row in reading.rows})} speakers"]
    parts.append(f"emotions: {counted(Counter(row.emotion for row in reading.rows))}")
    splits = Counter(row.split for row in reading.rows if row.split)
    if splits:
        parts.append(f"splits: {counted(splits)}")
    return "; ".join(parts)


if __name__ == "__main__":
    sys.argv[0] = "python -m memobert_plugin.corpora"
    run_command(main)
