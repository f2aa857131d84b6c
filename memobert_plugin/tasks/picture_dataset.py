"""Make batches of packed pictures with votes: augmented (flipped, rotated, shifted), resized, rare expressions
repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fairseq.data import FairseqDataset
from torch import Tensor
from torch.nn import functional

from ..core.rng import Stream, uniform
from ..features.denseface.pictures import ExpressionPictures


def repeat_factors(majorities: npt.NDArray[np.int64], rarer_than: float) -> npt.NDArray[np.float64]:
    """Return the mean number of times that each picture comes in an epoch.

    Args:
        majorities: ``(N,)`` the majority's expression, -1 where there is none.
        rarer_than: share t of the pictures with a majority; an expression with the share f is repeated
            ``max(1, sqrt(t / f))`` times.

    Returns:
        ``(N,)``, at least 1; 1 where there is no majority.
    """
    counts = np.bincount(majorities[majorities >= 0])
    shares = counts / max(1, counts.sum())
    factors = np.sqrt(rarer_than / shares, where=shares > 0, out=np.ones_like(shares))
    return np.append(np.maximum(1.0, factors), 1.0)[majorities]


def draw_repeats(factors: npt.NDArray[np.float64], seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Draw the number of times that each picture comes in an epoch: ``(N,)`` whole numbers with the means ``factors``,
    each the next lower or higher one, as a function of (seed, epoch, picture).
    """
    draws = uniform(seed, epoch, Stream.PICTURE_REPEATS, np.arange(len(factors), dtype=np.uint64), 0)
    return np.floor(factors + draws).astype(np.int64)


_FLIP, _ROTATION, _SHIFT_X, _SHIFT_Y = range(4)


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a picture in training.

    Attributes:
        flip: mirror every second picture.
        rotation: largest angle to either side, degrees.
        shift: largest shift in either direction, as a share of the side.
    """

    flip: bool = True
    rotation: float = 12.0
    shift: float = 0.08

    def draw(self, seed: int, epoch: int, uids: npt.NDArray[np.uint64]) -> Tensor:
        """Draw affine maps ``(N, 2, 3)`` from output to input coordinates (-1 to 1) by (seed, epoch, uid)."""
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
    """Resize grey pictures, with an affine map on the way if there is one.

    Args:
        pictures: ``(N, H, W)`` float grey levels.
        size: the side S of the result, pixels; smaller pictures are low-pass filtered, larger ones interpolated.
        maps: ``(N, 2, 3)`` from :meth:`Augmentation.draw`; pixels from outside repeat the border.

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


class PictureDataset(FairseqDataset):
    """The pictures of one split. An item is its own index; the collater makes the batch.

    Args:
        pictures: images and votes.
        targets: ``(N, 8)`` float32, the distribution to learn.
        size: side of the pictures handed out, pixels.
        augmentation: for training, new in every epoch; None leaves the pictures as they are, in their order.
        seed: for the augmentation.
        repeat_rarer_than: in training, pictures of an expression that is the majority's in a smaller share than this
            come several times per epoch, with another augmentation each time (:func:`repeat_factors`); 0: once.
    """

    def __init__(
        self,
        pictures: ExpressionPictures,
        targets: npt.NDArray[np.float32],
        size: int,
        augmentation: Augmentation | None,
        seed: int,
        repeat_rarer_than: float = 0.0,
    ) -> None:
        super().__init__()
        self.pictures, self.targets, self.size_of_pictures = pictures, targets, size
        self.augmentation, self.seed = augmentation, seed
        self.majorities = pictures.majorities()
        self.shuffle = augmentation is not None
        self.repeat_factors = repeat_factors(self.majorities, repeat_rarer_than) if self.shuffle else None
        self.batches_divisible_by = 1
        # Persistent workers keep their copy of the dataset; only shared memory reaches them with a new epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> int:
        return int(index)

    def num_tokens(self, index: int) -> int:
        """Return 1: a picture counts as one token."""
        return 1

    def size(self, index: int) -> int:
        """Return 1, the same."""
        return 1

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, for persistent workers too."""
        self._epoch.fill_(epoch)

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """Return False in training, where every epoch has new batches."""
        return not self.shuffle

    def ordered_indices(self) -> npt.NDArray[np.int64]:
        """Return a permutation in training (fairseq has seeded numpy with seed and epoch), else the order of the file.

        The k-th repetition of picture i is ``i + k x len(self)``.
        """
        indices = np.arange(len(self))
        if self.repeat_factors is None:
            return indices
        counts = draw_repeats(self.repeat_factors, self.seed, int(self._epoch))
        again = [indices[counts > k] + k * len(self) for k in range(1, int(counts.max(initial=1)))]
        return np.random.permutation(np.concatenate([indices, *again]))

    def batch_by_size(
        self,
        indices: npt.NDArray[np.int64],
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        required_batch_size_multiple: int = 1,
    ) -> list[npt.NDArray[np.int64]]:
        """Cut ``indices`` into batches of sizes that differ by one at most, none over ``max_sentences`` or
        ``max_tokens`` pictures; in training their number is a multiple of ``batches_divisible_by``.
        """
        if not len(indices):
            return []
        largest = min(limit for limit in (max_tokens, max_sentences, len(indices)) if limit)
        batches = -(-len(indices) // largest)
        batches += -batches % self.batches_divisible_by
        return np.array_split(indices, min(batches, len(indices)))

    def collater(self, samples: Sequence[int]) -> dict[str, Any]:
        """Return a batch of B pictures; ``{}`` for none.

        ``net_input.pictures`` is ``(B, S, S)`` float32 grey levels from 0 to 255, ``expression`` ``(B, 8)`` the
        distribution to learn, ``target`` ``(B,)`` the majority's expression, -1 where there is none.
        """
        if not len(samples):
            return {}
        occurrences = np.asarray(samples, dtype=np.int64)
        indices = occurrences % len(self)
        pictures = torch.from_numpy(self.pictures.images[indices]).float()
        maps = None
        if self.augmentation is not None:
            maps = self.augmentation.draw(self.seed, int(self._epoch), occurrences.astype(np.uint64))
        return {
            "id": torch.from_numpy(indices),
            "nsentences": len(indices),
            "ntokens": len(indices),
            "net_input": {"pictures": resized(pictures, self.size_of_pictures, maps)},
            "expression": torch.from_numpy(self.targets[indices]),
            "target": torch.from_numpy(self.majorities[indices]),
        }
