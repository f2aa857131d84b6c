"""A model from its files, without the host's remarks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..quiet_host import quiet_host

if TYPE_CHECKING:
    import torch

    from .network import Network

DTYPES = ("float32", "bfloat16", "float16")


def load_network(path: Path, device: str, dtype: str | torch.dtype, data_bin: Path | None = None) -> Network:
    """Load a bundle (a folder) or a checkpoint of ``fairseq-train`` (a file).

    Raises:
        UserError: not a model, an altered file, no such device or an unknown dtype.
    """
    if not path.exists():
        raise UserError(f"{path}: no such bundle or checkpoint")
    with quiet_host():
        from ..checkpoints.bundle import read_bundle
        from ..checkpoints.host_checkpoint import read_host_checkpoint
        from .network import Network

        model = read_bundle(path) if path.is_dir() else read_host_checkpoint(path, data_bin)
        return Network(model, _device(device), _dtype(dtype))


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device {name!r}: unknown; give cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name}: this machine has no usable CUDA device; give cpu")
    return device


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    import torch

    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise UserError(f"dtype {name}: give one of {', '.join(DTYPES)}")
    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found
