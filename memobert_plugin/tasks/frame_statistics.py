"""Fit a new model to the frames of its training utterances: standardise them, or centre their projections."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..core.errors import UserError
from ..data.corpus import Corpus
from ..data.indexed import IndexedReader

_SAMPLED_FRAMES = 20_000
_SMALLEST_DEVIATION = 1e-3


def frame_sample(reader: IndexedReader, rows: np.ndarray, dim: int) -> np.ndarray:
    """Return all frames of utterances taken evenly from ``rows``, about 20 000 at most, float64 ``(n, dim)``.

    Args:
        reader: flattened float16 frames.
        rows: of the utterances.
        dim: numbers per frame.
    """
    frames = reader.sizes[rows] // dim
    step = max(1, -(-int(frames.sum(dtype=np.int64)) // _SAMPLED_FRAMES))
    parts = [reader.view(int(row)).view(np.float16).reshape(-1, dim) for row in rows[frames > 0][::step]]
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros((0, dim))


class FrameReader(Protocol):
    """A module that reads frames less their mean and over their deviation; most project them by ``linear`` then."""

    mean: Tensor
    deviation: Tensor


@torch.no_grad()
def center(embedder: FrameReader, mean: np.ndarray) -> None:
    """Set the projection's bias to ``-W mean``, so that the mean frame is projected to zero.

    Features after a ReLU, such as DenseFace's, have a mean several times as long as their deviation. The LayerNorm
    after the projection then sees little but the mean, and a short training does not learn the rest. Only the start
    changes.

    Raises:
        UserError: the embedder has no projection.
    """
    projection = getattr(embedder, "linear", None)
    if projection is None:
        raise UserError("--center-frames: this --arch reads frames without a projection; give --standardize-frames")
    projection.bias.copy_(-(projection.weight @ torch.from_numpy(mean).to(projection.weight)))


@torch.no_grad()
def standardize(embedder: FrameReader, sample: np.ndarray, distributions: bool) -> None:
    """Have an embedder read frames less their mean and over their deviation, in every dimension.

    Args:
        embedder: its buffers are set.
        sample: ``(n, dim)`` training frames.
        distributions: the frames are probabilities: one deviation for all, so that rare classes stay small.
    """
    deviation = sample.std(axis=0)
    if distributions:
        deviation = np.full_like(deviation, np.sqrt((deviation**2).mean()))
    # A dimension that hardly moves keeps its scale: its noise would become as large as the others' signal.
    deviation[deviation < _SMALLEST_DEVIATION * max(float(deviation.max()), 1e-12)] = 1.0
    embedder.mean.copy_(torch.from_numpy(sample.mean(axis=0)))
    embedder.deviation.copy_(torch.from_numpy(deviation))


def fit_embedders(
    corpus: Corpus,
    rows: np.ndarray,
    visual: FrameReader | None,
    acoustic: FrameReader | None,
    *,
    standardized: bool,
    centered: bool,
) -> None:
    """Standardise or centre both embedders on the frames of some utterances, where model and corpus have the stream."""
    for embedder, reader, dim, info in (
        (visual, corpus.visual, corpus.meta.visual_dim, corpus.meta.visual_extractor),
        (acoustic, corpus.acoustic, corpus.meta.acoustic_dim, corpus.meta.acoustic_extractor),
    ):
        if embedder is None or reader is None or not dim:
            continue
        sample = frame_sample(reader, rows, dim)
        if not len(sample):
            continue
        if standardized:
            standardize(embedder, sample, info is not None and info.options.get("visual_input") == "expressions")
        if centered:
            mean = sample.mean(axis=0)
            center(embedder, (mean - embedder.mean.double().numpy()) / embedder.deviation.double().numpy())
