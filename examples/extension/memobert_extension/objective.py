"""Masked speech level: predict the mean of hidden speech frames, one number instead of the whole frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional

from memobert_plugin.nn.heads import ClassHead, HeadPlan
from memobert_plugin.objectives.base import OBJECTIVES, FrameObjective, InputSizes


@OBJECTIVES.register("speech_level")
class SpeechLevel(FrameObjective):
    """Hides spans of speech frames as the paper does, and regresses their mean over dimensions."""

    title = "level of speech"
    help = "masked speech level regression"
    modality = "acoustic"
    ablation = "no_acoustic"

    @classmethod
    def serves(cls, sizes: InputSizes) -> bool:
        """Return True where the data has speech frames."""
        return sizes.acoustic_dim > 0

    @classmethod
    def head(cls, sizes: InputSizes) -> HeadPlan:
        """Return a head with one output per hidden frame."""
        return HeadPlan(lambda width: ClassHead(width, 1), cls.modality)

    def source(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the mean of every speech frame, ``(frames, 1)``."""
        return batch["net_input"]["acoustic"].float().mean(dim=1, keepdim=True)

    def width(self) -> int:
        """Return 1, the columns of the target."""
        return 1

    def loss(self, output: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Return the summed squared error and the number of frames."""
        return functional.mse_loss(output, target.to(output.dtype), reduction="sum"), target.numel()
