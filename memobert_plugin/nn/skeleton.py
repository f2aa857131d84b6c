"""Build networks without memory for their parameters and without drawing random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@contextmanager
def parameters_unmade() -> Iterator[None]:
    """Build networks with parameters on the meta device, for a state dictionary that replaces them.

    Initialisation is skipped: random numbers on the meta device make torch import its compiler, which takes longer than
    all the rest of loading a model.
    """
    with torch.device("meta"), _WithoutInitialisation():
        yield


_RANDOM = (torch.Tensor.normal_, torch.Tensor.uniform_)


class _WithoutInitialisation(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function in _RANDOM or getattr(function, "__module__", "") == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return function(*args, **(kwargs or {}))
