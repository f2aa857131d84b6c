"""The one class that a pickle may name beside tensors and plain containers."""

from __future__ import annotations

import argparse


def allow_host_arguments() -> None:
    """Let ``torch.load(weights_only=True)`` build a Namespace, as which the host stores its arguments.

    torch 2.6 and newer refuses such a checkpoint otherwise, also inside the host, which loads without saying how. It
    stays allowed (``safe_globals`` would be for a while only): leaving that would take the class from the host as well.
    """
    import torch

    torch.serialization.add_safe_globals([argparse.Namespace])
