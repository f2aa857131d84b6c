"""``python -m memobert_plugin.corpora``: a corpus as its publisher ships it becomes a manifest."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import UserError, run_command
from ..core.files import messages_kept_apart
from .crema_d import VOTES, read_crema_d
from .ferplus import pack_ferplus
from .iemocap import read_iemocap
from .meld import read_meld
from .msp_improv import read_msp_improv
from .ravdess import read_ravdess
from .reading import Reading

_SHOWN_DEFECTS = 20


def build_parser() -> argparse.ArgumentParser:
    """The flags of every corpus."""
    parser = argparse.ArgumentParser(
        prog="python -m memobert_plugin.corpora",
        description="Write the manifest of a corpus from its publisher's files.",
        epilog="A folder of films with subtitles needs none of these: memobert-extract film. "
        "Exit status: 0 done; 1 done, but more was left out than --max-failed-share allows; 2 a mistake in the "
        "input or other counts than the publisher's, and nothing was written.",
    )
    corpora = parser.add_subparsers(title="corpora", required=True, metavar="CORPUS")
    ravdess = corpora.add_parser("ravdess", help="RAVDESS speech: sound, film or both")
    _add_flags(ravdess, "folder that holds Actor_01 to Actor_24, at any depth")
    ravdess.set_defaults(read=lambda options: read_ravdess(options.folder))
    meld = corpora.add_parser("meld", help="MELD: text, and clips where you have them")
    _add_flags(meld, "folder with train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv (one or more of them)")
    meld.add_argument("--media", type=Path, metavar="FOLDER", help="where the archives of clips were unpacked")
    meld.set_defaults(read=lambda options: read_meld(options.folder, options.media))
    iemocap = corpora.add_parser("iemocap", help="IEMOCAP: 5 531 turns of four emotions")
    _add_flags(iemocap, "folder that holds Session1 to Session5")
    iemocap.add_argument(
        "--dialogues",
        action="store_true",
        help="name the films of whole dialogues, with times and the speaker's half of the picture, for visual frames "
        "(default: the sound file of each turn, for acoustic frames)",
    )
    _add_counted_flags(iemocap)
    iemocap.set_defaults(
        read=lambda options: read_iemocap(
            options.folder, dialogues=options.dialogues, all_emotions=options.all_emotions
        )
    )
    msp_improv = corpora.add_parser("msp-improv", help="MSP-IMPROV: 3 940 turns of four emotions, 3 819 with faces")
    _add_flags(msp_improv, "folder with Evalution.txt, Audio, Video and the transcripts")
    msp_improv.add_argument(
        "--scenarios",
        type=_names,
        default=["S"],
        metavar="LETTER,...",
        help="R target sentence read, T target sentence improvised, S other improvised turns, P natural interaction "
        "(default: S, as the published MEmoBERT results)",
    )
    msp_improv.add_argument(
        "--leave-out", type=Path, metavar="FILE", help="turns to leave out, one name at the beginning of each line"
    )
    _add_counted_flags(msp_improv)
    msp_improv.set_defaults(
        read=lambda options: read_msp_improv(
            options.folder,
            scenarios=options.scenarios,
            all_emotions=options.all_emotions,
            left_out=options.leave_out,
        )
    )
    crema_d = corpora.add_parser("crema-d", help="CREMA-D: 7 442 clips of six emotions")
    _add_flags(crema_d, "clone of the corpus's repository, or any folder that holds AudioWAV and VideoFlash")
    crema_d.add_argument(
        "--perceived",
        choices=tuple(VOTES),
        help="label by what most raters perceived in the voice, the face or both (default: the intended emotion)",
    )
    _add_allowance(crema_d)
    crema_d.set_defaults(read=lambda options: read_crema_d(options.folder, perceived=options.perceived))
    ferplus = corpora.add_parser("ferplus", help="FER+: 35 710 faces with votes, packed for training DenseFace")
    ferplus.add_argument("folder", type=Path, metavar="FOLDER", help="folder with fer2013.csv and fer2013new.csv")
    ferplus.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where to write the pictures")
    _add_allowance(ferplus, "pack a partial copy")
    ferplus.set_defaults(pack=lambda options: pack_ferplus(options.folder, options.output, options.allow_other_counts))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = build_parser().parse_args(arguments)
    if "pack" in options:  # pictures, for which there is no manifest
        print(options.pack(options))
        return 0
    reading: Reading = options.read(options)
    if reading.other_counts and not options.allow_other_counts:
        _show_defects(reading)
        raise UserError(
            f"{options.folder}: {'; '.join(reading.other_counts)}; complete the copy, or give --allow-other-counts"
        )
    if options.rename_emotions:
        reading = reading.renamed(options.rename_emotions)
    if options.emotions:
        reading = reading.of_emotions(options.emotions)
    if options.valid_share is not None:
        reading = reading.with_valid_share(options.valid_share)
    _show_defects(reading)
    reading.write(options.output)
    with messages_kept_apart(options.output):
        print("\n".join([f"{options.output}: {_summary(reading)}", *reading.remarks, *reading.other_counts]))
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


def _add_counted_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--all-emotions",
        action="store_true",
        help="keep all labels, and turns whose evaluators did not agree without one (default: anger, happy, neutral, "
        "sad)",
    )
    _add_allowance(parser)


def _add_allowance(parser: argparse.ArgumentParser, what: str = "write the manifest of a partial copy") -> None:
    parser.add_argument(
        "--allow-other-counts",
        action="store_true",
        help=f"{what}, and print how its counts differ from the publisher's",
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
        return ", ".join(f"{value or 'no label'} {count}" for value, count in sorted(values.items()))

    parts = [f"{len(reading.rows)} utterances of {len({row.speaker for row in reading.rows})} speakers"]
    parts.append(f"emotions: {counted(Counter(row.emotion for row in reading.rows))}")
    splits = Counter(row.split for row in reading.rows if row.split)
    if splits:
        parts.append(f"splits: {counted(splits)}")
    return "; ".join(parts)


if __name__ == "__main__":
    sys.argv[0] = "python -m memobert_plugin.corpora"
    run_command(main)
