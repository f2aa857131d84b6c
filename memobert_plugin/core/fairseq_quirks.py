"""Use of the host's code outside its own commands, without what it has to say about packages that are not there."""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_fairseq() -> Iterator[None]:
    """Keep the host's hints about optional packages and deprecated calls out of a caller's output."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def allow_fairseq_arguments() -> None:
    """Let ``torch.load(weights_only=True)`` build a Namespace, as which the host stores its arguments.

    torch 2.6 and newer refuses such a checkpoint otherwise, also inside the host, which loads without saying how. It
    stays allowed (``safe_globals`` would be for a while only): leaving that would take the class from the host as well.
    """
    import torch

    torch.serialization.add_safe_globals([argparse.Namespace])


_VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_SHAPES = 128
"""More than an update has; each may return within the update, in the next layer."""


def limit_primitive_cache() -> None:
    """Keep fewer, unless the user has chosen; before the first product of this process, when oneDNN reads the variable.

    On a CPU an hour of training otherwise grows by some 600 MiB (docs/reliability.md). A GPU has no part in it.
    """
    os.environ.setdefault(_VARIABLE, str(_SHAPES))


def return_free_memory() -> None:
    """Ask the C library for the pages between what its heap keeps; where it is not glibc, nothing.

    Ordering an epoch's utterances leaves holes as large as the corpus. A worker inherits them, and the training process
    fills them again with its batches: every page of them then is the worker's alone, and of no use to it.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
