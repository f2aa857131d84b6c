"""Emotion by prompting: which emotion word fills the mask (MEmoBERT, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from fairseq.criterions import register_criterion
from fairseq.dataclass import FairseqDataclass
from torch import Tensor, nn

from .classification import ClassificationCriterion, Decisions
from .precision import upcast


@dataclass
class PromptCriterionConfig(FairseqDataclass):
    """No options: template and verbalizer belong to the task."""


class LabelWords:
    """The emotion words as tensors.

    Args:
        words: for each of C emotions the dictionary rows of its words, at least one.
        vocabulary: rows of the dictionary.
    """

    def __init__(self, words: list[list[int]], vocabulary: int) -> None:
        most = max(len(pieces) for pieces in words)
        self.pieces = torch.tensor([pieces + pieces[:1] * (most - len(pieces)) for pieces in words])
        self.is_word = torch.tensor([[True] * len(pieces) + [False] * (most - len(pieces)) for pieces in words])
        self.emotion_of_piece = torch.full((vocabulary,), len(words))
        for emotion, pieces in enumerate(words):
            self.emotion_of_piece[pieces] = emotion

    def scores(self, logits: Tensor) -> Tensor:
        """Logits ``(B, vocabulary)`` to ``(B, C)``: log of the summed exponentials of each emotion's words."""
        self._follow(logits.device)
        words = logits[:, self.pieces].masked_fill(~self.is_word, -torch.inf)
        return words.logsumexp(dim=-1)

    def emotions(self, pieces: Tensor) -> Tensor:
        """Dictionary rows ``(B,)`` to emotions ``(B,)``, C where a piece is no emotion word."""
        self._follow(pieces.device)
        return self.emotion_of_piece[pieces]

    def _follow(self, device: torch.device) -> None:
        if self.pieces.device != device:
            self.pieces, self.is_word, self.emotion_of_piece = (
                tensor.to(device) for tensor in (self.pieces, self.is_word, self.emotion_of_piece)
            )


@register_criterion("memobert_prompt", dataclass=PromptCriterionConfig)
class MEmoBERTPromptCriterion(ClassificationCriterion):
    """Cross-entropy over the full vocabulary at the mask.

    With several words for an emotion their probabilities are added. The decision is taken among the label words; the
    most likely piece of the full vocabulary (the reference implementation's decision) is logged beside it with the
    prefix ``vocabulary_``.
    """

    def __init__(self, task: Any) -> None:
        super().__init__(task)
        self.label_words = LabelWords(task.label_words, len(task.symbols))

    @classmethod
    def build_criterion(cls, cfg: PromptCriterionConfig, task: Any) -> MEmoBERTPromptCriterion:
        """The emotion words come from the task."""
        return cls(task)

    def decide(self, model: nn.Module, sample: dict[str, Any]) -> Decisions:
        """Read the mask position of every utterance."""
        logits = upcast(model(**sample["net_input"], head="wwmlm", rows=sample["mask_rows"]))
        scores = self.label_words.scores(logits)
        loss = (logits.logsumexp(dim=-1) - scores.gather(1, sample["target"][:, None])[:, 0]).sum()
        return Decisions(loss, scores.detach().softmax(dim=-1), self.label_words.emotions(logits.argmax(dim=-1)))
