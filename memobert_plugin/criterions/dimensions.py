"""Learn numbers such as valence, and log CCC, Pearson's r and RMSE of a whole subset."""

from __future__ import annotations

from typing import Any

import torch
from fairseq.logging import metrics
from torch import Tensor, nn

from ..evaluation.metrics.dimensions import METRICS
from ..nn.heads import EMOTION_HEAD, upcast
from .emotion import Decisions, TargetCriterion, derived, read_rows


def concordance(answers: Tensor, truth: Tensor) -> Tensor:
    """Return the concordance correlation coefficient (Lin 1989) of ``(B, D)``, ``(D,)``."""
    covariance = ((answers - answers.mean(dim=0)) * (truth - truth.mean(dim=0))).mean(dim=0)
    apart = (answers.mean(dim=0) - truth.mean(dim=0)) ** 2
    return 2 * covariance / (answers.var(dim=0, correction=0) + truth.var(dim=0, correction=0) + apart + 1e-8)


class DimensionsCriterion(TargetCriterion):
    """Squared error or 1 - CCC of numbers in units of their deviation in training.

    The network's outputs are in these units; answers are output x deviation + mean. CCC is that of each batch, on each
    rank: noisy where a batch has few utterances, and without a gradient where it has one. Squared error is a mean over
    utterances, whatever the batch.

    Args:
        task: has names, means and deviations.
        loss: ``mse`` or ``ccc``.
    """

    def __init__(self, task: Any, loss: str = "ccc") -> None:
        super().__init__(task)
        self.names: list[str] = list(task.labels)
        self.loss = loss
        scale = task.state.target
        self.mean, self.deviation = (torch.tensor(scale[name]) for name in ("mean", "deviation"))

    def decide(self, model: nn.Module, sample: dict[str, Any]) -> Decisions:
        """Return the loss and the answers ``(B, D)`` on the corpus' own scale."""
        outputs = upcast(model(**sample["net_input"], head=EMOTION_HEAD, rows=read_rows(sample)))
        mean, deviation = self.mean.to(outputs), self.deviation.to(outputs)
        truth = (sample["target"].to(outputs) - mean) / deviation
        if self.training and self.loss == "ccc":
            loss = len(outputs) * (1 - concordance(outputs, truth)).mean()
        else:
            loss = ((outputs - truth) ** 2).mean(dim=1).sum()
        return Decisions(loss, outputs.detach() * deviation + mean)

    def statistics(self, decisions: Decisions, sample: dict[str, Any]) -> dict[str, Tensor]:
        """Return the sums of each dimension, see :mod:`memobert_plugin.evaluation.metrics.dimensions`."""
        x, y = sample["target"].double(), decisions.probabilities.double()
        sums = torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y]).sum(dim=1)
        return {f"sums_{name}": sums[:, place] for place, name in enumerate(self.names)}

    @classmethod
    def log_statistics(cls, summed: dict[str, Tensor]) -> None:
        """Log each score of each dimension, and its mean over them."""
        for key, value in summed.items():
            metrics.log_scalar_sum(f"_{key}", value)
        for name, score in METRICS.items():
            for key in summed:
                metrics.log_derived(f"{name}_{key.removeprefix('sums_')}", derived((f"_{key}",), score))
            metrics.log_derived(name, derived([f"_{key}" for key in summed], score))
