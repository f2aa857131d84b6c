"""What a process that loads batches holds in memory, by the size of the corpus and over epochs.

    python scripts/benchmark/loading_memory.py
    python scripts/benchmark/loading_memory.py --utterances 200 2000 --epochs 3 --batches 3

Generates data-bins (see generated_corpus.py) in a temporary folder. For each size one worker process loads --batches
batches; its memory is read while it holds the next ones ready. "unshared" is what the worker itself has written, with
the batches under way; "resident" also counts what it has from its parent and the files' pages in the system's cache.
Then --epochs epochs of the smallest corpus run as fairseq runs them, each with a validation; memory, processes and
open files of the first are compared with the last.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
from pathlib import Path

from generated_corpus import write_data_bin
from loading_epochs import SEED, epoch_of, masked_batches, open_task, quiet_fairseq
from process_memory import children, memory_of, open_files
from tabulate import tabulate
from timing import write_result


def worker_memory(data_bin: Path, max_tokens: int, batches: int) -> dict[str, float]:
    """MiB of a worker that has loaded ``batches`` batches, in a process of its own so that nothing is inherited."""
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        try:
            _report_worker(writer, data_bin, max_tokens, batches)
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(process, 0)
    with open(reader, encoding="utf-8") as stream:
        return json.load(stream)


def _report_worker(writer: int, data_bin: Path, max_tokens: int, batches: int) -> None:
    epoch = epoch_of(task := open_task(data_bin), max_tokens, workers=1)
    for _ in itertools.islice(masked_batches(task, epoch), batches):
        pass
    (worker,) = children()
    os.write(writer, json.dumps(memory_of(worker)).encode())


def over_epochs(data_bin: Path, max_tokens: int, workers: int, epochs: int) -> list[dict[str, float]]:
    """After each epoch and its validation: memory of this process and of its workers in MiB, processes, open files."""
    task = open_task(data_bin)
    task.load_dataset("valid")
    rows: list[dict[str, float]] = []
    batches = epoch_of(task, max_tokens, workers)
    while len(rows) < epochs:
        for _ in masked_batches(task, batches):
            pass
        flags = {"max_tokens": max_tokens, "num_workers": workers, "seed": SEED, "epoch": 1}
        for _ in task.get_batch_iterator(task.dataset("valid"), **flags).next_epoch_itr(shuffle=False):
            pass
        workers_now = children()
        rows.append(
            {
                "epoch": len(rows) + 1,
                "anonymous": memory_of()["anonymous"],
                "of workers, unshared": sum(memory_of(worker)["unshared"] for worker in workers_now),
                "workers": len(workers_now),
                "open files": open_files(),
            }
        )
        batches = epoch_of(task, max_tokens, workers, batches.next_epoch_idx)
    return rows


def main() -> None:
    """Run what the flags describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--utterances", type=int, nargs="+", default=[1_800, 18_000, 180_000, 1_800_000], metavar="N")
    add("--epochs", type=int, default=20, metavar="N", help="of the smallest corpus (default: %(default)s)")
    add("--max-tokens", type=int, default=32_768, metavar="N", help="pieces and frames of a batch (%(default)s)")
    add("--batches", type=int, default=3, metavar="N", help="that the worker has loaded (default: %(default)s)")
    add("--workers", type=int, default=2, metavar="N", help="of the epochs (default: %(default)s)")
    add("--output", type=Path, metavar="JSON", help="write the numbers there too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, quiet_fairseq():
        sizes = {}
        for utterances in sorted(options.utterances):
            data_bin = write_data_bin(Path(folder, str(utterances)), utterances)
            os.sync()  # a file's page that is not on the disk yet would count as written by who reads it
            sizes[utterances] = worker_memory(data_bin, options.max_tokens, options.batches)
        smallest = Path(folder, str(min(options.utterances)))
        epochs = over_epochs(smallest, options.max_tokens, options.workers, options.epochs)
    rows = [{"utterances": utterances, **memory} for utterances, memory in sizes.items()]
    print("MiB of one worker", tabulate(rows, "keys", floatfmt=".0f"), sep="\n")
    print("MiB after an epoch", tabulate([epochs[0], epochs[-1]], "keys", floatfmt=".1f"), sep="\n")
    write_result(options.output, "loading_memory", {"worker_mebibytes": rows, "epochs": epochs})


if __name__ == "__main__":
    main()
