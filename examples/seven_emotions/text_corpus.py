"""Draws the lines of GoEmotions and EmoryNLP on which the shipped model's text encoder is trained."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from seven_corpus import lines_alone

from memobert_plugin.core.console import run_command
from memobert_plugin.corpora.reading import Reading


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for flag, metavar, text in (
        ("--goemotions", "FOLDER", "folder of train.tsv and labels.txt"),
        ("--emorynlp", "FOLDER", "folder of emorynlp_train_final.csv"),
        ("--output", "TSV", "manifest to write"),
    ):
        parser.add_argument(flag, type=Path, required=True, metavar=metavar, help=text)
    parser.add_argument("--lines", type=int, default=41600, help="lines to draw (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (default: %(default)s)")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    rows = lines_alone(arguments.goemotions, arguments.emorynlp, arguments.lines, rng)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    Reading(rows, [], []).write(arguments.output)
    counts = ", ".join(f"{emotion} {count}" for emotion, count in Counter(row.emotion for row in rows).most_common())
    print(f"{arguments.output}: {len(rows)} lines, {len({row.text for row in rows})} different: {counts}")


if __name__ == "__main__":
    run_command(main)
