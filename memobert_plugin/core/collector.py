"""Python's search for cycles among objects, which takes a tenth of a command's start when torch is imported."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_process_is_ours = [False]


def own_process() -> None:
    """Say that this process runs one command and nothing else; without that, :func:`starting_up` does nothing."""
    _process_is_ours[0] = True


@contextmanager
def starting_up() -> Iterator[None]:
    """Import packages and build networks without a search for cycles among what will stay until the process ends.

    Imports of torch make hundreds of thousands of objects, and Python looks through all of them each time their number
    has grown by a quarter. Afterwards they are set aside for good (``gc.freeze``), so that no later search looks
    through them either. In a process that is not a command's own this would keep its garbage for ever.
    """
    if not (_process_is_ours[0] and gc.isenabled()):
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
