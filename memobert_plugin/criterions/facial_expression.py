"""Facial expression from a grey face, learned from the annotators' votes (Barsoum et al., ICMI 2016)."""

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
class FacialExpressionCriterionConfig(FairseqDataclass):
    """No options."""


@register_criterion("memobert_facial_expression", dataclass=FacialExpressionCriterionConfig)
class FacialExpressionCriterion(ClassificationCriterion):
    """Cross-entropy with the distribution to learn; accuracy and F1 over the pictures with a unique majority."""

    def decide(self, model: nn.Module, sample: dict[str, Any]) -> Decisions:
        """Read the distribution of every picture."""
        _, logits = model(**sample["net_input"])
        logits = upcast(logits)
        loss = -(sample["expression"].to(logits.dtype) * logits.log_softmax(dim=-1)).sum()
        return Decisions(loss, logits.detach().softmax(dim=-1))

    def summarise(self, decisions: Decisions, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """The host's triple; a picture without a majority counts in the loss only."""
        has_majority = torch.nonzero(sample["target"] >= 0).squeeze(1)
        counted = Decisions(decisions.loss, decisions.probabilities[has_majority])
        return super().summarise(counted, {**sample, "target": sample["target"][has_majority]})
