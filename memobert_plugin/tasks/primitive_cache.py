"""oneDNN keeps what it compiled for the last 1024 shapes of matrices; batches without padding hardly repeat theirs."""

from __future__ import annotations

import os

_VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_SHAPES = 128
"""More than an update has; each may return within the update, in the next layer."""


def limit_primitive_cache() -> None:
    """Keep fewer, unless the user has chosen; before the first product of this process, when oneDNN reads the variable.

    On a CPU an hour of training otherwise grows by some 600 MiB (docs/reliability.md). A GPU has no part in it.
    """
    os.environ.setdefault(_VARIABLE, str(_SHAPES))
