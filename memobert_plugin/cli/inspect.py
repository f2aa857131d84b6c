"""``memobert-inspect``: print the content of a data-bin or of another file of this package."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.console import CommandParser, run_command
from ..core.errors import UserError, pip_install
from ..core.files import refuse_existing_file, replaced_when_complete
from ..core.names import counted
from .descriptions import KNOWN, as_lines, describe

if TYPE_CHECKING:
    from ..data.corpus import Corpus

_MOST_SPEAKERS = 40
_UNNAMED = "(none)"


def build_parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = CommandParser(
        command="inspect",
        description="Say what a file or folder is that this package makes or reads, and what it holds. For a data-bin: "
        "counts, lengths, dimensions, hours and extractors.",
        epilog=f"Known are {KNOWN}.",
    )
    parser.add_argument(
        "data_bin", nargs="?", metavar="PATH", help="folder that memobert-binarize wrote, or another file or folder"
    )
    parser.add_argument(
        "--plot", metavar="PICTURE", help="also draw the lengths' histograms into this file, such as lengths.png"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a picture that exists")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--user-dir", action="store_true", help="print only the directory to give to fairseq's --user-dir"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = build_parser().parse_args(argv)
    if options.user_dir:
        if options.data_bin or options.plot or options.json:
            raise UserError("--user-dir: prints one directory and takes nothing else; call the command twice")
        from ..core.fairseq_quirks import fairseq_is_missing

        print(Path(__file__).resolve().parents[1])
        if missing := fairseq_is_missing("training"):
            print(f"memobert-inspect: note: {missing}", file=sys.stderr)
        return 0
    if options.data_bin is None:
        raise UserError("no data-bin given; give the folder that memobert-binarize wrote, or --user-dir")
    other = describe(Path(options.data_bin))
    if other is not None:
        if options.plot:
            raise UserError(f"--plot: {options.data_bin} is {other['kind']}; only a data-bin has histograms")
        print(json.dumps(other, indent=1, ensure_ascii=False) if options.json else as_lines(other))
        return 0
    from ..data.corpus import Corpus
    from ..data.summary import summarize

    if options.plot:
        refuse_existing_file(options.plot, options.overwrite)
    corpus = Corpus(options.data_bin)
    if options.plot:
        plot_lengths(corpus, Path(options.plot))
    summary = summarize(corpus)
    print(json.dumps(summary, indent=1, ensure_ascii=False) if options.json else as_tables(summary))
    return 0


def cli_main() -> None:
    """Entry point of ``memobert-inspect``."""
    run_command(main)


def as_tables(summary: dict[str, Any]) -> str:
    """Return a summary as text for reading."""
    unknown = summary["utterances_of_unknown_duration"]
    head = [
        f"{summary['path']}: {counted(summary['utterances'], 'utterance')}, {summary['hours']:.2f} hours"
        + (f" (duration of {unknown} unknown)" if unknown else "")
        + (f", {summary['skipped']} left out when it was written" if summary["skipped"] else ""),
        f"{summary['tokenizer']}, {summary['vocabulary_size']} symbols; data-bin format {summary['format_version']}",
    ]
    sections = ["\n".join(head), _lengths_table(summary["modalities"])]
    sections += ["\n".join(summary["notes"])] if summary["notes"] else []
    sections += [_origins(summary)]
    sections += [
        _table(("split", "utterances", "hours"), _group_rows(summary["splits"])),
        _table(("emotion", "utterances", "hours"), _group_rows(summary["emotions"])),
        _speakers_table(summary),
    ]
    if summary["labels"]:
        sections.append(_table(("one of several labels", "utterances"), list(summary["labels"].items())))
    if summary["dimensions"]:
        rows = [
            (name, found["utterances"], "{:g} to {:g}".format(*found["range"]))
            for name, found in summary["dimensions"].items()
        ]
        sections.append(_table(("dimension", "utterances", "range"), rows))
    return "\n\n".join(sections)


def plot_lengths(corpus: Corpus, path: Path) -> None:
    """Draw one histogram of lengths per modality.

    Raises:
        UserError: matplotlib is not installed, or cannot write such a file.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError(f"--plot: matplotlib is not installed; {pip_install('plot')}") from None
    modalities = [
        (name, lengths[lengths > 0])
        for name, lengths in (
            ("word pieces", corpus.text_lengths),
            ("visual frames", corpus.visual_lengths),
            ("acoustic frames", corpus.acoustic_lengths),
        )
    ]
    shown = [(name, lengths) for name, lengths in modalities if len(lengths)]
    figure = Figure(figsize=(4.2 * len(shown), 3.2), layout="constrained")
    for axes, (name, lengths) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        longest = int(lengths.max())
        axes.hist(lengths, bins=min(longest + 1, 60), range=(0, longest + 1), color="#4477aa")
        axes.set_xlabel(f"{name} per utterance")
        axes.set_ylabel("utterances")
    try:
        with replaced_when_complete(path, named_by_user=True) as temporary:
            figure.savefig(temporary, dpi=150, format=path.suffix[1:] or "png")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the picture cannot be written ({error}); give a name such as lengths.png") from None


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows under a header, names on the left; numbers that are not whole are given as text."""
    from tabulate import tabulate

    align = ["left", *["right"] * (len(header) - 1)]
    return tabulate(list(rows), headers=header, disable_numparse=True, colalign=align)


def _group_rows(groups: dict[str, dict[str, Any]]) -> list[tuple[str, int, str]]:
    return [(name or _UNNAMED, group["utterances"], f"{group['hours']:.2f}") for name, group in groups.items()]


def _lengths_table(modalities: dict[str, dict[str, Any]]) -> str:
    percentiles = next(iter(modalities.values()))["percentiles"]
    units = {"text": "pieces", "visual": "frames", "acoustic": "frames"}
    rows = [
        (
            name,
            modality["utterances"],
            f"{modality['total']} {units[name]}",
            modality.get("dim", ""),
            *(f"{value:g}" for value in modality["percentiles"].values()),
        )
        for name, modality in modalities.items()
    ]
    header = ("lengths", "utterances", "in all", "dims", *(f"p{at}" for at in percentiles))
    return _table(header, rows)


def _origins(summary: dict[str, Any]) -> str:
    """Return a line for each kind of frames with its extractor."""
    lines = []
    for name, modality in summary["modalities"].items():
        if "extractor" not in modality:
            continue
        known = {key: value for key, value in modality["extractor"].items() if key not in ("dim", "classes")}
        lines.append(
            f"{name} frames by {known.pop('name')}" + "".join(f"; {key} {value}" for key, value in known.items())
        )
    if summary["expression_classes"]:
        lines.append(f"expressions: {', '.join(summary['expression_classes'])}")
    return "\n".join(lines) or "text only"


def _speakers_table(summary: dict[str, Any]) -> str:
    emotions = list(summary["emotions"])
    speakers = list(summary["speakers"].items())
    rows = [
        (
            name or _UNNAMED,
            group["utterances"],
            f"{group['hours']:.2f}",
            *(group["emotions"].get(label, 0) for label in emotions),
        )
        for name, group in speakers[:_MOST_SPEAKERS]
    ]
    table = _table(("speaker", "utterances", "hours", *(label or _UNNAMED for label in emotions)), rows)
    more = len(speakers) - len(rows)
    return f"{table}\n… and {counted(more, 'more speaker')} (--json lists all)" if more else table
