"""Tests a bundle of seven emotions on text alone (MELD, development part) and on one face alone (unseen FER+), and
reports answers of fairseq-validate apart for voices whose speaker was known and for others."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

import numpy as np
from seven_corpus import EMOTIONS, enlarged, pictures_by_emotion

from memobert_plugin import MEmoBERT
from memobert_plugin.core.console import run_command
from memobert_plugin.corpora.meld import read_meld
from memobert_plugin.data.manifest import read_manifest
from memobert_plugin.evaluation.metrics.scores import Scores, confusion
from memobert_plugin.features.denseface.encoder import DenseFace
from memobert_plugin.features.denseface.pictures import ExpressionPictures
from memobert_plugin.inference.utterance import Utterance

MELD_LABELS: Final = {"joy": "happiness"}
"""The others have the same names."""


def report(name: str, labels: list[str], truth: list[str], found: list[str]) -> None:
    """Print the scores of answers."""
    rows, columns = (np.array([labels.index(label) for label in given]) for given in (truth, found))
    scores = Scores.from_confusion(confusion(rows, columns, len(labels))).as_dict()
    listed = ", ".join(f"{metric} {100 * value:.1f}" for metric, value in scores.items())
    print(f"{name}, {len(truth)} utterances: {listed}", flush=True)


def normalized(text: str) -> str:
    """Return a text's letters, in lower case."""
    return "".join(letter for letter in text.lower() if letter.isalpha())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="as run.sh writes it")
    parser.add_argument("--meld", type=Path, metavar="FOLDER", help="folder with dev_sent_emo.csv")
    parser.add_argument(
        "--known", type=Path, metavar="TSV", help="lines of this manifest are left out of a second count"
    )
    parser.add_argument("--ferplus", type=Path, metavar="FOLDER", help="FER+, packed by the corpora command")
    parser.add_argument("--answers", type=Path, nargs="+", default=[], metavar="JSONL", help="of fairseq-validate")
    arguments = parser.parse_args()
    model = MEmoBERT.from_pretrained(arguments.bundle)
    labels = list(model.labels)
    for path in arguments.answers:
        answers = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for name, known in (("speaker known", True), ("speaker unknown", False)):
            some = [answer for answer in answers if bool(answer["speaker"]) == known]
            if some:
                truth = [answer["label"] for answer in some]
                report(f"{path.stem}, {name}", labels, truth, [answer["prediction"] for answer in some])
    if arguments.meld:
        rows = [row for row in read_meld(arguments.meld).rows if row.split in ("dev", "valid") and row.text]
        truth = [MELD_LABELS.get(row.emotion, row.emotion) for row in rows]
        answers = model.predict([Utterance(text=row.text) for row in rows])
        found = [answer.label for answer in answers]
        report("text alone, MELD dev", labels, truth, found)
        if arguments.known:
            trained_on = {normalized(row.text) for row in read_manifest(arguments.known)}
            new = [number for number, row in enumerate(rows) if normalized(row.text) not in trained_on]
            report(
                "the same, lines that are not in training",
                labels,
                [truth[number] for number in new],
                [found[number] for number in new],
            )
    if arguments.ferplus:
        pictures = ExpressionPictures.read(arguments.ferplus)
        numbers = {emotion: pictures_by_emotion(pictures, tested=True)[emotion] for emotion in EMOTIONS}
        chosen = np.array([number for found in numbers.values() for number in found])
        features, expressions = DenseFace.from_shipped().encode(enlarged(pictures.images[chosen]))
        clips = [
            Utterance(visual=feature[None], expression=expression[None])
            for feature, expression in zip(features, expressions, strict=True)
        ]
        truth = [emotion for emotion, found in numbers.items() for _ in found]
        answers = model.predict(clips)
        report("one face alone, unseen FER+ pictures", labels, truth, [answer.label for answer in answers])


if __name__ == "__main__":
    run_command(main)
