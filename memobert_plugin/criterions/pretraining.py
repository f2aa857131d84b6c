"""The four masked-modelling losses (MEmoBERT, section 3), one per step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from fairseq.logging.meters import MetersDict
from torch import Tensor, nn
from torch.nn import functional

from ..nn.heads import upcast
from ..objectives.words import OBJECTIVES


@dataclass
class PretrainingCriterionConfig(FairseqDataclass):
    """No options: the paper has no loss weights; the sampling ratios belong to the task."""


def objective_loss(objective: str, output: Tensor, target: Tensor) -> tuple[Tensor, int]:
    """Sum of an objective's loss and the number of elements it is the sum of.

    Args:
        objective: ``wwmlm``, ``mvfr``, ``mvfc`` or ``mafr``.
        output: ``(n, out)``: logits, or frames for the regressions.
        target: ``(n,)`` piece ids for ``wwmlm``, else ``(n, out)`` frames or distributions.

    Returns:
        Cross-entropy over n pieces; squared error over n x out numbers; KL(target || prediction) over n x K numbers.
        The quotient is the paper's mean. Counting elements keeps the host's ``sum / sample_size`` right over
        micro-batches and ranks.
    """
    output = upcast(output)
    if objective == "wwmlm":
        return functional.cross_entropy(output, target, reduction="sum"), target.numel()
    target = target.to(output.dtype)
    if objective == "mvfc":
        return functional.kl_div(functional.log_softmax(output, dim=-1), target, reduction="sum"), target.numel()
    return functional.mse_loss(output, target, reduction="sum"), target.numel()


@register_criterion("memobert_pretraining", dataclass=PretrainingCriterionConfig)
class MEmoBERTPretrainingCriterion(FairseqCriterion):
    """Loss of the objective a masked sample carries; its logging outputs hold sums and counts of all four, so that
    ranks can add them.
    """

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss summed over elements, number of elements, logging output. ``sample`` comes from the task's masking."""
        objective, target = sample["objective"], sample["target"]
        output = model(**sample["net_input"])
        loss, count = objective_loss(objective, output, target)
        logging_output: dict[str, Any] = {
            "loss": loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": count,
        }
        for name in OBJECTIVES:
            chosen = name == objective
            logging_output[f"{name}_loss"] = loss.detach() if chosen else 0.0
            logging_output[f"{name}_count"] = count if chosen else 0
        if not model.training:
            correct = (output.argmax(dim=-1) == target).sum() if objective == "wwmlm" else 0
            logging_output["wwmlm_correct"] = correct
        return loss, count, logging_output

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log each objective's mean from sums and counts; WWMLM also as perplexity and, in validation, accuracy."""
        for name in OBJECTIVES:
            count = sum(log.get(f"{name}_count", 0) for log in logging_outputs)
            if not count:
                continue
            total = sum(log.get(f"{name}_loss", 0) for log in logging_outputs)
            metrics.log_scalar(f"{name}_loss", total / count, count, round=6)
            if name == "wwmlm":
                metrics.log_derived("wwmlm_ppl", _perplexity)
                if any("wwmlm_correct" in log for log in logging_outputs):
                    correct = sum(log.get("wwmlm_correct", 0) for log in logging_outputs)
                    metrics.log_scalar("wwmlm_accuracy", 100.0 * correct / count, count, round=4)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Everything logged is a sum or a count."""
        return True


def _perplexity(meters: MetersDict) -> float:
    # Between the host's log intervals a meter can be there without a value.
    loss = meters["wwmlm_loss"].avg
    return float("nan") if loss is None else round(math.exp(min(float(loss), 700.0)), 4)
