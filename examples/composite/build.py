"""Pairs RAVDESS voices, MELD lines and FER+ faces of one emotion into utterances: manifests and visual frames.

Every part is real, the pairing is not: what is measured on it is how a system fuses three streams, not how well it
recognises people's emotions.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from pairing import EMOTIONS, Faces, Indices, Line, Lines, usable_pictures

from memobert_plugin.core.console import run_command
from memobert_plugin.core.errors import UserError
from memobert_plugin.corpora.meld import read_meld
from memobert_plugin.corpora.ravdess import read_ravdess
from memobert_plugin.corpora.reading import Reading
from memobert_plugin.data.frames import frame_file, write_extractor_info, write_frames
from memobert_plugin.data.manifest import ManifestRow
from memobert_plugin.features.denseface.encoder import SIDE, DenseFace
from memobert_plugin.features.denseface.pictures import SPLITS, ExpressionPictures
from memobert_plugin.tasks.picture_dataset import resized

VOICES: Final = {"angry": "anger", "calm": "neutral"}
LINES: Final = {"joy": "happy", "sadness": "sad"}
FACES_PER_SECOND: Final = 10.0


@dataclass(frozen=True)
class Utterance:
    """A row of a manifest, its line's id and the numbers of its pictures."""

    row: ManifestRow
    line: str
    pictures: Indices


def pair(
    clips: Iterable[ManifestRow], suffix: str, lines: Lines, faces: Faces, rng: np.random.Generator
) -> list[Utterance]:
    """Give every clip a line and faces of its emotion; ids get a suffix."""
    paired = []
    for clip in clips:
        line = lines.next(clip.emotion)
        row = replace(clip, id=f"composite_{clip.id}{suffix}", text=line.text)
        paired.append(Utterance(row, line.id, faces.draw(clip.speaker, clip.emotion, rng)))
    return paired


def write_visual_frames(
    folder: Path, utterances: Sequence[Utterance], images: np.ndarray, weights: Path | None
) -> None:
    """Encode each picture once and write every utterance's frames."""
    numbers = np.unique(np.concatenate([utterance.pictures for utterance in utterances]))
    encoder = DenseFace.from_file(weights) if weights else DenseFace.from_shipped()
    features, expressions = encoder.encode(enlarged(images[numbers]))
    folder.mkdir(parents=True, exist_ok=True)
    write_extractor_info(folder, replace(encoder.info(enlarged_from=images.shape[1]), frame_rate=FACES_PER_SECOND))
    for utterance in utterances:
        places = np.searchsorted(numbers, utterance.pictures)
        write_frames(frame_file(folder, utterance.row.id), features[places], expressions[places])
    print(f"{folder}: {len(utterances)} utterances, {len(numbers)} different pictures")


def enlarged(images: np.ndarray) -> np.ndarray:
    """FER+'s pictures ``(N, 48, 48)`` uint8 as ``(N, 64, 64)``, in the way the encoder's training enlarged them."""
    return resized(torch.from_numpy(images).float(), SIDE).round().to(torch.uint8).numpy()


def write_sources(path: Path, utterances: Iterable[Utterance]) -> None:
    """Which line and which pictures each utterance is made of."""
    lines = ["id\tline\tpictures"]
    lines += [f"{each.row.id}\t{each.line}\t{' '.join(map(str, each.pictures))}" for each in utterances]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--ravdess", type=Path, required=True, metavar="FOLDER", help="RAVDESS speech")
    parser.add_argument("--meld", type=Path, required=True, metavar="FOLDER", help="MELD's tables")
    parser.add_argument(
        "--ferplus", type=Path, required=True, metavar="FOLDER", help="FER+, packed by the corpora command"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where to write")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (default: 1)")
    parser.add_argument(
        "--copies",
        type=int,
        default=8,
        help="how often at most each clip comes in pre-training, as far as the lines suffice (default: %(default)s)",
    )
    parser.add_argument(
        "--all-pictures",
        action="store_true",
        help="also those that the face encoder was trained on, whose frames are too good to be true",
    )
    parser.add_argument(
        "--denseface", type=Path, metavar="FILE", help="weights of the face encoder (default: those in the package)"
    )
    arguments = parser.parse_args()
    clips = read_ravdess(arguments.ravdess).renamed(VOICES).of_emotions(EMOTIONS).rows
    silent = [clip.id for clip in clips if not clip.audio]
    if silent:
        raise UserError(f"{arguments.ravdess}: {len(silent)} clips have no sound file, such as {silent[0]}")
    spoken = read_meld(arguments.meld).renamed(LINES).of_emotions(EMOTIONS).rows
    pictures = ExpressionPictures.read(arguments.ferplus)
    rng = np.random.default_rng(arguments.seed)
    lines = Lines(((row.emotion, Line(row.id, row.text)) for row in spoken), rng)
    usable = usable_pictures(
        pictures.images,
        pictures.majorities(),
        pictures.split == SPLITS.index("train"),
        unseen=not arguments.all_pictures,
    )
    faces = Faces(usable, sorted({clip.speaker for clip in clips}), rng)
    emotions = pair(clips, "", lines, faces, rng)
    copies = min(arguments.copies, lines.suffice_for(Counter(clip.emotion for clip in clips)))
    pretraining = [each for copy in range(1, copies + 1) for each in pair(clips, f"_{copy}", lines, faces, rng)]
    unlabelled = [replace(utterance.row, emotion="") for utterance in pretraining]
    # A start makes each clip a dialogue of one utterance, which comparators that read dialogues ask for.
    labelled = [replace(utterance.row, start=0.0) for utterance in emotions]
    Reading(labelled, [], []).write(arguments.output / "emotions.tsv")
    Reading(unlabelled, [], []).with_valid_share(0.1).write(arguments.output / "pretraining.tsv")
    write_sources(arguments.output / "sources.tsv", [*emotions, *pretraining])
    print(f"{arguments.output}: {len(emotions)} labelled utterances, {copies} copies for pre-training")
    write_visual_frames(arguments.output / "visual", [*emotions, *pretraining], pictures.images, arguments.denseface)


if __name__ == "__main__":
    run_command(main)
