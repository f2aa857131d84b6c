"""``memobert-report``: tables, pictures and a page from the runs of a sweep."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..core.console import CommandParser, note, run_command, say
from ..core.errors import UserError

EPILOG = """\
Every run folder holds run.json (setting, ablation, fold, seed, protocol, budget …), its files of predictions and its
log.txt; memobert-sweep writes them. All runs of one table must share utterances, labels, folds, seeds, budgets,
protocol and selection: a mixture is refused, and the error says which key differs in which runs. Missing runs are
listed and refused too, unless --partial is given.

Written are, each as Markdown, CSV and LaTeX or as PNG and SVG: table2_settings, table2_tests, parts (of the corpus),
selection_gap (the score that selected beside the tested one), table3_ablations, table3_tests, figure3_train_fraction,
figure3_tests (at the smallest share of the training data), modality_cases, confusion, training_curves,
pretraining_curves; and index.html, one page with all of it that needs no other file. What the runs do not cover is left
out.

NAME=FOLDER puts the settings of several sweeps side by side. A file of predictions, [NAME=]FILE, has a line (JSON) or a
row (.csv) per utterance: id, label, prediction or probabilities ("probabilities": {"anger": 0.1, …}, or a column for
each label); speaker, label and fold come from the runs where a file lacks them. Files of one NAME are one system.

Every table has its floors: chance, the most frequent label, and logistic regressions on the same folds and labels. They
are kept in FOLDER/floors; --no-floors leaves them out.

Numbers of the protocol "reference" are marked "selected on test", those of models pre-trained on the test speakers'
clips "transductive".
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = CommandParser(
        command="report",
        description="Write tables, pictures and one page from the predictions and logs of runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUNS",
        help="folder with run folders at any depth, such as runs/NAME; NAME=FOLDER to compare sweeps; [NAME=]FILE for "
        "predictions of any system",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report"), metavar="FOLDER", help="where to write (default: report)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the report that is there")
    parser.add_argument("--corpus", metavar="NAME", help="report this corpus only")
    parser.add_argument("--protocol", metavar="NAME", help="report this protocol only")
    parser.add_argument(
        "--settings", default="", metavar="A,B", help="report these settings only, in this order (default: all)"
    )
    parser.add_argument(
        "--partial", action="store_true", help="report although runs are missing; marks cells with their folds"
    )
    parser.add_argument(
        "--no-floors", action="store_true", help="without chance, majority and regressions; needs no scikit-learn"
    )
    parser.add_argument(
        "--ensembles",
        action="store_true",
        help="add a row beside every setting with several seeds on all labels: the mean of their probabilities",
    )
    parser.add_argument("--no-pictures", action="store_true", help="tables only; needs no matplotlib")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = build_parser().parse_args(argv)
    from ..evaluation.report.ensembles import ensembles_of, with_ensembles
    from ..evaluation.report.floors import floors_of, write_floors
    from ..evaluation.report.given import named_sources, read_sources
    from ..evaluation.report.report import FILE_NAMES, PAGE, Choices, build_report

    if (options.out / PAGE).exists() and not options.overwrite:
        raise UserError(f"--out {options.out}: holds a report; give --overwrite, or choose another folder")
    choices = Choices(
        corpus=options.corpus,
        protocol=options.protocol,
        settings=tuple(dict.fromkeys(filter(None, map(str.strip, options.settings.split(","))))),
        partial=options.partial,
        pictures=not options.no_pictures,
    )
    sources = named_sources(options.runs)
    with tempfile.TemporaryDirectory() as folder:
        emotion, pretraining = read_sources(sources, Path(folder))
        if not options.no_floors and not choices.settings:
            floors = options.out / "floors"
            for remark in write_floors(emotion, floors):
                note(remark)
            if floors.is_dir():
                emotion += floors_of(emotion, floors)
        if options.ensembles:
            averaged = ensembles_of(emotion, choices, Path(folder))
            if not averaged:
                note("--ensembles: no setting has probabilities of two seeds on all labels; add seeds to the plan")
            emotion += averaged
            choices = replace(choices, settings=with_ensembles(choices.settings, emotion))
        files = build_report(emotion, pretraining, choices).files()
    write_report(options.out, files, FILE_NAMES)
    if "table2_settings.md" in files:
        say(files["table2_settings.md"].decode())
    say(str(options.out / PAGE))
    return 0


def write_report(folder: Path, files: Mapping[str, bytes], known: Sequence[str]) -> None:
    """Write the files of a report, and remove those of an earlier one (of the ``known`` names) that this one lacks.

    Raises:
        UserError: the folder cannot be written to.
    """
    from ..core.files import replaced_when_complete

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in set(known) - files.keys():
            (folder / name).unlink(missing_ok=True)
        for name, content in files.items():
            with replaced_when_complete(folder / name) as temporary:
                temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written ({error})") from None


def cli_main() -> None:
    """Entry point of ``memobert-report``."""
    run_command(main)
