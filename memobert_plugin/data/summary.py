"""Summarise a data-bin as plain values: counts, lengths, hours and extractors."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from .corpus import Corpus
from .limits import DEFAULT_FRAMES, notes_on_limits, share_beyond
from .votes import parse_labels

PERCENTILES = (0, 5, 25, 50, 75, 95, 99, 100)


def summarize(corpus: Corpus) -> dict[str, Any]:
    """Return a JSON-ready description of a data-bin.

    ``splits``, ``speakers`` and ``emotions`` map names to ``utterances`` and ``hours`` (speakers also to counts by
    ``emotions``; no emotion has the name ""). ``labels`` counts those of which an utterance may have several,
    ``dimensions`` has the utterances with each number and its range. ``modalities`` holds, over the utterances that
    have it, the number and the percentiles of pieces or frames; for frames also the share that tasks do not read by
    default.
    """
    meta = corpus.meta
    seconds = np.nan_to_num(corpus.duration, nan=0.0).astype(np.float64)
    emotion_names = [*meta.labels, ""]
    emotions = np.where(corpus.emotion < 0, len(meta.labels), corpus.emotion).astype(np.int64)
    speakers = _groups(meta.speakers, corpus.speaker, seconds)
    by_emotion = np.bincount(
        corpus.speaker.astype(np.int64) * len(emotion_names) + emotions,
        minlength=len(meta.speakers) * len(emotion_names),
    ).reshape(len(meta.speakers), len(emotion_names))
    for name, row in zip(meta.speakers, by_emotion.tolist(), strict=True):
        speakers[name]["emotions"] = {label: count for label, count in zip(emotion_names, row, strict=True) if count}
    modalities = {"text": _lengths(corpus.text_lengths)}
    for name, dim, extractor, lengths in (
        ("visual", meta.visual_dim, meta.visual_extractor, corpus.visual_lengths),
        ("acoustic", meta.acoustic_dim, meta.acoustic_extractor, corpus.acoustic_lengths),
    ):
        if extractor is not None:
            limit = DEFAULT_FRAMES[name]
            modalities[name] = {
                **_lengths(lengths),
                "dim": dim,
                "extractor": extractor.facts(),
                "default_limit": limit,
                "share_beyond_default_limit": share_beyond(lengths, limit),
            }
    return {
        "path": str(corpus.path),
        "format_version": meta.format_version,
        "utterances": len(corpus),
        "skipped": meta.counts["skipped"],
        "hours": float(seconds.sum()) / 3600,
        "utterances_of_unknown_duration": int(np.isnan(corpus.duration).sum()),
        "tokenizer": meta.tokenizer,
        "vocabulary_size": meta.vocabulary_size,
        "expression_classes": meta.expression_classes,
        "splits": _groups(meta.splits, corpus.split, seconds),
        "emotions": {
            name: group for name, group in _groups(emotion_names, emotions, seconds).items() if group["utterances"]
        },
        "labels": _several_labels(corpus),
        "dimensions": {
            name: {"utterances": int(np.isfinite(values).sum()), "range": list(meta.dimensions[name])}
            for name, values in corpus.dimensions.items()
        },
        "speakers": speakers,
        "modalities": modalities,
        "notes": notes_on_limits(corpus),
    }


def _several_labels(corpus: Corpus) -> dict[str, int]:
    """Return how many utterances have each of the labels of which one may have several."""
    labels: Counter[str] = Counter()
    if corpus.label_sets is not None:
        counts = np.bincount(corpus.label_sets, minlength=len(corpus.meta.label_sets)).tolist()
        for text, count in zip(corpus.meta.label_sets, counts, strict=True):
            labels.update(dict.fromkeys(parse_labels(text), count))
    return dict(sorted(labels.items()))


def _groups(names: list[str], codes: np.ndarray, seconds: np.ndarray) -> dict[str, dict[str, Any]]:
    counts = np.bincount(codes, minlength=len(names)).tolist()
    hours = (np.bincount(codes, weights=seconds, minlength=len(names)) / 3600).tolist()
    return {name: {"utterances": count, "hours": time} for name, count, time in zip(names, counts, hours, strict=True)}


def _lengths(lengths: np.ndarray) -> dict[str, Any]:
    present = lengths[lengths > 0]
    percentiles = np.percentile(present, PERCENTILES).tolist() if len(present) else [0.0] * len(PERCENTILES)
    return {
        "utterances": len(present),
        "total": int(present.sum(dtype=np.int64)),
        "percentiles": {str(at): value for at, value in zip(PERCENTILES, percentiles, strict=True)},
    }
