"""Logistic regressions on single streams and on all three, leaving one speaker out.

What a few lines reach on the same words and frames: weighted word counts; the faces' mean expression
distribution; mean and deviation of the log-mel frames. "fused" adds the three models' log-probabilities. Nothing is
tuned: standardised features, the library's own regularisation, the training speakers of the protocol "strict" (its
validation speaker selects nothing here).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tabulate import tabulate

from memobert_plugin.core.errors import UserError, run_command
from memobert_plugin.data.folds import make_folds
from memobert_plugin.data.frames import Frames, frame_file, read_frames
from memobert_plugin.data.manifest import ManifestRow, read_manifest
from memobert_plugin.evaluation.metrics.scores import Scores, confusion

STREAMS = ("text", "visual", "acoustic")


@dataclass(frozen=True)
class Streams:
    """One entry or row per utterance."""

    text: np.ndarray
    visual: np.ndarray
    acoustic: np.ndarray


def read_streams(rows: Sequence[ManifestRow], visual: Path, acoustic: Path) -> Streams:
    """Words, and each clip's frames as one vector.

    Raises:
        UserError: an utterance has no frames in one of the folders, or no expression distribution.
    """
    faces = [_frames(visual, row).expression for row in rows]
    sounds = [_frames(acoustic, row).frames for row in rows]
    if any(face is None for face in faces):
        raise UserError(f"{visual}: frames without expression distributions; run run.sh, which writes all frames")
    return Streams(
        np.array([row.text for row in rows], dtype=object),
        np.stack([face.mean(0) for face in faces if face is not None]),
        np.stack([np.concatenate([sound.mean(0), sound.std(0)]) for sound in sounds]),
    )


def fold_scores(rows: Sequence[ManifestRow], streams: Streams) -> dict[str, list[Scores]]:
    """Scores of every fold by system."""
    labels = sorted({row.emotion for row in rows})
    emotions = np.array([labels.index(row.emotion) for row in rows])
    speakers = np.array([row.speaker for row in rows])
    scores: dict[str, list[Scores]] = {name: [] for name in ("majority", *STREAMS, "fused")}
    for fold in make_folds(dict.fromkeys(speakers.tolist(), ()), "strict"):
        trained, tested = np.isin(speakers, fold.train), speakers == fold.test
        log_probabilities = {"majority": np.log(np.bincount(emotions[trained], minlength=len(labels)) + 1.0)[None]}
        for name in STREAMS:
            values = getattr(streams, name)
            model = _model(name).fit(values[trained], emotions[trained])
            log_probabilities[name] = model.predict_log_proba(values[tested])
        log_probabilities["fused"] = sum(log_probabilities[name] for name in STREAMS)
        for name, values in log_probabilities.items():
            predictions = np.broadcast_to(values.argmax(1), tested.sum())
            scores[name].append(Scores.from_confusion(confusion(emotions[tested], predictions, len(labels))))
    return scores


def _model(stream: str) -> Pipeline:
    first = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)) if stream == "text" else StandardScaler()
    return make_pipeline(first, LogisticRegression(max_iter=2000))


def _frames(folder: Path, row: ManifestRow) -> Frames:
    path = frame_file(folder, row.id)
    frames = read_frames(path)
    if frames is None:
        raise UserError(f"{path}: there is no such file; run run.sh, which writes all frames")
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--visual", type=Path, required=True, help="folder of visual frames")
    parser.add_argument("--acoustic", type=Path, required=True, help="folder of acoustic frames")
    arguments = parser.parse_args()
    rows = list(read_manifest(arguments.manifest))
    scores = fold_scores(rows, read_streams(rows, arguments.visual, arguments.acoustic))
    cells = []
    for name, folds in scores.items():
        percent = ([100 * fold.as_dict()[metric] for fold in folds] for metric in ("wa", "uar"))
        cells.append([name, *(f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}" for values in percent)])
    print(tabulate(cells, ["system", "WA %", "UAR %"], disable_numparse=True, colalign=("left", "right", "right")))
    print(f"logistic regression, mean ± standard deviation over {len(scores['fused'])} folds, each tests one speaker")


if __name__ == "__main__":
    run_command(main)
