"""Map a function over many items in several processes: results in order, few items in flight."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Final, TypeVar

from .collector import own_process
from .errors import UserError


def start_as_worker() -> None:
    """Leave Ctrl-C to the parent, and end at once when the parent is killed.

    Otherwise a worker would finish its items and then wait for more for ever.
    """
    own_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


Item = TypeVar("Item")
Result = TypeVar("Result")

_IN_FLIGHT_PER_WORKER: Final = 8


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order; in this process with one worker.

    Items are drawn as results are taken, so that memory does not grow with the number of items. New processes are
    started fresh, not forked, since a fork of a process that runs threads (torch) may hang.

    Raises:
        UserError: a worker process died.
    """
    if workers == 1:
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=start_as_worker)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= workers * _IN_FLIGHT_PER_WORKER:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            f"--workers {workers}: a worker process was killed, perhaps for memory; start again with fewer workers, "
            "what is finished is kept"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
