"""Emotion by finetuning: a new classifier on the pooled [CLS] (MEmoBERT, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairseq.criterions import register_criterion
from fairseq.dataclass import FairseqDataclass
from torch import nn
from torch.nn import functional

from ..ragged import first_rows
from .classification import ClassificationCriterion, Decisions
from .precision import upcast


@dataclass
class FinetuneCriterionConfig(FairseqDataclass):
    """No options."""


@register_criterion("memobert_finetune", dataclass=FinetuneCriterionConfig)
class MEmoBERTFinetuneCriterion(ClassificationCriterion):
    """Cross-entropy over the emotions."""

    def decide(self, model: nn.Module, sample: dict[str, Any]) -> Decisions:
        """Read the [CLS] position of every utterance."""
        logits = upcast(
            model(**sample["net_input"], head="classify", rows=first_rows(sample["net_input"]["text_lengths"]))
        )
        loss = functional.cross_entropy(logits, sample["target"], reduction="sum")
        return Decisions(loss, logits.detach().softmax(dim=-1))
