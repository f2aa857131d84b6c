"""One function over many items in several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.core.processes import ordered_map

ROOT = str(Path(__file__).resolve().parents[2])


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


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from memobert_plugin.core.processes import ordered_map\n"
        "def number(item):\n    time.sleep(0.01)\n    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    for process in ordered_map(number, range(1_000_000), 2): print(process, flush=True)\n"
    )
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": ROOT}) as parent:
        assert parent.stdout is not None
        worker = Path("/proc", parent.stdout.readline().strip())
        assert worker.exists()
        parent.kill()
    deadline = time.monotonic() + 30
    while worker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.exists()
