"""Logistic regression on each clip's mean and deviation of its log-mel frames, leaving one speaker out.

What a few lines reach on the very frames that the transformer reads. Nothing is tuned: standardised features, the
library's own regularisation, the training speakers of the protocol "strict" (its validation speaker selects nothing
here).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from memobert_plugin.core.console import run_command
from memobert_plugin.core.errors import UserError
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.folds import make_folds
from memobert_plugin.evaluation.metrics.scores import Scores, confusion


def clip_statistics(corpus: Corpus, rows: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of every frame dimension over each utterance, ``(N, 2 D)``.

    Raises:
        UserError: the data-bin has no acoustic frames.
    """
    if corpus.acoustic is None or not corpus.meta.acoustic_dim:
        raise UserError(f"{corpus.path}: has no acoustic frames; binarize it with --acoustic")
    clips = [
        corpus.acoustic.view(int(row)).view(np.float16).reshape(-1, corpus.meta.acoustic_dim).astype(np.float64)
        for row in rows
    ]
    return np.stack([np.concatenate([clip.mean(0), clip.std(0)]) for clip in clips])


def fold_scores(corpus: Corpus, labels: list[str]) -> list[Scores]:
    """Scores of every fold, in the order of the speakers; of the utterances that have frames.

    Raises:
        UserError: a label that the data-bin does not have.
    """
    unknown = [label for label in labels if label not in corpus.meta.labels]
    if unknown:
        raise UserError(f"--labels: {corpus.path} has no {', '.join(unknown)}; it has {', '.join(corpus.meta.labels)}")
    labelled = np.isin(corpus.emotion, [corpus.meta.labels.index(label) for label in labels])
    rows = np.flatnonzero(labelled & (corpus.acoustic_lengths > 0))
    statistics = clip_statistics(corpus, rows)
    emotions = np.array([labels.index(corpus.meta.labels[code]) for code in corpus.emotion[rows]])
    speakers = np.array(corpus.speakers)[corpus.speaker[rows]]
    scores = []
    for fold in make_folds(dict.fromkeys(corpus.speakers, ()), "strict"):
        trained, tested = np.isin(speakers, fold.train), speakers == fold.test
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        model.fit(statistics[trained], emotions[trained])
        predictions = model.predict(statistics[tested])
        scores.append(Scores.from_confusion(confusion(emotions[tested], predictions, len(labels))))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("data_bin", type=Path, help="data-bin with acoustic frames and speakers")
    parser.add_argument("--labels", required=True, help="comma-separated emotions to tell apart")
    arguments = parser.parse_args()
    folds = fold_scores(Corpus(arguments.data_bin), arguments.labels.split(","))
    for metric in ("wa", "uar"):
        percent = [100 * fold.as_dict()[metric] for fold in folds]
        print(f"{metric.upper()} {np.mean(percent):.1f} ± {np.std(percent, ddof=1):.1f} %")
    print(f"logistic regression on clip statistics, mean ± standard deviation over {len(folds)} folds")


if __name__ == "__main__":
    run_command(main)
