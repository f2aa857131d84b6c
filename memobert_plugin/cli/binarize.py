"""``memobert-binarize``: write a data-bin from a manifest and extracted frames."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.console import CommandParser, going_on, run_command, say
from ..core.errors import UserError
from ..core.names import VISUAL_INPUTS, counted

if TYPE_CHECKING:
    from ..data.binarize import BinarizeReport
    from ..data.tokenizer import Tokenizer

_MOST_WORKERS = 8
_EPILOG = """\
The manifest is a tab-separated file with some of the columns
  id speaker session split text emotion video audio start end part votes labels valence arousal dominance
in any order. Only id is required; unknown fields stay empty. A manifest named .csv is read as CSV with quotes, one
named .jsonl or .json as JSON objects.

DIR holds one .npz per utterance, named after its id (characters outside A-Za-z0-9._- as %XX), with "frames" (T, D) and,
for faces, optionally "expression" (T, K), the probabilities of K expressions. A file "extractor.json" beside them may
hold name, version, options, weights_sha256, frame_rate, dim, classes (the names of the expressions) and, for speech
frames that are less their speaker's mean already, speaker_mean (the average of these means).

Exit status: 0 done; 1 done, but more rows were left out than --max-failed-share allows; 2 a mistake in the input, and
nothing was written.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = CommandParser(
        command="binarize",
        description="Write a data-bin from a manifest and folders of frames.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    rows = "one row per utterance: TSV, CSV or JSON lines (-: standard input)"
    parser.add_argument("--manifest", required=True, metavar="TSV", help=rows)
    parser.add_argument("--visual", metavar="DIR", help="frames of faces (default: no visual modality)")
    parser.add_argument("--acoustic", metavar="DIR", help="frames of speech (default: no acoustic modality)")
    parser.add_argument(
        "--visual-input",
        choices=VISUAL_INPUTS,
        default="features",
        help="numbers of a face frame: the encoder's features, its expression distribution (few numbers, which a small "
        "corpus can learn from), or both (default: %(default)s)",
    )
    parser.add_argument(
        "--center-speakers",
        action="store_true",
        help="subtract from every speech frame the mean of its speaker's, over all rows of the manifest: what a voice "
        "has always is no emotion (prediction subtracts the average voice, or the mean of a speaker's clips)",
    )
    _add_tokenizer_flags(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="the data-bin to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier data-bin of that name")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help=f"processes that read and tokenize (default: one per core, at most {_MOST_WORKERS})",
    )
    parser.add_argument(
        "--max-failed-share",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="exit with status 1 when more than this share of the rows is left out (default: %(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="read and check everything, write nothing")
    return parser


def _add_tokenizer_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how text becomes pieces."""
    tokenizer = parser.add_mutually_exclusive_group(required=True)
    tokenizer.add_argument(
        "--vocab",
        metavar="FILE",
        help="BERT's vocab.txt or tokenizer.json: word pieces; RoBERTa's tokenizer.json, or vocab.json beside "
        "merges.txt: byte-level pieces, which keep upper case; or a folder with one of them",
    )
    tokenizer.add_argument("--sentencepiece", metavar="MODEL", help="a sentencepiece .model")
    tokenizer.add_argument(
        "--train-sentencepiece",
        metavar="PIECES",
        type=int,
        help="train a sentencepiece model of at most so many pieces, such as 8000, on the manifest's text; the paper's "
        "template, its emotion words and the labels become one piece each",
    )
    parser.add_argument(
        "--word-segmentation",
        choices=("bert", "icu"),
        default="bert",
        help="words for whole-word masking in scripts without spaces: bert takes every Chinese character as a word, "
        "icu finds words of Chinese, Japanese, Thai, Lao, Khmer and Burmese by dictionary (default: %(default)s)",
    )
    parser.add_argument(
        "--cased",
        action="store_true",
        help="keep upper case (for BERT's --vocab and --train-sentencepiece; default: lower-case the text)",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = build_parser().parse_args(argv)
    if options.cased and options.sentencepiece:
        raise UserError("--cased: a sentencepiece model has its own rule for case; leave the flag out")
    if not 0.0 <= options.max_failed_share <= 1.0:
        raise UserError(f"--max-failed-share {options.max_failed_share:g}: give a share from 0 to 1")
    if options.workers is not None and options.workers < 1:
        raise UserError(f"--workers {options.workers}: give at least 1")
    from ..core.cores import usable_cores
    from ..data.binarize import binarize
    from ..data.corpus import Corpus
    from ..data.limits import notes_on_limits
    from .piped_manifest import piped_manifest

    options.manifest = str(piped_manifest(Path(options.manifest)))
    with going_on("nothing was written; start the same command again"), tempfile.TemporaryDirectory() as folder:
        tokenizer, notes = _tokenizer(options, Path(folder))
        report = binarize(
            options.manifest,
            options.visual,
            options.acoustic,
            tokenizer,
            options.output,
            visual_input=options.visual_input,
            center_speakers=options.center_speakers,
            max_failed_share=options.max_failed_share,
            workers=options.workers or min(_MOST_WORKERS, usable_cores()),
            progress=True,
            overwrite=options.overwrite,
            dry_run=options.dry_run,
        )
    notes = [*notes, *report.notes]
    if not options.dry_run and report.acceptable:
        notes += notes_on_limits(Corpus(report.output))
    say(_summary(report, notes, options.dry_run))
    if report.acceptable:
        return 0
    print(
        f"memobert-binarize: {report.failed_share:.2%} of the rows left out, "
        f"more than --max-failed-share {options.max_failed_share:g}",
        file=sys.stderr,
    )
    return 1


def cli_main() -> None:
    """Entry point of ``memobert-binarize``."""
    run_command(main)


def _tokenizer(options: argparse.Namespace, folder: Path) -> tuple[Tokenizer, list[str]]:
    """Return the tokenizer, trained if asked for, and notes on it."""
    from ..core.files import refuse_existing
    from ..data.corpus import META_FILE
    from ..data.manifest import read_manifest
    from ..data.prompts import prompt_words
    from ..data.tokenizer import SentencePieceTokenizer, tokenizer_of, train_sentencepiece
    from ..data.words import require_icu

    segmentation = options.word_segmentation
    if segmentation == "icu":
        require_icu()
    if options.vocab:
        return tokenizer_of(options.vocab, not options.cased, segmentation), []
    if options.sentencepiece:
        return SentencePieceTokenizer.from_model(options.sentencepiece, segmentation), []
    refuse_existing(options.output, META_FILE, options.overwrite)
    labels = sorted({row.emotion for row in read_manifest(options.manifest)})
    model = folder / "sentencepiece.model"
    asked = options.train_sentencepiece
    trained = train_sentencepiece(
        (row.text for row in read_manifest(options.manifest)),
        asked,
        model,
        lowercase=not options.cased,
        words=prompt_words(labels),
    )
    notes = []
    if trained < asked:
        notes.append(f"--train-sentencepiece {asked}: the text carries only {counted(trained, 'piece')}")
    return SentencePieceTokenizer.from_model(model, segmentation), notes


def _summary(report: BinarizeReport, notes: Sequence[str], dry_run: bool) -> str:
    counts = report.counts
    lines = [
        f"{report.output}: {counted(counts['utterances'], 'utterance')}{' would be written' if dry_run else ''}, "
        f"{counts['skipped']} of {counted(report.rows, 'row')} left out",
        f"  text      {counted(counts['with_text'], 'utterance')}, {counted(counts['pieces'], 'piece')}",
    ]
    for name in ("visual", "acoustic"):
        if not counts[f"with_{name}"]:
            continue
        without = counts["utterances"] - counts[f"with_{name}"]
        lines.append(
            f"  {name:<9} {counted(counts[f'with_{name}'], 'utterance')} ({without} without), "
            f"{counted(counts[f'{name}_frames'], 'frame')}"
        )
    lines += [f"  note: {note}" for note in notes]
    lines += [f"  left out: {utterance_id}: {reason}" for utterance_id, reason in report.first_defects]
    if report.skipped_file is not None:
        lines.append(f"  list of all rows left out: {report.skipped_file}")
    return "\n".join(lines)
