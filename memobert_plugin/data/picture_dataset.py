"""From packed pictures with votes to batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fairseq.data import FairseqDataset

from .expression_pictures import ExpressionPictures
from .picture_augmentation import Augmentation, resized
from .repeat_factors import draw_repeats, repeat_factors


class PictureDataset(FairseqDataset):
    """Pictures of one split. An item is its own index; the collater makes the batch.

    Args:
        pictures: images and votes.
        targets: ``(N, 8)`` float32, the distribution to learn.
        size: side of the pictures handed out, pixels.
        augmentation: for training, new in every epoch; None leaves the pictures as they are, in their order.
        seed: for the augmentation.
        repeat_rarer_than: in training, pictures of an expression that is the majority's in a smaller share than this
            come several times per epoch, each time augmented anew (:mod:`.repeat_factors`); 0: each comes once.
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
        """A picture counts as one."""
        return 1

    def size(self, index: int) -> int:
        """The same."""
        return 1

    def set_epoch(self, epoch: int) -> None:
        """Reaches persistent workers too."""
        self._epoch.fill_(epoch)

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """In training, batches are made anew every epoch."""
        return not self.shuffle

    def ordered_indices(self) -> npt.NDArray[np.int64]:
        """A permutation in training (the host has seeded numpy with seed and epoch), else the order of the file.

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
        """A batch of B pictures; ``{}`` for none.

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
