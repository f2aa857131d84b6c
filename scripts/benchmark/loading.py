"""Utterances per second from a data-bin to masked batches, against a memory-mapped reader that masks nothing.

    python scripts/benchmark/loading.py
    python scripts/benchmark/loading.py --frames written --cold --batches 8
    python scripts/benchmark/loading.py --utterances 2000 --rounds 1

Generates a data-bin (see generated_corpus.py) in a temporary folder. Each candidate opens it, starts the pre-training
task's epoch through fairseq's iterator (with its worker processes, if any) and takes the first --batches batches, cut
by tokens and masked for the objectives in turn; the plain reader joins the same utterances' arrays. All take the same
batches, in turn, on one thread. With --cold the files' pages are dropped from the system's cache before each.
"""

from __future__ import annotations

import argparse
import functools
import gc
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from generated_corpus import write_data_bin
from loading_epochs import Loaded, PlainReader, forget, quiet_fairseq
from process_memory import processor_seconds
from tabulate import tabulate
from timing import in_turn, median_ratio, medians, write_result

PLAIN, NONE = "plain reader", "0 workers"


def measure(data_bin: Path, options: argparse.Namespace) -> dict[str, object]:
    """Rates, ratios and the time to the first batch of every number of workers."""
    loaded = {f"{workers} workers": Loaded() for workers in options.workers}
    processor: dict[str, list[float]] = {name: [] for name in (PLAIN, *loaded)}
    first_batches: dict[str, list[float]] = {name: [] for name in loaded}

    def timed(name: str, load: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            if options.cold:
                forget(data_bin)
            before = processor_seconds()
            load()
            processor[name].append(processor_seconds() - before)
            if name in loaded:
                first_batches[name].append(loaded[name].first_after)

        return run

    candidates = {PLAIN: timed(PLAIN, lambda: PlainReader(data_bin, options.max_tokens).load(options.batches))}
    for workers, (name, counts) in zip(options.workers, loaded.items(), strict=True):
        load = functools.partial(counts.load, data_bin, options.max_tokens, workers, options.batches)
        candidates[name] = timed(name, load)
    seconds = in_turn(candidates, options.rounds)
    counts = next(iter(loaded.values()))
    return {
        "utterances": options.utterances,
        "frames": options.frames,
        "cold": options.cold,
        "max_tokens": options.max_tokens,
        "batches": counts.batches,
        "tokens_per_utterance": counts.tokens / counts.utterances,
        "utterances_per_second": {name: counts.utterances / median for name, median in medians(seconds).items()},
        "utterances_per_processor_second": {
            name: counts.utterances / median for name, median in medians(processor).items()
        },
        "times_plain": {name: median_ratio(seconds, PLAIN, name) for name in seconds},
        "times_no_workers": {name: median_ratio(seconds, NONE, name) for name in loaded if NONE in loaded},
        "first_batch_seconds": medians(first_batches),
    }


def table(result: Mapping[str, Any]) -> str:
    """The numbers of every candidate."""
    columns = {
        "utterances/s": "utterances_per_second",
        "per processor second": "utterances_per_processor_second",
        "times plain": "times_plain",
        "times 0 workers": "times_no_workers",
        "first batch, s": "first_batch_seconds",
    }
    rows = [[name, *(result[key].get(name) for key in columns.values())] for name in result["utterances_per_second"]]
    return tabulate(rows, ["", *columns], floatfmt=(".0f", ".0f", ".0f", ".2f", ".2f", ".2f"))


def main() -> None:
    """Run what the flags describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--utterances", type=int, default=180_000, metavar="N", help="of the data-bin (default: %(default)s)")
    add("--frames", choices=("holes", "written"), default="holes", help="what the files hold (default: %(default)s)")
    add("--cold", action="store_true", help="drop the files from the system's cache before every candidate")
    add("--max-tokens", type=int, default=32_768, metavar="N", help="pieces and frames of a batch (%(default)s)")
    add("--batches", type=int, default=64, metavar="N", help="taken by each candidate (default: %(default)s)")
    add("--workers", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="worker processes (default: 0 1 2)")
    add("--rounds", type=int, default=5, metavar="N", help="how often each is measured (default: %(default)s)")
    add("--output", type=Path, metavar="JSON", help="write the numbers there too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder, quiet_fairseq():
        data_bin = write_data_bin(Path(folder, "corpus"), options.utterances, frames=options.frames)
        result = measure(data_bin, options)
    print(table(result))
    write_result(options.output, "loading", result)


if __name__ == "__main__":
    main()
