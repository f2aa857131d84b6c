"""Small tensors of a batch on their way out of a worker process.

Torch sends every tensor in shared memory with a file descriptor of its own: half a millisecond of each process, however
small it is. By value, among what else is pickled, it takes a fraction of that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import get_worker_info


class SentArray:
    """Stands for a tensor in a batch that is sent to the training process, where it arrives as that tensor.

    Args:
        array: its numbers, of any shape and type that torch knows.
    """

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array

    def __reduce__(self) -> tuple[Callable[[npt.NDArray[Any]], Tensor], tuple[npt.NDArray[Any]]]:
        return torch.from_numpy, (self._array,)


def as_small_tensor(array: np.ndarray) -> Tensor:
    """A tensor on ``array``, of its shape and type; in a worker process what arrives as such a tensor."""
    return torch.from_numpy(array) if get_worker_info() is None else cast(Tensor, SentArray(array))
