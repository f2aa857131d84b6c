"""Batches without padding hardly repeat the sizes of their arrays, so that holes pile up between what the C library's
heap keeps; it returns memory to the system only from the end of the heap, unless it is asked to.
"""

from __future__ import annotations

import ctypes
import time

_SECONDS = 60.0
"""Between two times: one takes some 40 ms, and the holes fill up again within seconds."""
_last = time.monotonic()


def return_free_memory() -> None:
    """Give the pages in the holes back, not more than once a minute; where the C library is not glibc, nothing.

    On a CPU an hour of short epochs otherwise grows by some hundred MiB (docs/reliability.md).
    """
    global _last
    now = time.monotonic()
    if now - _last < _SECONDS:
        return
    _last = now
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
