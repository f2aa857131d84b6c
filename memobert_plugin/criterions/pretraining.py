"""Compute the loss of the objective that a batch was masked for (MEmoBERT, section 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from fairseq.logging.meters import MetersDict
from torch import Tensor, nn

from ..nn.heads import upcast
from ..objectives.base import OBJECTIVES, in_order

_COUNT = "_count"


@dataclass
class PretrainingCriterionConfig(FairseqDataclass):
    """No options: the paper has no loss weights; the sampling ratios belong to the task."""


@register_criterion("memobert_pretraining", dataclass=PretrainingCriterionConfig)
class MEmoBERTPretrainingCriterion(FairseqCriterion):
    """Loss of the objective that a masked batch carries.

    Its logging outputs hold sums and counts of all objectives, so that ranks can add them.
    """

    def __init__(self, task: Any) -> None:
        super().__init__(task)
        self.objectives = task.objectives

    @classmethod
    def build_criterion(cls, cfg: PretrainingCriterionConfig, task: Any) -> MEmoBERTPretrainingCriterion:
        """Build the criterion; the objectives come from the task."""
        return cls(task)

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Return the loss summed over elements, their number, and what is logged.

        ``sample`` comes from the task's masking.
        """
        objective, target = self.objectives[sample["objective"]], sample["target"]
        output = upcast(model(**sample["net_input"]))
        if objective.regresses_frames:
            # fairseq's wrappers for several ranks pass attributes on.
            target = cast(Any, model).standardized(objective.modality, target)
        loss, count = objective.loss(output, target)
        logging_output: dict[str, Any] = {
            "loss": loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": count,
        }
        for name, other in self.objectives.items():
            chosen = name == objective.name
            logging_output[f"{name}_loss"] = loss.detach() if chosen else 0.0
            logging_output[f"{name}{_COUNT}"] = count if chosen else 0
            if not model.training:
                counts = objective.count(output, target) if chosen else dict.fromkeys(other.shares, 0)
                logging_output.update({f"{name}_{share}": counts[share] for share in other.shares})
        return loss, count, logging_output

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log each objective's mean loss and scores from sums and counts."""
        names = {key.removesuffix(_COUNT) for log in logging_outputs for key in log if key.endswith(_COUNT)}
        for name in in_order(names):
            count = _sum(logging_outputs, f"{name}{_COUNT}")
            if not count:
                continue
            loss, objective = f"{name}_loss", OBJECTIVES.get(name)
            metrics.log_scalar(loss, _sum(logging_outputs, loss) / count, count, round=6)
            for score, of_loss in objective.scores_of_loss.items():
                metrics.log_derived(f"{name}_{score}", _derived(loss, of_loss))
            for share in objective.shares:
                if any(f"{name}_{share}" in log for log in logging_outputs):
                    part = _sum(logging_outputs, f"{name}_{share}")
                    metrics.log_scalar(f"{name}_{share}", 100.0 * part / count, count, round=4)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Return True: everything logged is a sum or a count."""
        return True


def _sum(logging_outputs: list[dict[str, Any]], key: str) -> Any:
    return sum(log.get(key, 0) for log in logging_outputs)


def _derived(loss: str, of_loss: Callable[[float], float]) -> Callable[[MetersDict], float]:
    def derived(meters: MetersDict) -> float:
        # Between fairseq's log intervals a meter can be there without a value.
        mean = meters[loss].avg
        return float("nan") if mean is None else of_loss(float(mean))

    return derived
