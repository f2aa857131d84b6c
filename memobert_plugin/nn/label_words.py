"""Read emotions off the probabilities of their label words (MEmoBERT, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class CandidateWords:
    """Candidate words for a mask, and the text around it.

    Attributes:
        rows: their dictionary rows.
        before: pieces of the template before the mask, ``[CLS]`` first.
        after: pieces of the template after it, ``[SEP]`` last.
    """

    rows: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def mask_position(self) -> int:
        """Return the place of the mask in :meth:`texts`."""
        return len(self.before)

    def texts(self) -> np.ndarray:
        """Return the template with each word in the mask's place, ``(n, length)`` int64."""
        return np.array([[*self.before, row, *self.after] for row in self.rows], dtype=np.int64)


class LabelWords:
    """The dictionary rows of each emotion's label words, as tensors.

    Args:
        words: for each of C emotions the dictionary rows of its words, at least one.
        vocabulary: rows of the dictionary.
    """

    def __init__(self, words: Sequence[Sequence[int]], vocabulary: int) -> None:
        own = [list(pieces) for pieces in words]
        most = max(len(pieces) for pieces in own)
        padding = [most - len(pieces) for pieces in own]
        self.rows = tuple(piece for pieces in own for piece in pieces)
        """All words, emotion after emotion: the candidates where the mask is filled with label words alone."""
        column = {row: index for index, row in enumerate(self.rows)}
        self.pieces = torch.tensor([pieces + pieces[:1] * n for pieces, n in zip(own, padding, strict=True)])
        self.columns = torch.tensor([[column[piece] for piece in of_emotion] for of_emotion in self.pieces.tolist()])
        self.is_word = torch.tensor([[True] * (most - n) + [False] * n for n in padding])
        self.emotion_of_piece = torch.full((vocabulary,), len(own))
        for emotion, pieces in enumerate(own):
            self.emotion_of_piece[pieces] = emotion

    def scores(self, logits: Tensor) -> Tensor:
        """Return the log of the summed exponentials of each emotion's words: ``(B, vocabulary)`` to ``(B, C)``."""
        self._move_to(logits.device)
        return self._summed(logits[:, self.pieces])

    def scores_of_candidates(self, logits: Tensor) -> Tensor:
        """Return the same for logits of :attr:`rows` alone, ``(B, n)`` to ``(B, C)``."""
        self._move_to(logits.device)
        return self._summed(logits[:, self.columns])

    def emotions(self, pieces: Tensor) -> Tensor:
        """Return the emotion ``(B,)`` of each dictionary row ``(B,)``; C where a piece is not a label word."""
        self._move_to(pieces.device)
        return self.emotion_of_piece[pieces]

    def _summed(self, words: Tensor) -> Tensor:
        return words.masked_fill(~self.is_word, -torch.inf).logsumexp(dim=-1)

    def _move_to(self, device: torch.device) -> None:
        if self.pieces.device != device:
            self.pieces, self.columns, self.is_word, self.emotion_of_piece = (
                tensor.to(device) for tensor in (self.pieces, self.columns, self.is_word, self.emotion_of_piece)
            )
