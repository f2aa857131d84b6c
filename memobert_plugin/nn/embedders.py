"""Embed word pieces and frames for the transformer (MEmoBERT, section 2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..core.names import LAYER_NORM_EPS
from .linear import Linear

PAD = 1
"""Row of [PAD] in every dictionary."""
PROMPT = "text_embedder.prompt"
"""Name of the learned vectors in a network's state."""


class PromptedEmbedder(nn.Module):
    """Base of the embedders of text: with :meth:`add_prompt`, learned vectors stand for the words at [PAD].

    Lester et al., "The power of scale for parameter-efficient prompt tuning", EMNLP 2021.
    """

    prompt: nn.Parameter | None

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("prompt", None)

    def add_prompt(self, started: Tensor) -> None:
        """Add learned vectors for the [PAD] of each text, which has as many or none.

        Args:
            started: ``(count, D)`` what they start as.
        """
        self.prompt = nn.Parameter(started)

    def _with_prompt(self, pieces: Tensor, words: Tensor) -> Tensor:
        """Return vectors of words ``(n, D)`` with the learned ones in the places of [PAD]."""
        if self.prompt is None:
            return words
        learned = pieces == PAD
        place = (learned.cumsum(dim=0) - 1).clamp(min=0) % len(self.prompt)
        return torch.where(learned[:, None], self.prompt[place], words)


class TextEmbedder(PromptedEmbedder):
    """``Dropout(LN(word + position + token_type[0]))``, BERT's own embedding.

    The second row of ``token_type`` is BERT's "segment B", which the visual embedder adds to its frames.
    """

    def __init__(self, vocabulary: int, embed_dim: int, max_positions: int, dropout: float) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary, embed_dim)
        self.position = nn.Embedding(max_positions, embed_dim)
        self.token_type = nn.Embedding(2, embed_dim)
        self.norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pieces: Tensor, positions: Tensor) -> Tensor:
        """Return ``(n, D)`` for pieces and their positions, ``(n,)`` int64 each."""
        words = self._with_prompt(pieces, self.word(pieces))
        return self.dropout(self.norm(words + self.position(positions) + self.token_type.weight[0]))


def prompt_rows(count: int, rows: Sequence[int]) -> list[int]:
    """Return the rows of the words that ``count`` learned vectors start as."""
    return [rows[number % len(rows)] for number in range(count)]


class FrameEmbedder(nn.Module):
    """``Dropout(LN(LN(Linear(frames)) + position + type))``.

    Frames are standardised first. Masked ones are replaced by a learned vector in feature space.

    Args:
        frame_dim: size of a frame's feature (342 for DenseFace, 768 for wav2vec 2.0 base).
        embed_dim: width D.
        max_positions: rows of the position table, which restarts at 0 in every modality.
        dropout: applied to the result.
        own_type: give the embedder its own type row (acoustic) instead of passing one to it (visual).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, frame_dim: int, embed_dim: int, max_positions: int, dropout: float, own_type: bool) -> None:
        super().__init__()
        self.linear = Linear(frame_dim, embed_dim)
        self.feature_norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.mask = nn.Parameter(torch.zeros(1, frame_dim))
        self.position = nn.Embedding(max_positions, embed_dim)
        self.token_type = nn.Embedding(1, embed_dim) if own_type else None
        self.register_buffer("mean", torch.zeros(frame_dim))
        self.register_buffer("deviation", torch.ones(frame_dim))
        self.norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def standardized(self, frames: Tensor) -> Tensor:
        """Return frames ``(n, F)`` less their mean, over their deviation: those of the training frames, or 0 and 1."""
        return (frames - self.mean) / self.deviation

    def forward(
        self, frames: Tensor, positions: Tensor, masked: Tensor | None, type_row: Tensor | None = None
    ) -> Tensor:
        """Return ``(n, D)`` for frames ``(n, F)`` of any float type, positions ``(n,)`` and rows to mask ``(m,)``."""
        # A network in half precision keeps its statistics in single precision.
        frames = self.standardized(frames.to(self.mean.dtype)).to(self.linear.weight.dtype)
        if masked is not None:
            frames = frames.index_copy(0, masked, self.mask.expand(len(masked), -1))
        type_row = self.token_type.weight[0] if self.token_type is not None else type_row
        embedded = self.feature_norm(self.linear(frames)) + self.position(positions)
        return self.dropout(self.norm(embedded if type_row is None else embedded + type_row))
