"""Draws the lines of GoEmotions and EmoryNLP on which the shipped model's text encoder is trained.

Or writes each of their training lines once, in random order, without those of another manifest.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

import numpy as np
from seven_corpus import lines_alone, lines_by_emotion, shuffled_rows

from memobert_plugin.core.console import run_command
from memobert_plugin.corpora.reading import Reading
from memobert_plugin.data.manifest import ManifestRow, read_manifest


def lines_once(goemotions: Path, emorynlp: Path, rng: np.random.Generator) -> list[ManifestRow]:
    """Return each training line of both corpora once, in random order."""
    lines = lines_by_emotion(goemotions, emorynlp, "train")
    return shuffled_rows([(emotion, text) for emotion, texts in lines.items() for text in texts], rng)


def letters(text: str) -> str:
    """Return a line's letters and digits, by which it is known again."""
    return re.sub(r"\W", "", text.lower())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, metavar, text in (
        ("--goemotions", "FOLDER", "folder of train.tsv and labels.txt"),
        ("--emorynlp", "FOLDER", "folder of emorynlp_train_final.csv"),
        ("--output", "TSV", "manifest to write"),
    ):
        parser.add_argument(flag, type=Path, required=True, metavar=metavar, help=text)
    number = parser.add_mutually_exclusive_group()
    number.add_argument("--lines", type=int, default=41600, help="lines to draw (default: %(default)s)")
    number.add_argument("--once", action="store_true", help="write each line once, instead of with dialogue's shares")
    parser.add_argument("--leave-out", type=Path, metavar="TSV", help="manifest whose lines are left out")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (default: %(default)s)")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    if arguments.once:
        rows = lines_once(arguments.goemotions, arguments.emorynlp, rng)
    else:
        rows = lines_alone(arguments.goemotions, arguments.emorynlp, arguments.lines, rng)
    if arguments.leave_out:
        known = {letters(row.text) for row in read_manifest(arguments.leave_out)}
        rows = [row for row in rows if letters(row.text) not in known]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    Reading(rows, [], []).write(arguments.output)
    counts = ", ".join(f"{emotion} {count}" for emotion, count in Counter(row.emotion for row in rows).most_common())
    print(f"{arguments.output}: {len(rows)} lines, {len({row.text for row in rows})} different: {counts}")


if __name__ == "__main__":
    run_command(main)
