"""DenseNet-BC for small grey pictures (Huang et al., 2017), as MEmoBERT's visual encoder was built.

Parameter names are those of the authors' checkpoints, which follow the common naming of DenseNets.
:class:`DenseNet` trains; :class:`FoldedDenseNet` computes the same on a CPU in two thirds of the time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .linear import onednn_is_quicker, onednn_product

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


_ROWS: Final = 2048
"""Positions whose inputs to a 1x1 convolution are made at once: they stay in a processor's cache."""


@dataclass(frozen=True)
class _Relu:
    """A batch norm and its ReLU as ``gain * clamp(x, low, high) + offset`` for every channel.

    With ``edge = -shift / scale``, ``relu(scale * x + shift)`` is ``scale * max(x, edge) + shift`` for a scale above 0
    and ``scale * min(x, edge) + shift`` below. Gain and offset go into what follows; ``high`` is ``None`` where no
    scale is below 0, as in every trained network seen so far.
    """

    low: Tensor
    high: Tensor | None
    gain: Tensor
    offset: Tensor

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> _Relu:
        scale, shift = _scale_and_shift(norm)
        edge = torch.where(scale == 0, torch.zeros_like(scale), -shift / scale)
        infinity = torch.full_like(edge, float("inf"))
        offset = torch.where(scale == 0, shift.relu(), shift)
        high = torch.where(scale < 0, edge, infinity) if bool((scale < 0).any()) else None
        return cls(torch.where(scale < 0, -infinity, edge), high, scale, offset)

    def clamp(self, rows: Tensor, out: Tensor) -> Tensor:
        """Clamp rows ``(M, C)`` into ``out``."""
        if self.high is None:
            return torch.maximum(rows, self.low, out=out)
        return torch.clamp(rows, self.low, self.high, out=out)


class _Narrowing:
    """BN-ReLU-1x1 convolution, and the batch norm after it if there is one, as a clamp and one product of matrices."""

    def __init__(self, norm: nn.BatchNorm2d, conv: nn.Conv2d, after: nn.BatchNorm2d | None = None) -> None:
        self.relu = _Relu.of(norm)
        kernel = conv.weight[:, :, 0, 0]
        bias, weight = kernel @ self.relu.offset, kernel * self.relu.gain
        if after is not None:
            scale, shift = _scale_and_shift(after)
            bias, weight = bias * scale + shift, weight * scale.unsqueeze(1)
        self.bias, self.weight = bias, weight.t().contiguous()
        # For full parts only: oneDNN makes code for each number of rows, and keeps it.
        self.transposed = weight.contiguous() if onednn_is_quicker() else None

    def __call__(self, rows: Tensor, scratch: Tensor, out: Tensor) -> None:
        """Map rows ``(M, C)`` to ``out`` ``(M, D)``; ``scratch`` has room for ``_ROWS`` rows."""
        for first in range(0, len(rows), _ROWS):
            part = rows[first : first + _ROWS]
            clamped = self.relu.clamp(part, _view(scratch, *part.shape))
            if self.transposed is not None and len(part) == _ROWS:
                out[first : first + _ROWS] = onednn_product(clamped, self.transposed, self.bias)
            else:
                torch.addmm(self.bias, clamped, self.weight, out=out[first : first + _ROWS])


class FoldedDenseNet:
    """A trained :class:`DenseNet` for inference on a CPU, equal to it but for rounding (features within 1e-5).

    Batch norms are folded into their neighbours (:class:`_Relu`), 1x1 convolutions are products of matrices over all
    positions, a block's maps lie in one buffer that its layers append to, and nothing is allocated twice: fresh memory
    of this size costs more than the arithmetic on it.
    """

    def __init__(self, network: DenseNet) -> None:
        self._normalise = network.grey_mean, network.grey_std
        self._first = cast(nn.Conv2d, network.features[0]).weight
        self._stages: list[list[tuple[_Narrowing, Tensor]] | _Narrowing] = []
        for module in list(network.features)[1:-1]:
            if isinstance(module, Transition):
                norm, conv = cast(nn.BatchNorm2d, module.norm), cast(nn.Conv2d, module.conv)
                self._stages.append(_Narrowing(norm, conv))
            else:
                layers = [cast(DenseLayer, layer) for layer in module.children()]
                self._stages.append([_folded(layer) for layer in layers])
        self._last = _Relu.of(cast(nn.BatchNorm2d, network.features[-1]))
        self._classifier = network.classifier
        self._buffers: tuple[Tensor, ...] = ()

    def __call__(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Map pictures as :meth:`DenseNet.forward` does."""
        mean, std = self._normalise
        maps = functional.conv2d(((pictures - mean) / std).unsqueeze(1), self._first, stride=2, padding=1)
        count, channels, height, width = maps.shape
        buffer, narrowed, scratch = self._memory(count * height * width)
        rows = maps.permute(0, 2, 3, 1).reshape(-1, channels)
        for stage in self._stages:
            if isinstance(stage, list):
                wide = _view(buffer, len(rows), channels + GROWTH * len(stage))
                wide[:, :channels] = rows
                narrow = _view(narrowed, len(rows), BOTTLENECK * GROWTH)
                for narrowing, kernel in stage:
                    narrowing(wide[:, :channels], scratch, narrow)
                    new = functional.conv2d(_maps(narrow.relu_(), count, height, width), kernel, padding=1)
                    wide[:, channels : channels + GROWTH] = new.permute(0, 2, 3, 1).reshape(-1, GROWTH)
                    channels += GROWTH
                rows = wide
            else:
                channels //= 2
                half = _view(narrowed, len(rows), channels)
                stage(rows, scratch, half)
                pooled = functional.avg_pool2d(_maps(half, count, height, width), kernel_size=2)
                height, width = height // 2, width // 2
                rows = pooled.permute(0, 2, 3, 1).reshape(-1, channels)
        clamped = self._last.clamp(rows, torch.empty_like(rows)).view(count, height * width, channels)
        # Where every position was cut off, rounding could leave a trace below 0.
        features = (clamped.mean(dim=1) * self._last.gain + self._last.offset).relu_()
        return features, self._classifier(features)

    def _memory(self, positions: int) -> tuple[Tensor, ...]:
        """Return memory for a block's maps, for what its layers or a transition narrow, and for the clamped rows."""
        widest = INITIAL_CHANNELS + GROWTH * BLOCKS[0]
        if not self._buffers or len(self._buffers[0]) < positions * widest:
            sizes = positions * widest, positions * widest // 2, _ROWS * FEATURE_DIM
            self._buffers = tuple(torch.empty(size) for size in sizes)
        return self._buffers


def _folded(layer: DenseLayer) -> tuple[_Narrowing, Tensor]:
    """Return a layer's way to its narrow maps, and the kernel of its 3x3 convolution, channels last."""
    kernel = layer.conv2.weight.contiguous(memory_format=torch.channels_last)
    return _Narrowing(layer.norm1, layer.conv1, after=layer.norm2), kernel


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return a batch norm with learned statistics as ``scale * x + shift`` for every channel."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _view(memory: Tensor, rows: int, columns: int) -> Tensor:
    """Return the beginning of flat memory as ``(rows, columns)``."""
    return memory[: rows * columns].view(rows, columns)


def _maps(rows: Tensor, count: int, height: int, width: int) -> Tensor:
    """Return rows ``(N * H * W, C)`` as maps ``(N, C, H, W)``, channels last, without a copy."""
    return rows.view(count, height, width, -1).permute(0, 3, 1, 2)
