"""Learn several labels at once, and log F1 and average precision of a whole subset."""

from __future__ import annotations

from typing import Any

import torch
from fairseq.logging import metrics
from torch import Tensor, nn
from torch.nn import functional

from ..core.names import LABEL_THRESHOLD
from ..evaluation.metrics.several import macro_f1, micro_f1
from ..nn.heads import EMOTION_HEAD, upcast
from .emotion import Decisions, TargetCriterion, derived, read_rows

RANKED = "ranked"
"""Key under which the task adds the mean average precision, which no sum gives, and 1, to the last step of a subset."""


class SeveralLabelsCriterion(TargetCriterion):
    """Binary cross-entropy of each label; a label is given from a probability of 0.5 on."""

    def decide(self, model: nn.Module, sample: dict[str, Any]) -> Decisions:
        """Return the loss and the probability of each label, ``(B, C)``."""
        logits = upcast(model(**sample["net_input"], head=EMOTION_HEAD, rows=read_rows(sample)))
        losses = functional.binary_cross_entropy_with_logits(logits, sample["target"].to(logits), reduction="none")
        return Decisions(losses.mean(dim=1).sum(), logits.detach().sigmoid())

    def statistics(self, decisions: Decisions, sample: dict[str, Any]) -> dict[str, Tensor]:
        """Return counts ``(C, 3)``, see :mod:`memobert_plugin.evaluation.metrics.several`."""
        truth, given = sample["target"] > 0.5, decisions.probabilities >= LABEL_THRESHOLD
        both = [(truth & given).sum(dim=0), (~truth & given).sum(dim=0), (truth & ~given).sum(dim=0)]
        return {"label_counts": torch.stack(both, dim=1).double()}

    @classmethod
    def log_statistics(cls, summed: dict[str, Tensor]) -> None:
        """Log macro and micro F1, and mean average precision, in per cent."""
        metrics.log_scalar_sum("_label_counts", summed["label_counts"])
        metrics.log_derived("macro_f1", derived(("_label_counts",), lambda of: 100 * macro_f1(of)))
        metrics.log_derived("micro_f1", derived(("_label_counts",), lambda of: 100 * micro_f1(of)))
        if RANKED in summed:
            metrics.log_scalar_sum("_ranked", summed[RANKED])
            metrics.log_derived("map", derived(("_ranked",), lambda of: 100 * of[0, 0] / of[0, 1]))
