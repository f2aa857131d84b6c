"""Measure wall time by stage."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


class Stopwatch:
    """A sum of the seconds spent in each stage; stages do not overlap."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        """By stage, in order of first use."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began

    def items(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items and time only how long getting each one takes."""
        iterator = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item


def speed_lines(film_seconds: float, work_seconds: float, stages: Mapping[str, float]) -> list[str]:
    """Return lines on the seconds of film per second of work, in all and by stage; none where nothing was done."""
    if not film_seconds or not work_seconds:
        return []
    by_stage = ", ".join(f"{stage} {film_seconds / spent:.3g}" for stage, spent in stages.items() if spent)
    return [
        f"speed: {film_seconds:.0f} s of film in {work_seconds:.0f} s of work: "
        f"{film_seconds / work_seconds:.3g} s of film per second and process",
        f"  by stage: {by_stage}",
    ]
