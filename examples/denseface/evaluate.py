"""What a DenseFace recognises in the validation (or test) pictures of FER+, as Markdown.

Pictures are brought to 64x64 as grey levels of a byte, as faces in films are, and go through the encoder that makes
MEmoBERT's visual frames. The majority's expression counts; pictures without a unique majority are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from memobert_plugin.core.console import run_command
from memobert_plugin.core.errors import UserError
from memobert_plugin.evaluation.metrics.scores import Scores, confusion
from memobert_plugin.features.denseface.encoder import SIDE, DenseFace
from memobert_plugin.features.denseface.pictures import SPLITS, ExpressionPictures
from memobert_plugin.tasks.picture_dataset import resized

SAMPLE_STEP = 12
"""The fixed sample: every twelfth of the counted pictures."""


def as_crops(images: np.ndarray) -> np.ndarray:
    """Pictures uint8 ``(N, H, W)`` as the encoder reads them: uint8 ``(N, 64, 64)``."""
    return resized(torch.from_numpy(images).float(), SIDE).round().clamp(0, 255).byte().numpy()


def evaluate(encoder: DenseFace, pictures: ExpressionPictures, split: str) -> str:
    """The tables."""
    chosen = pictures.of_split(split)
    counted = chosen.majorities() >= 0
    if not counted.any():
        raise UserError(f"--split {split}: there is no picture with a majority; pack that part too")
    evaluated = chosen.where(counted)
    known = {image.tobytes() for image in pictures.of_split("train").images}
    new = np.array([image.tobytes() not in known for image in evaluated.images])
    predicted = encoder.encode(as_crops(evaluated.images))[1].argmax(axis=1)
    majorities, classes = evaluated.majorities(), len(encoder.classes)
    counts = {
        f"all {len(new)}": confusion(majorities, predicted, classes),
        f"the {new.sum()} that are not in training too": confusion(majorities[new], predicted[new], classes),
    }
    sample = slice(None, None, SAMPLE_STEP)
    sampled = Scores.from_confusion(confusion(majorities[sample], predicted[sample], classes))
    lines = [
        f"{split}: {len(counted)} pictures, {len(counted) - counted.sum()} left out without a unique majority.",
        "",
        "| pictures | accuracy | macro F1 | UAR |",
        "|---|---|---|---|",
    ]
    for name, count in counts.items():
        scores = Scores.from_confusion(count)
        lines.append(f"| {name} | {100 * scores.wa:.2f} | {100 * scores.macro_f1:.2f} | {100 * scores.uar:.2f} |")
    lines += [
        f"| fixed sample: every {SAMPLE_STEP}th, {len(majorities[sample])} | {100 * sampled.wa:.2f} "
        f"| {100 * sampled.macro_f1:.2f} | {100 * sampled.uar:.2f} |",
        "",
        "| expression | pictures | precision | recall | F1 |",
        "|---|---|---|---|---|",
    ]
    whole = next(iter(counts.values()))
    correct, support, said = np.diagonal(whole), whole.sum(axis=1), whole.sum(axis=0)
    for index, name in enumerate(encoder.classes):
        precision, recall = correct[index] / max(said[index], 1), correct[index] / max(support[index], 1)
        f1 = 2 * correct[index] / max(said[index] + support[index], 1)
        lines.append(f"| {name} | {support[index]} | {100 * precision:.1f} | {100 * recall:.1f} | {100 * f1:.1f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Accuracy and F1 of a DenseFace on FER+.")
    parser.add_argument("pictures", type=Path, help="folder that python -m memobert_plugin.corpora ferplus wrote")
    parser.add_argument("--weights", type=Path, help="a weight file (default: the shipped one)")
    parser.add_argument("--split", choices=SPLITS[1:], default="valid")
    options = parser.parse_args(arguments)
    encoder = DenseFace.from_file(options.weights) if options.weights else DenseFace.from_shipped()
    print(evaluate(encoder, ExpressionPictures.read(options.pictures), options.split))
    return 0


if __name__ == "__main__":
    run_command(main)
