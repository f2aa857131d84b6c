"""Use of the host's code outside its own commands, without what it has to say about packages that are not there."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_host() -> Iterator[None]:
    """Keep the host's hints about optional packages and deprecated calls out of a caller's output."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
