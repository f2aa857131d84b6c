"""What every worker process of a command does first, so that none outlives the command."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait


def start_as_worker() -> None:
    """Leave Ctrl-C to the parent, and end at once when that was killed: a worker would otherwise go on with what it has
    been given and then wait for more for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
