"""Flips, small rotations and shifts of pictures, and their one way to another size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from .counter_rng import Stream, uniform

_FLIP, _ROTATION, _SHIFT_X, _SHIFT_Y = range(4)


@dataclass(frozen=True)
class Augmentation:
    """What may be done to a picture in training.

    Attributes:
        flip: mirror every second picture.
        rotation: largest angle to either side, degrees.
        shift: largest shift in either direction, as a share of the side.
    """

    flip: bool = True
    rotation: float = 12.0
    shift: float = 0.08

    def draw(self, seed: int, epoch: int, uids: npt.NDArray[np.uint64]) -> Tensor:
        """Affine maps ``(N, 2, 3)`` from output to input coordinates (-1 to 1), a function of (seed, epoch, uid)."""
        flip, rotation, shift_x, shift_y = (
            torch.from_numpy(uniform(seed, epoch, Stream.PICTURE_AUGMENTATION, uids, counter)).float()
            for counter in (_FLIP, _ROTATION, _SHIFT_X, _SHIFT_Y)
        )
        angle = torch.deg2rad((2 * rotation - 1) * self.rotation)
        mirror = torch.where((flip < 0.5) & self.flip, -1.0, 1.0)
        # A side is 2 long in these coordinates.
        x, y = ((2 * draw - 1) * 2 * self.shift for draw in (shift_x, shift_y))
        return torch.stack(
            [
                torch.stack([mirror * angle.cos(), -angle.sin(), x], dim=1),
                torch.stack([mirror * angle.sin(), angle.cos(), y], dim=1),
            ],
            dim=1,
        )


def resized(pictures: Tensor, size: int, maps: Tensor | None = None) -> Tensor:
    """Grey pictures in another size, moved on the way if asked to.

    Args:
        pictures: ``(N, H, W)`` float grey levels.
        size: the side S of the result, pixels; smaller pictures are low-pass filtered, larger ones interpolated.
        maps: ``(N, 2, 3)`` from :meth:`Augmentation.draw`; what comes from outside repeats the border.

    Returns:
        ``(N, S, S)``.
    """
    batch = pictures.unsqueeze(1)
    if maps is not None:
        side = max(size, *pictures.shape[1:])
        grid = functional.affine_grid(maps, [len(batch), 1, side, side], align_corners=False)
        batch = functional.grid_sample(batch, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if batch.shape[2:] != (size, size):
        batch = functional.interpolate(batch, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return batch.squeeze(1)
