"""Losses are taken in float32 at least."""

from __future__ import annotations

import torch
from torch import Tensor


def upcast(values: Tensor) -> Tensor:
    """float16 and bfloat16 to float32; others stay as they are (``--fp16`` is half weights, not autocast)."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
