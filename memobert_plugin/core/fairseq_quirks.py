"""Work around fairseq: silence its import messages, load its checkpoints safely, limit memory in its processes."""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import logging
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from .errors import UserError


def fairseq_is_missing(purpose: str) -> str:
    """Return a line that names the platforms with fairseq, which a purpose needs; empty where it is installed."""
    if importlib.util.find_spec("fairseq") is not None:
        return ""
    return (
        f"{purpose} needs fairseq, which is installed with this package on Linux x86-64 with Python 3.11 or 3.12 only; "
        f"this is {platform.uname().system} {platform.machine()} with Python {platform.python_version()} "
        "(docs/install.md)"
    )


def require_fairseq(purpose: str) -> None:
    """Raise :class:`UserError` where fairseq is not installed; the message names the platforms that have it."""
    if missing := fairseq_is_missing(purpose):
        raise UserError(missing)


@contextmanager
def quiet_fairseq() -> Iterator[None]:
    """Silence fairseq's import-time messages about missing optional packages and deprecated calls."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@cache
def compose_a_configuration() -> None:
    """Compose a training's configuration and drop it, once, for processes that will be forked from this one.

    Hydra parses every flag by a grammar whose tables grow with the first flags: half of the 0.5 s that a command of
    fairseq needs before it begins.
    """
    with quiet_fairseq():
        from fairseq import options
        from fairseq.dataclass.utils import convert_namespace_to_omegaconf

        parser = options.get_training_parser()
        convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, ["data", "--arch", "transformer"]))


def allow_fairseq_arguments() -> None:
    """Let ``torch.load(weights_only=True)`` build the argparse.Namespace in which fairseq stores its arguments.

    torch 2.6 and later otherwise refuses such a checkpoint, in fairseq too, which loads without ``weights_only``. The
    class stays allowed for the whole process: ``safe_globals`` would take it away from fairseq when it ends.
    """
    import torch

    torch.serialization.add_safe_globals([argparse.Namespace])


def keep_compiler_unloaded() -> None:
    """Let torch's optimizers be made and stepped without importing torch's compiler, which takes 1.2 s and 90 MiB.

    torch imports it at an optimizer's first call, to mark a few methods as not to be compiled. Nothing here compiles an
    optimizer, so the methods are marked as they are. Without these private names torch does what it does otherwise.
    """
    from torch.optim import Optimizer

    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        method = getattr(getattr(Optimizer, name, None), "__wrapped__", None)
        if method is not None and not hasattr(method, "__dynamo_disable"):
            setattr(method, "__dynamo_disable", method)


def return_free_memory() -> None:
    """Return free memory of the heap to the system, with glibc; do nothing with other C libraries.

    Ordering an epoch's utterances leaves holes as large as the corpus in the heap. A forked worker shares these pages
    until the training process writes to them; then the worker keeps a copy of its own, which it never uses.
    """
    trim = None if sys.platform == "win32" else getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
