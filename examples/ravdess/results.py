"""Prints WA and UAR of every setting, mean and standard deviation over the folds, from the files of predictions."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from tabulate import tabulate

from memobert_plugin.core.console import run_command
from memobert_plugin.core.errors import UserError
from memobert_plugin.data.folds import natural_order
from memobert_plugin.evaluation.metrics.scores import Scores, confusion


def read_scores(path: Path) -> Scores:
    """Scores of one file of predictions."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    names = list(lines[0]["probabilities"])
    targets, predictions = (np.array([names.index(line[field]) for line in lines]) for field in ("label", "prediction"))
    return Scores.from_confusion(confusion(targets, predictions, len(names)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", type=Path, help="folder with SETTING/foldK.jsonl")
    arguments = parser.parse_args()
    folders = sorted(path for path in arguments.predictions.glob("*") if path.is_dir())
    cells, folds = [], 0
    for folder in folders:
        files = natural_order(str(path) for path in folder.glob("fold*.jsonl"))
        scores = [read_scores(Path(file)).as_dict() for file in files]
        percent = {metric: [100 * fold[metric] for fold in scores] for metric in ("wa", "uar")}
        cells.append(
            [folder.name, *(f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}" for values in percent.values())]
        )
        folds = len(files)
    if not cells:
        raise UserError(
            f"{arguments.predictions}: no SETTING/foldK.jsonl; run fairseq-validate with --predictions first"
        )
    print(tabulate(cells, ["setting", "WA %", "UAR %"], disable_numparse=True, colalign=("left", "right", "right")))
    print(f"mean ± standard deviation over {folds} folds, each tests one speaker")


if __name__ == "__main__":
    run_command(main)
