"""FER+ in the layout of its publishers, for tests: drawn pictures, or those of an archive with the same arrays."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memobert_plugin.corpora.ferplus import FACES, PICTURES_CSV, ROWS, USAGES, VOTES_CSV
from memobert_plugin.features.denseface.pictures import SPLITS, VOTE_COLUMNS, ExpressionPictures

SIDE = 48


def drawn_pictures(train: int, valid: int, test: int = 0, seed: int = 0) -> ExpressionPictures:
    """Noise with a bright stripe whose place is the expression; most annotators of the ten see it."""
    rng = np.random.default_rng(seed)
    split = np.repeat(np.arange(3), [train, valid, test]).astype(np.uint8)
    expression = rng.integers(8, size=len(split))
    images = rng.integers(0, 120, size=(len(split), SIDE, SIDE))
    for image, place in zip(images, expression, strict=True):
        image[6 * place : 6 * place + 6] += 130
    votes = np.array([rng.multinomial(3, np.full(10, 0.1)) for _ in split])
    votes[np.arange(len(split)), expression] += 7
    return ExpressionPictures(images.astype(np.uint8), votes.astype(np.uint8), split)


def write_published(folder: Path, pictures: ExpressionPictures, removed: Sequence[int] = (0, 0, 0)) -> Path:
    """Write the two files.

    Args:
        folder: where to.
        pictures: what they hold.
        removed: for each split, rows without an image name that come first, as FER+ marks what is no face.
    """
    folder.mkdir(parents=True, exist_ok=True)
    usages = {split: usage for usage, split in USAGES.items()}
    with (
        open(folder / PICTURES_CSV, "w", newline="") as pictures_file,
        open(folder / VOTES_CSV, "w", newline="") as votes_file,
    ):
        pixels, votes = csv.writer(pictures_file), csv.writer(votes_file)
        pixels.writerow(["emotion", "pixels", "Usage"])
        votes.writerow(["Usage", "Image name", *VOTE_COLUMNS])
        for number, name in enumerate(SPLITS):
            for _ in range(removed[number]):
                pixels.writerow([0, " ".join(["0"] * SIDE * SIDE), usages[name]])
                votes.writerow([usages[name], "", *[0] * 9, 10])
            for index in np.flatnonzero(pictures.split == number):
                pixels.writerow([0, " ".join(map(str, pictures.images[index].ravel())), usages[name]])
                votes.writerow([usages[name], f"fer{index:07d}.png", *pictures.votes[index]])
    return folder


def main() -> None:
    """``python -m tests.ferplus_files ARCHIVE FOLDER``: the two files from an archive of train and valid."""
    with np.load(sys.argv[1], allow_pickle=False) as archive:
        pictures = ExpressionPictures(archive["images"], archive["votes"].astype(np.uint8), archive["split"])
    removed = [
        ROWS[name] - FACES[name] if (pictures.split == number).any() else 0 for number, name in enumerate(SPLITS)
    ]
    write_published(Path(sys.argv[2]), pictures, removed)


if __name__ == "__main__":
    main()
