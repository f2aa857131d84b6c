"""AdamW whose weight decay spares biases and LayerNorms (MEmoBERT's recipe, as in BERT)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fairseq.optim import register_optimizer
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from torch import Tensor, nn


@dataclass
class MEmoBERTAdamWConfig(FairseqAdamConfig):
    """The host's Adam options; ``weight_decay`` applies to matrices and tables only."""


@register_optimizer("memobert_adamw", dataclass=MEmoBERTAdamWConfig)
class MEmoBERTAdamW(FairseqAdam):
    """The host's Adam with two parameter groups.

    Biases and LayerNorm weights are the model's only vectors, so a parameter's number of dimensions decides. The host's
    flattened fp16 would hide it; since this class does not declare support for flat parameters, the host refuses
    ``--fp16`` without ``--fp16-no-flatten-grads``.
    """

    def __init__(self, cfg: MEmoBERTAdamWConfig, params: Iterable[nn.Parameter]) -> None:
        parameters = list(params)
        super().__init__(
            cfg,
            [
                {"params": [p for p in parameters if p.dim() > 1], "weight_decay": cfg.weight_decay},
                {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
            ],
        )

        self.skips_nonfinite = False
        """Whether somebody looks at ``gradients_are_finite`` before every step, as this project's tasks do."""
        self.gradients_are_finite = True

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn: Any = None) -> Tensor:
        """The host's; where somebody skips such steps, a norm that is NaN or infinite is noted and reported as 0.

        The host ends the training at any other; its own way to skip an update needs CUDA.
        """
        norm = super().clip_grad_norm(max_norm, aggregate_norm_fn)
        if not self.skips_nonfinite:
            return norm
        self.gradients_are_finite = bool(norm.isfinite().all())
        return norm if self.gradients_are_finite else norm.new_zeros(norm.shape)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """What the host writes over every group when it resumes; the groups' own weight decay stays out of it."""
        return {name: value for name, value in super().optimizer_config.items() if name != "weight_decay"}

    @property
    def supports_flat_params(self) -> bool:
        """A flattened vector has lost which of its parts are biases."""
        return False
