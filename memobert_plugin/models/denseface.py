"""DenseFace, the visual encoder: a small DenseNet over grey faces, trained on facial expressions."""

from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model
from torch import Tensor, nn

from ..nn.densenet import DenseNet


@dataclass
class DenseFaceConfig(FairseqDataclass):
    """Options of the computation; the network's sizes are fixed."""

    bfloat16_autocast: bool = field(
        default=False,
        metadata={"help": "convolve in bfloat16 in training, parameters stay float32: faster where hardware has it"},
    )


@register_model("memobert_denseface", dataclass=DenseFaceConfig)
class DenseFaceModel(BaseFairseqModel):
    """The network and the grey levels' mean and deviation, which travel with its weights.

    Args:
        config: options of the computation.
        grey_mean: mean grey level of the training pictures, 0 to 255.
        grey_std: their standard deviation.
    """

    def __init__(self, config: DenseFaceConfig, grey_mean: float, grey_std: float) -> None:
        super().__init__()
        self.bfloat16_autocast = config.bfloat16_autocast
        self.network = DenseNet(grey_mean, grey_std)
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d) and module.num_batches_tracked is not None:
                # Counts of batches, which nothing reads: fairseq's --store-ema fails on averaging whole numbers.
                module.num_batches_tracked = module.num_batches_tracked.float()

    @classmethod
    def build_model(cls, config: DenseFaceConfig, task: Any) -> "DenseFaceModel":
        """Build the model; the grey levels come from the task."""
        return cls(config, *task.grey_levels())

    def max_positions(self) -> None:
        """Return None: pictures have no length."""
        return None

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(N, 342)`` features and ``(N, 8)`` logits for ``(N, S, S)`` grey levels from 0 to 255."""
        with torch.autocast(pictures.device.type, torch.bfloat16, enabled=self.training and self.bfloat16_autocast):
            return self.network(pictures)
