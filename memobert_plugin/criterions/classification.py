"""What the prompt and the finetuning criterion share: decisions, summed confusion counts, metrics made of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.criterions import FairseqCriterion
from fairseq.logging import metrics
from fairseq.logging.meters import MetersDict
from torch import Tensor, nn

from ..evaluation.metrics import Scores

METRICS = ("wa", "uar", "wf1", "macro_f1")


@dataclass(frozen=True)
class Decisions:
    """What a model says of a batch of B utterances with C emotions.

    Attributes:
        loss: sum of the training loss over the batch.
        probabilities: ``(B, C)``, normalised over the emotions.
        vocabulary_predictions: prompting only: ``(B,)`` the emotion of the most likely piece of the whole vocabulary, C
            for any other piece.
    """

    loss: Tensor
    probabilities: Tensor
    vocabulary_predictions: Tensor | None = None

    @property
    def predictions(self) -> Tensor:
        """``(B,)`` the most probable emotion."""
        return self.probabilities.argmax(dim=-1)


def confusion_counts(target: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """``(C, C + 1)`` counts, rows truth, columns prediction, the last one for "none of the emotions"; without waiting
    for the device.
    """
    counts = torch.zeros(classes * (classes + 1), dtype=torch.float32, device=target.device)
    cells = target * (classes + 1) + predicted
    return counts.index_add_(0, cells, torch.ones_like(cells, dtype=torch.float32)).view(classes, classes + 1)


class ClassificationCriterion(FairseqCriterion):
    """Base of the two ways to recognise an emotion; a subclass says how to :meth:`decide`."""

    @abstractmethod
    def decide(self, model: nn.Module, sample: dict[str, Any]) -> Decisions:
        """Run the model on a batch of the task."""

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss summed over utterances, number of utterances, logging output with confusion counts."""
        return self.summarise(self.decide(model, sample), sample)

    def summarise(self, decisions: Decisions, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """The host's triple for decisions already made."""
        target, classes = sample["target"], decisions.probabilities.shape[1]
        logging_output: dict[str, Any] = {
            "loss": decisions.loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": sample["nsentences"],
            "confusion": confusion_counts(target, decisions.predictions, classes),
        }
        if decisions.vocabulary_predictions is not None:
            logging_output["vocabulary_confusion"] = confusion_counts(target, decisions.vocabulary_predictions, classes)
        return decisions.loss, sample["nsentences"], logging_output

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log the mean loss, and WA, UAR and F1 in percent from counts summed over batches and ranks (never averaged
        over batches).
        """
        count = sum(log.get("sample_size", 0) for log in logging_outputs)
        metrics.log_scalar("loss", sum(log.get("loss", 0) for log in logging_outputs) / max(count, 1), count, round=6)
        for counts, prefix in (("confusion", ""), ("vocabulary_confusion", "vocabulary_")):
            if any(counts in log for log in logging_outputs):
                metrics.log_scalar_sum(f"_{counts}", sum(log[counts] for log in logging_outputs if counts in log))
                for metric in METRICS:
                    metrics.log_derived(f"{prefix}{metric}", _percentage(f"_{counts}", metric))

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Everything logged is a sum or a count."""
        return True


def _percentage(counts: str, metric: str) -> Callable[[MetersDict], float]:
    def derived(meters: MetersDict) -> float:
        matrix = meters[counts].sum
        if not torch.is_tensor(matrix):  # just reset, nothing counted yet
            return float("nan")
        matrix = matrix.double().cpu().numpy()
        return 100.0 * getattr(Scores.from_confusion(matrix), metric)

    return derived
