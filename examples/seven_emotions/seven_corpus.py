"""Pairs RAVDESS voices, GoEmotions and EmoryNLP lines, and FER+ faces of one emotion: data of the shipped model.

Every part is real, the pairing is not. A clip comes several times, each time with another line and other faces. More
lines come alone, each emotion as often as in spoken dialogue.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from memobert_plugin.core.console import run_command
from memobert_plugin.core.errors import UserError
from memobert_plugin.corpora.ravdess import read_ravdess
from memobert_plugin.corpora.reading import Reading
from memobert_plugin.data.frames import FERPLUS_CLASSES, frame_file, write_extractor_info, write_frames
from memobert_plugin.data.manifest import ManifestRow
from memobert_plugin.features.denseface.encoder import SIDE, DenseFace
from memobert_plugin.features.denseface.pictures import SPLITS, ExpressionPictures
from memobert_plugin.tasks.picture_dataset import resized

EMOTIONS: Final = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")
VOICES: Final = {
    "neutral": "neutral", "calm": "neutral", "happy": "happiness", "surprised": "surprise", "sad": "sadness",
    "angry": "anger", "disgust": "disgust", "fearful": "fear",
}  # fmt: skip
GOEMOTIONS: Final = {
    "neutral": "neutral", "joy": "happiness", "amusement": "happiness", "excitement": "happiness", "love": "happiness",
    "surprise": "surprise", "sadness": "sadness", "grief": "sadness", "remorse": "sadness",
    "disappointment": "sadness", "anger": "anger", "annoyance": "anger", "disgust": "disgust", "fear": "fear",
    "nervousness": "fear",
}  # fmt: skip
"""Lines of other labels, and of several, are left out."""
EMORYNLP: Final = {"Neutral": "neutral", "Joyful": "happiness", "Sad": "sadness", "Mad": "anger", "Scared": "fear"}
SPOKEN: Final = {
    "neutral": 4710, "happiness": 1743, "surprise": 1205, "sadness": 683, "anger": 1109, "disgust": 271, "fear": 268,
}  # fmt: skip
"""Lines of each emotion in MELD's training part (Poria et al. 2019), as in spoken dialogue. None of them is read."""
DIALOGUE_WEIGHT: Final = 4.0
"""Weight of a line of EmoryNLP, spoken dialogue, beside one of GoEmotions, which people wrote."""
ONE_FACE: Final = 0.3
"""Probability of an utterance with a single face, which then shows the emotion."""
FEWEST_FACES, MOST_FACES = 4, 24
OWN_FACES: Final = (0.2, 0.9)
"""Share of the other utterances' faces that show the emotion, drawn from this range. Most others are neutral, as faces
of people who speak are."""
OTHERS_NEUTRAL: Final = 0.7
FACES_PER_SECOND: Final = 10.0


def needed(path: Path, corpus: str) -> Path:
    """Return a corpus's file if it is there."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the folder of the tables of {corpus}")
    return path


def goemotions_lines(folder: Path, part: str) -> Iterator[tuple[str, str]]:
    """Yield (emotion, text) of the lines of one label among :data:`GOEMOTIONS`."""
    names = needed(folder / "labels.txt", "GoEmotions").read_text(encoding="utf-8").split()
    with open(needed(folder / f"{part}.tsv", "GoEmotions"), encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["label"].isdecimal() and names[int(row["label"])] in GOEMOTIONS:
                text = re.sub(r"\s+", " ", row["text"].replace("[NAME]", "").replace("[RELIGION]", ""))
                yield GOEMOTIONS[names[int(row["label"])]], text.strip()


def emorynlp_lines(folder: Path, part: str) -> Iterator[tuple[str, str]]:
    """Yield (emotion, text) of the lines of a label among :data:`EMORYNLP`."""
    with open(needed(folder / f"emorynlp_{part}_final.csv", "EmoryNLP"), encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["Emotion"] in EMORYNLP:
                yield EMORYNLP[row["Emotion"]], row["Utterance"]


class Turns:
    """Items by emotion, handed out in random order, and again when all have been."""

    def __init__(self, items: Mapping[str, Sequence[object]], rng: np.random.Generator) -> None:
        self._items, self._rng = items, rng
        self._left: dict[str, list[object]] = {emotion: [] for emotion in items}

    def next(self, emotion: str) -> object:
        """Return the next item of an emotion."""
        if not self._left[emotion]:
            items = self._items[emotion]
            self._left[emotion] = [items[number] for number in self._rng.permutation(len(items))]
        return self._left[emotion].pop()


def draw_faces(emotion: str, faces: Turns, rng: np.random.Generator) -> np.ndarray:
    """Return numbers of the pictures that an utterance of an emotion shows."""
    if rng.random() < ONE_FACE:
        return np.array([faces.next(emotion)])
    own = rng.uniform(*OWN_FACES)
    chosen = []
    for _ in range(int(rng.integers(FEWEST_FACES, MOST_FACES + 1))):
        shown = emotion
        if rng.random() > own:
            shown = "neutral" if rng.random() < OTHERS_NEUTRAL else EMOTIONS[int(rng.integers(len(EMOTIONS)))]
        chosen.append(faces.next(shown))
    return np.array(chosen)


def lines_by_emotion(goemotions: Path, emorynlp: Path, part: str) -> dict[str, list[str]]:
    """Return the lines of each emotion in both corpora's ``train`` or ``dev``."""
    lines: dict[str, list[str]] = {emotion: [] for emotion in EMOTIONS}
    for emotion, text in (*goemotions_lines(goemotions, part), *emorynlp_lines(emorynlp, part)):
        if text:
            lines[emotion].append(text)
    return lines


def lines_alone(goemotions: Path, emorynlp: Path, count: int, rng: np.random.Generator) -> list[ManifestRow]:
    """Return rows of text only, drawn from the training lines with the frequencies :data:`SPOKEN`.

    A line that is to come 2.3 times comes twice, or three times with probability 0.3.
    """
    weighted: dict[str, list[tuple[str, float]]] = {emotion: [] for emotion in EMOTIONS}
    for weight, lines in (
        (1.0, goemotions_lines(goemotions, "train")),
        (DIALOGUE_WEIGHT, emorynlp_lines(emorynlp, "train")),
    ):
        for emotion, text in lines:
            if text:
                weighted[emotion].append((text, weight))
    drawn = []
    for emotion, found in weighted.items():
        wanted = round(count * SPOKEN[emotion] / sum(SPOKEN.values())) if found else 0
        edges = np.cumsum([weight for _, weight in found])
        places = np.searchsorted(edges, (np.arange(wanted) + rng.random()) * (edges[-1] / wanted)) if wanted else []
        drawn += [(emotion, found[place][0]) for place in places]
    return shuffled_rows(drawn, rng)


def shuffled_rows(lines: Sequence[tuple[str, str]], rng: np.random.Generator) -> list[ManifestRow]:
    """Return rows of text only to train on, in random order, from (emotion, text)."""
    return [
        ManifestRow(line=0, id=f"line_{number:05d}", text=text, emotion=emotion, split="train")
        for number, (emotion, text) in enumerate(lines[place] for place in rng.permutation(len(lines)))
    ]


def pictures_by_emotion(pictures: ExpressionPictures, tested: bool | None) -> dict[str, list[int]]:
    """Return the numbers of the pictures of each emotion that the face encoder was not trained on.

    Args:
        pictures: FER+.
        tested: True for every fifth picture, False for the others, None for all.
    """
    majorities = pictures.majorities()
    unseen = pictures.split != SPLITS.index("train")
    if tested is not None:
        unseen &= (np.arange(len(unseen)) % 5 == 0) == tested
    found = {
        emotion: np.flatnonzero(unseen & (majorities == FERPLUS_CLASSES.index(emotion))).tolist()
        for emotion in EMOTIONS
    }
    for emotion, numbers in found.items():
        if not numbers:
            raise UserError(f"no unseen picture of {emotion}; give FER+ with its validation part")
    return found


def enlarged(images: np.ndarray) -> np.ndarray:
    """Return FER+'s pictures ``(N, 48, 48)`` uint8 as ``(N, 64, 64)``, as the face encoder's training enlarged them."""
    return resized(torch.from_numpy(images).float(), SIDE).round().to(torch.uint8).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    for flag, text in (
        ("--ravdess", "RAVDESS speech"),
        ("--goemotions", "folder of train.tsv, dev.tsv and labels.txt"),
        ("--emorynlp", "folder of emorynlp_train_final.csv"),
        ("--ferplus", "FER+, packed by the corpora command"),
        ("--output", "where to write"),
    ):
        parser.add_argument(flag, type=Path, required=True, metavar="FOLDER", help=text)
    parser.add_argument("--copies", type=int, default=12, help="how often each clip comes (default: %(default)s)")
    parser.add_argument("--lines", type=int, default=8000, help="lines that come alone (default: %(default)s)")
    parser.add_argument("--test-speakers", default="", help="comma-separated actors of the split test")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (default: %(default)s)")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    clips = read_ravdess(arguments.ravdess).renamed(VOICES).of_emotions(EMOTIONS).rows
    lines = {part: lines_by_emotion(arguments.goemotions, arguments.emorynlp, part) for part in ("train", "dev")}
    pictures = ExpressionPictures.read(arguments.ferplus)
    tested = {name.strip() for name in arguments.test_speakers.split(",") if name.strip()}
    texts = {"train": Turns(lines["train"], rng), "test": Turns(lines["dev"], rng)}
    faces = {
        "train": Turns(pictures_by_emotion(pictures, tested=False if tested else None), rng),
        "test": Turns(pictures_by_emotion(pictures, tested=True), rng),
    }
    rows: list[ManifestRow] = []
    shown: list[np.ndarray] = []
    for copy in range(1, arguments.copies + 1):
        for clip in clips:
            split = "test" if clip.speaker in tested else "train"
            text = str(texts[split].next(clip.emotion))
            # Half of the copies are read less the mean of their speaker, the others less that of the average one: a
            # user may have one clip of a person or many.
            speaker = clip.speaker if 2 * copy <= arguments.copies else ""
            rows.append(replace(clip, id=f"{clip.id}_{copy}", speaker=speaker, text=text, split=split))
            shown.append(draw_faces(clip.emotion, faces[split], rng))
    # A clip's copies follow each other: extraction then encodes each voice once.
    order = sorted(range(len(rows)), key=lambda number: number % len(clips))
    rows, shown = [rows[number] for number in order], [shown[number] for number in order]
    alone = lines_alone(arguments.goemotions, arguments.emorynlp, arguments.lines, rng)
    arguments.output.mkdir(parents=True, exist_ok=True)
    Reading([*rows, *alone], [], []).write(arguments.output / "manifest.tsv")
    counts = ", ".join(f"{emotion} {len(found)}" for emotion, found in lines["train"].items())
    print(
        f"{arguments.output}: {len(rows)} utterances of {len(clips)} clips, {len(alone)} lines alone; lines: {counts}"
    )
    write_faces(arguments.output / "visual", rows, shown, pictures.images)


def write_faces(folder: Path, rows: Sequence[ManifestRow], shown: Sequence[np.ndarray], images: np.ndarray) -> None:
    """Encode each picture once and write every utterance's frames."""
    numbers = np.unique(np.concatenate(list(shown)))
    encoder = DenseFace.from_shipped()
    features, expressions = encoder.encode(enlarged(images[numbers]))
    folder.mkdir(parents=True, exist_ok=True)
    write_extractor_info(folder, replace(encoder.info(enlarged_from=images.shape[1]), frame_rate=FACES_PER_SECOND))
    for row, pictures in zip(rows, shown, strict=True):
        places = np.searchsorted(numbers, pictures)
        write_frames(frame_file(folder, row.id), features[places], expressions[places])
    print(f"{folder}: {len(rows)} utterances, {len(numbers)} different pictures")


if __name__ == "__main__":
    run_command(main)
