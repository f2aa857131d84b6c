"""Each modality of a batch as a sequence of its own, at least one row per utterance: what the baselines read.

MEmoBERT packs the modalities of an utterance into one sequence. Models that encode each modality for itself keep three,
and put a learned row where an utterance lacks a modality, so that no encoder meets an empty sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from .packing import to_device


@dataclass(frozen=True)
class Sequences:
    """One modality of B utterances without padding.

    Attributes:
        rows: ``(N, D)``, utterance after utterance.
        lengths: ``(B,)`` rows of each utterance, on the host; none is 0.
    """

    rows: Tensor
    lengths: np.ndarray


class TextSequences(nn.Module):
    """``Dropout(LN(word))``. An utterance without text still has its [CLS] and [SEP].

    Args:
        vocabulary: rows of the dictionary.
        embed_dim: width D.
        dropout: applied to the result.
    """

    def __init__(self, vocabulary: int, embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary, embed_dim)
        self.norm = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.word.weight, std=embed_dim**-0.5)

    def forward(self, pieces: Tensor, lengths: np.ndarray) -> Sequences:
        """Pieces ``(sum(lengths),)`` int64 with [CLS] and [SEP]."""
        return Sequences(self.dropout(self.norm(self.word(pieces))), lengths)


class FrameSequences(nn.Module):
    """``Dropout(LN(Linear(frames)))``, and one learned row for an utterance without frames.

    Args:
        frame_dim: size of a frame's feature; 0 where the corpus has none, every utterance then is the learned row.
        embed_dim: width D.
        dropout: applied to the result.
    """

    def __init__(self, frame_dim: int, embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(frame_dim, embed_dim) if frame_dim else None
        self.norm = nn.LayerNorm(embed_dim) if frame_dim else None
        self.absent = nn.Parameter(torch.empty(1, embed_dim))
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.absent, std=embed_dim**-0.5)

    def forward(self, frames: Tensor | None, lengths: np.ndarray) -> Sequences:
        """Frames ``(sum(lengths), F)`` of any float type, or None when no utterance has any.

        Without frames the projection still runs, on no rows, and with every utterance present the learned row is still
        on the list: so every parameter has a gradient whatever the batch holds.
        """
        with_one = np.maximum(lengths, 1)
        is_absent = np.repeat(lengths == 0, with_one)
        source = np.full(len(is_absent), int(lengths.sum()))
        source[~is_absent] = np.arange(int(lengths.sum()))
        rows = torch.cat([self._projected(frames), self.absent])
        return Sequences(self.dropout(rows.index_select(0, to_device(source, rows.device))), with_one)

    def _projected(self, frames: Tensor | None) -> Tensor:
        if self.linear is None or self.norm is None:
            if frames is not None and len(frames):
                raise ValueError("the batch has frames of a modality that the model was built without")
            return self.absent[:0]
        weight = self.linear.weight
        frames = weight.new_empty(0, weight.shape[1]) if frames is None else frames.to(weight.dtype)
        return self.norm(self.linear(frames))
