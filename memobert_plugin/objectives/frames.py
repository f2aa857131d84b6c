"""Predict hidden face frames (MVFR), their expressions (MVFC) and speech frames (MAFR) (MEmoBERT, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional

from ..core.rng import Stream
from ..nn.heads import ClassHead, HeadPlan, TiedHead
from .base import OBJECTIVES, FrameObjective, InputSizes


class FrameRegression(FrameObjective):
    """Regression of hidden frames; the decoder is the transposed projection of the frames."""

    regresses_frames = True

    @classmethod
    def serves(cls, sizes: InputSizes) -> bool:
        """Return True where the data has frames of the modality."""
        return sizes.frame_dim(cls.modality) > 0

    @classmethod
    def head(cls, sizes: InputSizes) -> HeadPlan:
        """Return a head tied to the frames' projection."""
        return HeadPlan(lambda width: TiedHead(width, sizes.frame_dim(cls.modality)), cls.modality, tied=True)

    def loss(self, output: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Return the squared error over n x F numbers."""
        return functional.mse_loss(output, target.to(output.dtype), reduction="sum"), target.numel()


@OBJECTIVES.register("mvfr")
class VisualRegression(FrameRegression):
    """SpanMVFR of the paper."""

    title = "face frames"
    help = "masked visual feature regression"
    modality = "visual"
    default_ratio = 1.0
    order = 20
    in_every_model = True
    ablation = "no_visual"
    advice = "extract the visual frames with the encoder the checkpoint was trained on"
    stream = Stream.VISUAL_MASK


@OBJECTIVES.register("mvfc")
class ExpressionClassification(FrameObjective):
    """SpanMVFC-KL of the paper; targets are the face encoder's distributions. It hides the same frames as MVFR."""

    title = "expressions of faces"
    help = "masked visual expression classification"
    modality = "visual"
    default_ratio = 1.0
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


@OBJECTIVES.register("mafr")
class AcousticRegression(FrameRegression):
    """SpanMAFR of the paper."""

    title = "speech frames"
    help = "masked acoustic feature regression"
    modality = "acoustic"
    default_ratio = 1.0
    order = 40
    in_every_model = True
    ablation = "no_acoustic"
    advice = "extract the acoustic frames with the encoder the checkpoint was trained on"
    stream = Stream.ACOUSTIC_MASK
