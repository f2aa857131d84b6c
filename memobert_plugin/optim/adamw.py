"""AdamW whose weight decay spares biases and LayerNorms (MEmoBERT's recipe, as in BERT)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fairseq.optim import register_optimizer
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from torch import Tensor, nn

from ..core.errors import UserError, exits_in_one_line


@dataclass
class MEmoBERTAdamWConfig(FairseqAdamConfig):
    """Options of fairseq's Adam; ``weight_decay`` applies to matrices and tables only."""


@register_optimizer("memobert_adamw", dataclass=MEmoBERTAdamWConfig)
class MEmoBERTAdamW(FairseqAdam):
    """fairseq's Adam with two parameter groups.

    Biases and LayerNorm weights are the model's only vectors, so a parameter's number of dimensions decides. fairseq's
    flattened fp16 would hide it; since this class does not declare support for flat parameters, fairseq refuses
    ``--fp16`` without ``--fp16-no-flatten-grads``.

    Attributes:
        skips_nonfinite: True where a task looks at ``gradients_are_finite`` before every step, as this project's do.
        gradients_are_finite: False where the last gradient norm was NaN or infinite.
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
        self.gradients_are_finite = True

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn: Any = None) -> Tensor:
        """Clip as fairseq does; where a task skips such steps, note a norm that is NaN or infinite and return 0 for it.

        fairseq ends the training at such a norm; its own way to skip an update needs CUDA.
        """
        norm = super().clip_grad_norm(max_norm, aggregate_norm_fn)
        if not self.skips_nonfinite:
            return norm
        self.gradients_are_finite = bool(norm.isfinite().all())
        return norm if self.gradients_are_finite else norm.new_zeros(norm.shape)

    @exits_in_one_line
    def load_state_dict(self, state_dict: dict[str, Any], optimizer_overrides: dict[str, Any] | None = None) -> None:
        """Load as fairseq does; refuse the state of a model with other parameters.

        Raises:
            SystemExit: one line, when the number of parameters differs.
        """
        saved, own = (sum(len(group["params"]) for group in groups) for groups in (
            state_dict["param_groups"], self.optimizer.param_groups,
        ))  # fmt: skip
        if saved != own:
            raise UserError(
                f"checkpoint: its optimizer knows {saved} parameters, this model has {own} (an objective or another "
                f"head came or went); add --reset-optimizer, or start from it with --finetune-from-model"
            )
        super().load_state_dict(state_dict, optimizer_overrides)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """Return the options that fairseq writes over every group when it resumes; each keeps its weight decay."""
        return {name: value for name, value in super().optimizer_config.items() if name != "weight_decay"}

    @property
    def supports_flat_params(self) -> bool:
        """Return False: a flattened vector has lost which of its parts are biases."""
        return False
