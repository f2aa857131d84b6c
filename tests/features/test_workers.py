"""One function over many items in several processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from memobert_plugin.errors import UserError
from memobert_plugin.features.workers import ordered_map


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers: int) -> None:
    assert list(ordered_map(abs, range(-40, 40), workers)) == [abs(item) for item in range(-40, 40)]


def test_items_are_drawn_as_results_are_taken() -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            drawn.append(item)
            yield item

    results = ordered_map(abs, items(), 2)
    next(results)
    assert len(drawn) < 50
    results.close()  # type: ignore[attr-defined]


def test_a_worker_that_was_killed_is_named() -> None:
    with pytest.raises(UserError, match="--workers 2: a worker process was killed"):
        list(ordered_map(_kill_this_process, [signal.SIGKILL], 2))


def _kill_this_process(number: int) -> None:
    os.kill(os.getpid(), number)
