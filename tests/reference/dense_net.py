"""DenseFace written down as plainly as possible: one picture, one layer after the other, float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

Parameters = dict[str, Tensor]

EPS = 1e-5
CLASSES, GROWTH, LAYERS = 8, 12, 16


def names_and_shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of the authors' state dictionary."""
    shapes: dict[str, tuple[int, ...]] = {"features.conv0.weight": (24, 1, 3, 3)}

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    channels = 24
    for block in (1, 2, 3):
        for number in range(1, LAYERS + 1):
            layer = f"features.denseblock{block}.denselayer{number}"
            norm(f"{layer}.norm1", channels)
            shapes[f"{layer}.conv1.weight"] = (48, channels, 1, 1)
            norm(f"{layer}.norm2", 48)
            shapes[f"{layer}.conv2.weight"] = (GROWTH, 48, 3, 3)
            channels += GROWTH
        if block < 3:
            norm(f"features.transition{block}.norm", channels)
            shapes[f"features.transition{block}.conv.weight"] = (channels // 2, channels, 1, 1)
            channels //= 2
    norm("features.norm3", channels)
    return {**shapes, "classifier.weight": (CLASSES, channels), "classifier.bias": (CLASSES,)}


def random_parameters(seed: int) -> Parameters:
    """Weights that keep values near one, and batch statistics that are far from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    parameters: Parameters = {}
    for name, shape in names_and_shapes().items():
        if name.endswith("num_batches_tracked"):
            parameters[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            parameters[name] = 0.5 + torch.rand(shape, generator=generator)
        elif name.endswith(("running_mean", "bias")):
            parameters[name] = 0.3 * torch.randn(shape, generator=generator)
        elif len(shape) == 1:
            parameters[name] = 1 + 0.3 * torch.randn(shape, generator=generator)
        else:
            inputs = math.prod(shape[1:])
            parameters[name] = torch.randn(shape, generator=generator) * (2 / inputs) ** 0.5
    return parameters


def denseface(parameters: Parameters, picture: Tensor) -> tuple[Tensor, Tensor]:
    """One normalised picture ``(64, 64)`` to its feature ``(342,)`` and logits ``(8,)``."""
    values = {name: value.double() for name, value in parameters.items()}

    def norm_relu(name: str, maps: Tensor) -> Tensor:
        mean, variance, scale, shift = (
            values[f"{name}.{part}"].view(1, -1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
        )
        return ((maps - mean) / (variance + EPS).sqrt() * scale + shift).clamp(min=0)

    def pooled(maps: Tensor) -> Tensor:
        return (maps[..., ::2, ::2] + maps[..., 1::2, ::2] + maps[..., ::2, 1::2] + maps[..., 1::2, 1::2]) / 4

    maps = functional.conv2d(picture.double()[None, None], values["features.conv0.weight"], stride=2, padding=1)
    for block in (1, 2, 3):
        for number in range(1, LAYERS + 1):
            layer = f"features.denseblock{block}.denselayer{number}"
            new = functional.conv2d(norm_relu(f"{layer}.norm1", maps), values[f"{layer}.conv1.weight"])
            new = functional.conv2d(norm_relu(f"{layer}.norm2", new), values[f"{layer}.conv2.weight"], padding=1)
            maps = torch.cat([maps, new], dim=1)
        if block < 3:
            transition = f"features.transition{block}"
            maps = pooled(functional.conv2d(norm_relu(f"{transition}.norm", maps), values[f"{transition}.conv.weight"]))
    feature = norm_relu("features.norm3", maps).mean(dim=(0, 2, 3))
    return feature, values["classifier.weight"] @ feature + values["classifier.bias"]
