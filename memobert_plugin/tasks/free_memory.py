"""Memory that was freed goes back to the system before worker processes are forked off a training."""

from __future__ import annotations

import ctypes


def return_free_memory() -> None:
    """Ask the C library for the pages between what its heap keeps; where it is not glibc, nothing.

    Ordering an epoch's utterances leaves holes as large as the corpus. A worker inherits them, and the training process
    fills them again with its batches: every page of them then is the worker's alone, and of no use to it.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
