"""Linear layers by the quicker of torch's two libraries for matrix products.

torch multiplies float32 on a CPU by MKL, which uses half the width of an AMD processor's vector units. From Zen 5 on
the other half counts: oneDNN, which torch also contains, takes half the time for the same products. Results and
gradients are the same but for rounding.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ..core.onednn import limit_primitive_cache

VARIABLE: Final = "MEMOBERT_ONEDNN"
"""Environment variable: 1 for products by oneDNN on any processor, 0 on none."""

_ZEN_5: Final = 26
"""AMD's number of that family of processors."""
_SMALLEST: Final = 200_000
"""Weights of a layer that oneDNN multiplies. It makes code for each new number of rows, which packed batches change all
the time: about 0.4 ms, more than smaller layers gain."""


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``inputs @ weight.T + bias`` as :func:`torch.nn.functional.linear` does.

    Args:
        inputs: ``(N, I)``, or more axes before the last one.
        weight: ``(O, I)``.
        bias: ``(O,)``.
    """
    # In this order, so that a compiler looks no further than at the first.
    left_to_torch = torch.compiler.is_compiling() or weight.numel() < _SMALLEST or not onednn_is_quicker()
    if left_to_torch or not _is_plain(inputs, weight):
        return functional.linear(inputs, weight, bias)
    multiplied = _Product.apply if torch.is_grad_enabled() else onednn_product
    rows: Tensor = multiplied(inputs.reshape(-1, inputs.shape[-1]), weight, bias)
    return rows.view(*inputs.shape[:-1], -1)


class Linear(nn.Linear):
    """torch's layer by :func:`linear`; parameters have the same names."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``(..., O)`` for ``(..., I)``."""
        return linear(inputs, self.weight, self.bias)


@cache
def onednn_is_quicker() -> bool:
    """Return whether oneDNN multiplies float32 faster here than MKL; :data:`VARIABLE` overrules it."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    is_wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512") and _amd_family() >= _ZEN_5
    quicker = {"0": False, "1": True}.get(os.environ.get(VARIABLE, ""), is_wide)
    if quicker:
        limit_primitive_cache()
    return quicker


def _amd_family() -> int:
    """Return the number of the family of an AMD processor, 0 for others."""
    told = platform.processor()  # on Windows "AMD64 Family 26 Model 68 Stepping 0, AuthenticAMD"
    if sys.platform == "linux":
        try:
            told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
        except OSError:
            return 0
    found = re.search(r"family\s*:?\s*(\d+)", told, re.IGNORECASE)
    return int(found[1]) if found and "AuthenticAMD" in told else 0


def _is_plain(inputs: Tensor, weight: Tensor) -> bool:
    """Return whether these are float32 numbers of this processor, which nobody asked for in lower precision."""
    return (
        inputs.dtype == weight.dtype == torch.float32
        and inputs.device.type == weight.device.type == "cpu"
        and inputs.numel() > 0
        and type(inputs) in (Tensor, nn.Parameter)
        and not torch.is_autocast_enabled("cpu")
    )


def onednn_product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``left @ right.T + bias`` by oneDNN.

    Args:
        left: float32 ``(N, I)``, on a CPU.
        right: ``(O, I)``.
        bias: ``(O,)``.
    """
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return product


class _Product(torch.autograd.Function):
    """:func:`onednn_product` with its gradients."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return onednn_product(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        inputs, weight = ctx.saved_tensors
        of_inputs, of_weight, of_bias = ctx.needs_input_grad
        return (
            onednn_product(gradient, weight.t()) if of_inputs else None,
            onednn_product(gradient.t(), inputs.t()) if of_weight else None,
            gradient.sum(dim=0) if of_bias else None,
        )
