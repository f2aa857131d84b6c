"""The same function over many items in several processes: results in order, few items in flight."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final, TypeVar

from ..data.worker_process import start_as_worker
from ..errors import UserError

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
