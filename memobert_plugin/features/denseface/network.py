"""DenseNet-BC for small grey pictures (Huang et al., 2017), as MEmoBERT's visual encoder was built.

Parameter names are those of the authors' checkpoints, which follow the common naming of DenseNets.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

GROWTH = 12
BLOCKS = (16, 16, 16)
INITIAL_CHANNELS = 24
BOTTLENECK = 4
FEATURE_DIM = 342
CLASSES = 8
DOWNSAMPLING = 8
"""The last block's map has one position for 8x8 pixels: stride 2 at the start, two transitions."""


class DenseLayer(nn.Module):
    """BN-ReLU-1x1 convolution-BN-ReLU-3x3 convolution: new channels from all that came before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, BOTTLENECK * GROWTH, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * GROWTH)
        self.conv2 = nn.Conv2d(BOTTLENECK * GROWTH, GROWTH, kernel_size=3, padding=1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(N, channels, H, W)`` to the layer's own ``(N, 12, H, W)``."""
        narrow = self.conv1(functional.relu(self.norm1(maps), inplace=True))
        return self.conv2(functional.relu(self.norm2(narrow), inplace=True))


class DenseBlock(nn.Module):
    """Layers that each read the block's input and the outputs of all layers before them."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        for index in range(layers):
            self.add_module(f"denselayer{index + 1}", DenseLayer(channels + index * GROWTH))

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C + 12 x layers, H, W)``, the input first."""
        for layer in self.children():
            maps = torch.cat([maps, layer(maps)], dim=1)
        return maps


class Transition(nn.Sequential):
    """BN-ReLU-1x1 convolution to half the channels, then 2x2 average pooling."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            OrderedDict(
                norm=nn.BatchNorm2d(channels),
                relu=nn.ReLU(inplace=True),
                conv=nn.Conv2d(channels, channels // 2, kernel_size=1, bias=False),
                pool=nn.AvgPool2d(kernel_size=2),
            )
        )


class DenseNet(nn.Module):
    """The network of 768 044 parameters: a 3x3 convolution with stride 2, three dense blocks, a linear classifier.

    Args:
        grey_mean: mean grey level of the training pictures, 0 to 255; a buffer, like the next.
        grey_std: their standard deviation.
    """

    grey_mean: Tensor
    grey_std: Tensor

    def __init__(self, grey_mean: float = 0.0, grey_std: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("grey_mean", torch.tensor(float(grey_mean)))
        self.register_buffer("grey_std", torch.tensor(float(grey_std)))
        layers: list[tuple[str, nn.Module]] = [
            ("conv0", nn.Conv2d(1, INITIAL_CHANNELS, kernel_size=3, stride=2, padding=1, bias=False))
        ]
        channels = INITIAL_CHANNELS
        for number, depth in enumerate(BLOCKS, start=1):
            layers.append((f"denseblock{number}", DenseBlock(channels, depth)))
            channels += depth * GROWTH
            if number < len(BLOCKS):
                layers.append((f"transition{number}", Transition(channels)))
                channels //= 2
        layers.append((f"norm{len(BLOCKS)}", nn.BatchNorm2d(channels)))
        self.features = nn.Sequential(OrderedDict(layers))
        self.classifier = nn.Linear(channels, CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Features and expressions of grey faces.

        Args:
            pictures: ``(N, H, W)`` grey levels from 0 to 255; the faces are 64x64, other multiples of 8 work as well
                because the average is taken over whatever map remains.

        Returns:
            ``(N, 342)`` features, not negative (after the last ReLU), and ``(N, 8)`` logits.
        """
        normalised = ((pictures - self.grey_mean) / self.grey_std).unsqueeze(1)
        # Channels last from here on: a third faster on a CPU. The parameters keep their layout, which fairseq's
        # data-parallel wrapper needs.
        maps = self.features[0](normalised).contiguous(memory_format=torch.channels_last)
        features = functional.relu(self.features[1:](maps), inplace=True).mean(dim=(2, 3))
        return features, self.classifier(features)
