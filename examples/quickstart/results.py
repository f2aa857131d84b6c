"""Prints WA and UAR of every setting, mean and standard deviation over the folds, from the files of predictions."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from memobert_plugin.core.errors import UserError, run_command
from memobert_plugin.evaluation.metrics.scores import Scores, confusion

ROWS = (
    ("Text alone *", "mixture_l"),
    ("Faces alone *", "mixture_v"),
    ("Voice alone *", "mixture_a"),
    ("All three *", "mixture_lva"),
    ("Direct", "direct"),
    ("Pretrain + Finetune", "pretrain_finetune"),
    ("Pretrain + Prompt", "pretrain_prompt"),
)
FOOTNOTE = (
    "* one Pretrain + Prompt model per fold, trained with --modality-mixture (each utterance with a random choice of\n"
    "  modalities) and tested with --modalities l, v, a and lva."
)


def read_decisions(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Labels, predictions and label names of one file.

    Raises:
        UserError: no such file.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise UserError(f"{path}: no predictions there; run fairseq-validate with --predictions first") from None
    return [line["label"] for line in lines], [line["prediction"] for line in lines], list(lines[0]["probabilities"])


def scores(labels: Sequence[str], predictions: Sequence[str], names: Sequence[str]) -> Scores:
    """Scores of decisions given by name."""
    targets, decided = (np.array([names.index(name) for name in listed]) for listed in (labels, predictions))
    return Scores.from_confusion(confusion(targets, decided, len(names)))


def fold_scores(folder: Path) -> list[Scores]:
    """Scores of every fold of one setting, in the order of the folds."""
    paths = sorted(folder.glob("fold*.jsonl"), key=lambda path: int(path.stem.removeprefix("fold")))
    if not paths:
        raise UserError(f"{folder}: no fold*.jsonl; run fairseq-validate with --predictions first")
    return [scores(*read_decisions(path)) for path in paths]


def majority_scores(folder: Path) -> list[Scores]:
    """Scores of always saying the emotion that is most frequent among the other folds' utterances."""
    folds = [read_decisions(path) for path in sorted(folder.glob("fold*.jsonl"))]
    result = []
    for labels, _, names in folds:
        others = [label for other, _, _ in folds if other is not labels for label in other]
        majority = max(names, key=others.count)
        result.append(scores(labels, [majority] * len(labels), names))
    return result


def table(predictions: Path) -> tuple[str, dict[str, dict[str, list[float]]]]:
    """The printed table, and the percentages per fold behind it: name -> metric -> list."""
    percent: dict[str, dict[str, list[float]]] = {}
    listed = [("Chance: most frequent", majority_scores(predictions / "direct"))]
    listed += [(name, fold_scores(predictions / folder)) for name, folder in ROWS]
    for name, folds in listed:
        percent[name] = {metric: [100 * fold.as_dict()[metric] for fold in folds] for metric in ("wa", "uar")}
    classes = len(listed[0][1][0].counts)
    cells = [["Chance: uniform", f"{100 / classes:.1f}", f"{100 / classes:.1f}"]]
    for name, metrics in percent.items():
        cells.append([name, *(f"{np.mean(folds):.1f} ± {np.std(folds, ddof=1):.1f}" for folds in metrics.values())])
    return tabulate(cells, ["", "WA %", "UAR %"], disable_numparse=True, colalign=("left", "right", "right")), percent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", type=Path, help="folder with SETTING/foldK.jsonl")
    parser.add_argument("output", type=Path, help="results.json to write, percentages per fold")
    arguments = parser.parse_args()
    text, percent = table(arguments.predictions)
    arguments.output.write_text(json.dumps(percent, indent=2) + "\n", encoding="utf-8")
    count = len(next(iter(percent.values()))["wa"])
    print(f"Mean ± standard deviation over {count} folds, each tests one speaker:\n\n{text}\n\n{FOOTNOTE}")


if __name__ == "__main__":
    run_command(main)
