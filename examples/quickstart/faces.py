"""Turns the drawn faces of a generated corpus into visual frames: a simple stand-in for a face network.

A frame is the mean grey of 8 x 8 blocks of the picture. Its expression distribution over the classes of FER+ compares
the blocks with those of an average face drawn with each expression, as a network would with what it has learnt; noise
makes it as unsure as one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from drawn_faces import EXPRESSIONS, SIZE, Head, draw_face
from PIL import Image

from memobert_plugin.data.frames import ExtractorInfo, frame_file, write_extractor_info, write_frames
from memobert_plugin.data.manifest import media_path, read_manifest, utterance_uid
from memobert_plugin.errors import UserError, run_command

BLOCKS = 8
FACES_PER_SECOND = 10
SHARPNESS = 24.0
NOISE = 1.0


def block_means(pictures: np.ndarray) -> np.ndarray:
    """Pictures (T, SIZE, SIZE) in 0..255 to frames (T, BLOCKS * BLOCKS), each with mean 0 and deviation 1."""
    side = SIZE // BLOCKS
    blocks = pictures.reshape(-1, BLOCKS, side, BLOCKS, side).mean((2, 4)).reshape(len(pictures), -1)
    return (blocks - blocks.mean(1, keepdims=True)) / (blocks.std(1, keepdims=True) + 1.0)


def expression_distribution(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames (T, BLOCKS * BLOCKS) to probabilities (T, K) of ``EXPRESSIONS``, by nearness to their drawings."""
    typical = block_means(np.stack([draw_face(Head(), expression) for expression in EXPRESSIONS.values()]))
    distance = np.sqrt(((frames[:, None] - typical) ** 2).mean(2))
    scores = -SHARPNESS * distance + rng.normal(0, NOISE, distance.shape)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def read_pictures(folder: Path) -> np.ndarray:
    """All pictures of one utterance in the order of their names, (T, SIZE, SIZE).

    Raises:
        UserError: no picture there.
    """
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise UserError(f"{folder}: no .png pictures; generate the corpus again")
    return np.stack([np.asarray(Image.open(path), dtype=np.float64) for path in paths])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--manifest", type=Path, required=True, help="its video column names a folder of pictures")
    parser.add_argument("--output", type=Path, required=True, help="folder for the frames, one .npz per utterance")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    count = 0
    for row in read_manifest(arguments.manifest):
        frames = block_means(read_pictures(media_path(arguments.manifest, row.video)))
        expression = expression_distribution(frames, np.random.default_rng(utterance_uid(row.id)))
        path = frame_file(arguments.output, row.id)
        write_frames(path, frames.astype(np.float32), expression.astype(np.float32))
        count += 1
    info = ExtractorInfo(
        name="quickstart drawn faces",
        options={"blocks": BLOCKS, "sharpness": SHARPNESS, "noise": NOISE},
        frame_rate=FACES_PER_SECOND,
        dim=BLOCKS * BLOCKS,
        classes=list(EXPRESSIONS),
    )
    write_extractor_info(arguments.output, info)
    print(f"{arguments.output}: frames of {count} utterances")


if __name__ == "__main__":
    run_command(main)
