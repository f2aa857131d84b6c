"""Measure ``memobert predict --live`` for each second of film: by the clock, the processor, and by thread.

    OMP_NUM_THREADS=1 python scripts/benchmark/live.py film.mp4 other.mp4

One thread reads the film and finds faces, the other one answers. On two free cores the busier thread sets the pace; on
a busy machine, where the clock tells little, its share says which pace two free cores would keep.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from tabulate import tabulate
from timing import write_result

from memobert_plugin import MEmoBERT
from memobert_plugin.inference.live import WINDOW, follow

COLUMNS = ("clock", "processor", "busier thread", "lag, s", "longest lag, s")


def costs(model: MEmoBERT, film: Path, window: float) -> dict[str, float]:
    """Follow a film once, and return seconds for each second of it, and the lag of its answers."""
    began, processor, answering = time.monotonic(), time.process_time(), time.thread_time()
    moments = list(follow(model, str(film), window=window))
    clock, total = time.monotonic() - began, time.process_time() - processor
    mine = time.thread_time() - answering
    seconds, lags = moments[-1].end, [moment.lag for moment in moments]
    values = (clock / seconds, total / seconds, max(mine, total - mine) / seconds, statistics.mean(lags), max(lags))
    return dict(zip(COLUMNS, values, strict=True))


def main() -> None:
    """Run what the flags describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("films", nargs="+", type=Path, metavar="FILM")
    add("--model", type=Path, metavar="MODEL", help="default: the shipped model")
    add("--window", type=float, default=WINDOW, metavar="S", help="seconds looked back (default: %(default)g)")
    add("--rounds", type=int, default=3, metavar="N", help="how often each is followed (default: %(default)s)")
    add("--output", type=Path, metavar="JSON", help="write the numbers there too")
    options = parser.parse_args()
    model = MEmoBERT.from_pretrained(options.model)
    costs(model, options.films[0], options.window)  # loads the encoders
    found = {film.name: [costs(model, film, options.window) for _ in range(options.rounds)] for film in options.films}
    middle = {
        name: {column: statistics.median(one[column] for one in rounds) for column in COLUMNS}
        for name, rounds in found.items()
    }
    print(tabulate([[name, *row.values()] for name, row in middle.items()], ["film", *COLUMNS], floatfmt=".2f"))
    write_result(options.output, "live", {"films": middle})


if __name__ == "__main__":
    main()
