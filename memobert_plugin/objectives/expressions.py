"""Masked expression classification (MVFC): predict the expressions of hidden face frames (MEmoBERT, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional

from ..core.rng import Stream
from ..nn.heads import ClassHead, HeadPlan
from .base import OBJECTIVES, FrameObjective, InputSizes


@OBJECTIVES.register("mvfc")
class ExpressionClassification(FrameObjective):
    """SpanMVFC-KL of the paper; targets are the face encoder's distributions. It hides the same frames as MVFR."""

    title = "expressions of faces"
    help = "masked visual expression classification"
    modality = "visual"
    order = 30
    in_every_model = True
    ablation = "no_visual"
    advice = "use expression distributions over the classes the checkpoint was trained on"
    stream = Stream.VISUAL_MASK

    @classmethod
    def serves(cls, sizes: InputSizes) -> bool:
        """Return True where the data has face frames and their distributions."""
        return sizes.visual_dim > 0 and sizes.expression_classes > 0

    @classmethod
    def head(cls, sizes: InputSizes) -> HeadPlan:
        """Return a head with one logit per expression."""
        return HeadPlan(lambda width: ClassHead(width, sizes.expression_classes), cls.modality)

    def source(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the distributions."""
        return batch["expression"]

    def width(self) -> int:
        """Return K."""
        return self.sizes.expression_classes

    def loss(self, output: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Return KL(target || prediction) over n x K numbers."""
        target = target.to(output.dtype)
        return functional.kl_div(functional.log_softmax(output, dim=-1), target, reduction="sum"), target.numel()
