"""Where a corpus's frames lie, and a start of the network from which their differences show."""

from __future__ import annotations

import numpy as np
import torch

from ..data.corpus import Corpus
from ..data.indexed import IndexedReader
from ..nn.embedders import FrameEmbedder

_FRAMES = 20_000


def mean_frame(reader: IndexedReader, dim: int) -> np.ndarray:
    """The mean of some 20 000 frames taken evenly from all over a container, float32 ``(dim,)``.

    Args:
        reader: flattened float16 frames.
        dim: of a frame.
    """
    frames = reader.data.view(np.float16).reshape(-1, dim)
    return frames[:: max(1, len(frames) // _FRAMES)].mean(axis=0, dtype=np.float64).astype(np.float32)


@torch.no_grad()
def center(embedder: FrameEmbedder, mean: np.ndarray) -> None:
    """Let the mean frame be projected to zero: the bias becomes ``-W mean``.

    Features after a ReLU, such as those of DenseFace, have a mean several times as long as their deviation. The
    LayerNorm after the projection then sees hardly anything else, and a short training does not find the rest. Only the
    start changes; the network and what it can learn stay the same.
    """
    projection = embedder.linear
    projection.bias.copy_(-(projection.weight @ torch.from_numpy(mean).to(projection.weight)))


def center_embedders(corpus: Corpus, visual: FrameEmbedder | None, acoustic: FrameEmbedder | None) -> None:
    """Centre both embedders on a corpus's frames, where the model and the corpus have the modality."""
    for embedder, reader, dim in (
        (visual, corpus.visual, corpus.meta.visual_dim),
        (acoustic, corpus.acoustic, corpus.meta.acoustic_dim),
    ):
        if embedder is not None and reader is not None and dim:
            center(embedder, mean_frame(reader, dim))
