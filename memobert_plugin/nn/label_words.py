"""Read emotions off the probabilities of their label words (MEmoBERT, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor


class LabelWords:
    """The dictionary rows of each emotion's label words, as tensors.

    Args:
        words: for each of C emotions the dictionary rows of its words, at least one.
        vocabulary: rows of the dictionary.
    """

    def __init__(self, words: list[list[int]], vocabulary: int) -> None:
        most = max(len(pieces) for pieces in words)
        padding = [most - len(pieces) for pieces in words]
        self.pieces = torch.tensor([own + own[:1] * n for own, n in zip(words, padding, strict=True)])
        self.is_word = torch.tensor([[True] * (most - n) + [False] * n for n in padding])
        self.emotion_of_piece = torch.full((vocabulary,), len(words))
        for emotion, pieces in enumerate(words):
            self.emotion_of_piece[pieces] = emotion

    def scores(self, logits: Tensor) -> Tensor:
        """Return the log of the summed exponentials of each emotion's words: ``(B, vocabulary)`` to ``(B, C)``."""
        self._move_to(logits.device)
        words = logits[:, self.pieces].masked_fill(~self.is_word, -torch.inf)
        return words.logsumexp(dim=-1)

    def emotions(self, pieces: Tensor) -> Tensor:
        """Return the emotion ``(B,)`` of each dictionary row ``(B,)``; C where a piece is not a label word."""
        self._move_to(pieces.device)
        return self.emotion_of_piece[pieces]

    def _move_to(self, device: torch.device) -> None:
        if self.pieces.device != device:
            self.pieces, self.is_word, self.emotion_of_piece = (
                tensor.to(device) for tensor in (self.pieces, self.is_word, self.emotion_of_piece)
            )
