"""Limit what oneDNN, torch's library for products on a CPU, keeps in memory."""

from __future__ import annotations

import os

_VARIABLES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Of oneDNN, and of the cache that torch keeps in front of it for products of matrices."""
_SHAPES = 128
"""More than an update has: each shape may return in the next layer."""


def limit_primitive_cache() -> None:
    """Limit oneDNN's caches, unless the user has set their variables; call this before the first matrix product.

    Unpadded batches have many shapes and would fill the caches: 600 MiB in an hour on a CPU (docs/reliability.md), 900
    in 3 000 products of one layer (:mod:`memobert_plugin.nn.linear`). GPUs do not use them.
    """
    for variable in _VARIABLES:
        os.environ.setdefault(variable, str(_SHAPES))
