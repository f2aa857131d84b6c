"""Prints the UAR of every setting with all, few and no labels: mean and standard deviation over the folds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from memobert_plugin.core.console import run_command
from memobert_plugin.core.errors import UserError
from memobert_plugin.evaluation.metrics.scores import Scores, confusion

COLUMNS = ("all labels", "a tenth", "none")
ROWS = (
    ("Text alone *", ("pretrain_prompt_all_l", "", "")),
    ("Faces alone *", ("pretrain_prompt_all_v", "", "")),
    ("Voice alone *", ("pretrain_prompt_all_a", "", "")),
    ("Direct", ("direct_all", "direct_tenth", "")),
    ("Pretrain + Finetune", ("pretrain_finetune_all", "pretrain_finetune_tenth", "")),
    ("Pretrain + Prompt", ("pretrain_prompt_all", "pretrain_prompt_tenth", "zero_shot")),
)
"""The table's rows, and the folder of predictions behind each cell."""
FOOTNOTE = "* the models of Pretrain + Prompt, all labels, tested with --modalities l, v and a."


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
    """Return the printed table of UARs, and the percentages per fold behind it: folder -> metric -> list."""
    of_folder = {name: fold_scores(predictions / name) for _, names in ROWS for name in names if name}
    of_folder["most_frequent"] = majority_scores(predictions / "direct_all")
    percent = {
        name: {metric: [100 * fold.as_dict()[metric] for fold in folds] for metric in ("wa", "uar")}
        for name, folds in of_folder.items()
    }

    def cell(name: str) -> str:
        uars = percent[name]["uar"] if name else []
        return f"{np.mean(uars):.1f} ± {np.std(uars, ddof=1):.1f}" if uars else ""

    cells = [["Chance: most frequent", cell("most_frequent"), "", ""]]
    cells += [[title, *map(cell, names)] for title, names in ROWS]
    return tabulate(cells, ["UAR %", *COLUMNS], disable_numparse=True, colalign=("left", *["right"] * 3)), percent


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
