"""Masked frame regression: predict hidden face frames (MVFR) and speech frames (MAFR) (MEmoBERT, section 3)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from ..core.rng import Stream
from ..nn.heads import HeadPlan, TiedHead
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
    order = 20
    in_every_model = True
    ablation = "no_visual"
    advice = "extract the visual frames with the encoder the checkpoint was trained on"
    stream = Stream.VISUAL_MASK


@OBJECTIVES.register("mafr")
class AcousticRegression(FrameRegression):
    """SpanMAFR of the paper."""

    title = "speech frames"
    help = "masked acoustic feature regression"
    modality = "acoustic"
    order = 40
    in_every_model = True
    ablation = "no_acoustic"
    advice = "extract the acoustic frames with the encoder the checkpoint was trained on"
    stream = Stream.ACOUSTIC_MASK
