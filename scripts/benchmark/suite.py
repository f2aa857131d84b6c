"""The tests: seconds of processor time by folder, inside the test process and in the processes that tests start.

    python scripts/benchmark/suite.py
    python scripts/benchmark/suite.py tests/data tests/nn --longest 5

Runs the tests one after the other in one process; further arguments go to pytest. Importing and collecting is a row of
its own. The floor for any number of cores is the sum over them, if no test waits.
"""

from __future__ import annotations

import argparse
import resource
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest
from tabulate import tabulate
from timing import write_result

ROOT = Path(__file__).parents[2]
IMPORTING = "import and collect"


def processor_seconds() -> tuple[float, float]:
    """Return the processor seconds of this process, and of the processes that it started and that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime


class Stopwatch:
    """A plugin of pytest that measures every test.

    Attributes:
        seconds: by test its processor seconds inside, and in processes that it started.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}
        self.collected: tuple[float, float] = (0.0, 0.0)

    def pytest_collection_finish(self) -> None:
        """Remember what importing and collecting took."""
        self.collected = processor_seconds()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Measure one test with its fixtures."""
        before = processor_seconds()
        result = yield
        after = processor_seconds()
        self.seconds[item.nodeid] = (after[0] - before[0], after[1] - before[1])
        return result


def rows(watch: Stopwatch) -> list[tuple[str, int, float, float]]:
    """Return folder, tests, seconds inside and seconds in other processes; the most first, the sum last."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for test, seconds in watch.seconds.items():
        parts = test.partition("::")[0].split("/")
        found["/".join(parts[:2]) if len(parts) > 2 else parts[0]].append(seconds)
    table = [
        (folder, len(some), sum(own for own, _ in some), sum(other for _, other in some))
        for folder, some in found.items()
    ]
    table.sort(key=lambda row: -(row[2] + row[3]))
    table.append((IMPORTING, 0, *watch.collected))
    return [*table, ("together", len(watch.seconds), sum(row[2] for row in table), sum(row[3] for row in table))]


def main() -> int:
    """Run the command and return pytest's exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--longest", type=int, default=10, metavar="N", help="list so many tests (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the table here too")
    options, further = parser.parse_known_args()
    watch = Stopwatch()
    status = pytest.main(["-q", "-p", "no:xdist", "--rootdir", str(ROOT), *(further or [str(ROOT / "tests")])], [watch])
    table = rows(watch)
    print(tabulate(table, ("tests of", "tests", "inside, s", "in processes they start, s"), floatfmt=".1f"))
    longest = sorted(watch.seconds.items(), key=lambda pair: -sum(pair[1]))[: options.longest]
    print(tabulate([(test, *seconds) for test, seconds in longest], ("longest", "inside", "elsewhere"), floatfmt=".1f"))
    write_result(options.output, "suite", {"seconds": {name: [own, other] for name, _, own, other in table}})
    return int(status)


if __name__ == "__main__":
    raise SystemExit(main())
