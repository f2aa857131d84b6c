"""One whole update of fairseq-train by its parts: what fairseq does beside forward and backward.

    python scripts/benchmark/training_step_update.py
    python scripts/benchmark/training_step_update.py --arch memobert_tiny

A data-bin with BERT's vocabulary and the paper's frames is generated, then fairseq's own trainer pre-trains on it in
this process. Its methods are timed where they are called; "rest of fairseq" is the update without them. Batches are
read ahead by a thread of fairseq, so that the update only waits for what is not there yet.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from fairseq.data.iterators import GroupedIterator
from fairseq.logging import metrics
from generated_corpus import write_data_bin
from tabulate import tabulate
from timing import write_result

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.host import TrainingRun

UTTERANCES = 2000
TASK = "memobert_pretraining"
LOADING = "waiting for a batch"


class Parts:
    """Milliseconds of named calls, update by update."""

    def __init__(self) -> None:
        self.updates: list[dict[str, float]] = []

    def begin_update(self) -> None:
        """What follows belongs to a new update."""
        self.updates.append(defaultdict(float))

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function; its time is added to the update's part of this name."""

        def call(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            result = function(*arguments, **named)
            self.updates[-1][name] += 1e3 * (time.perf_counter() - started)
            return result

        return call

    def watch(self, name: str, owner: Any, *methods: str) -> None:
        """Time an object's methods from now on."""
        for method in methods:
            setattr(owner, method, self.timed(name, getattr(owner, method)))

    def medians(self, unmeasured: int) -> dict[str, float]:
        """Median of each part over the updates, the first ones left out."""
        names = {name: None for update in self.updates for name in update}
        return {name: statistics.median(update[name] for update in self.updates[unmeasured:]) for name in names}


def batches(run: TrainingRun) -> Iterator[list[dict[str, Any]]]:
    """fairseq's batches, epoch after epoch."""
    epoch = run.trainer.get_train_iterator(epoch=1)
    while True:
        yield from GroupedIterator(epoch.next_epoch_itr(), 1)
        epoch = run.trainer.get_train_iterator(epoch.next_epoch_idx, load_dataset=False)


def measure(data_bin: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Median milliseconds of each part of an update."""
    sizes = ["--arch", arguments.arch, "--encoder-layers", str(arguments.layers)]
    if arguments.arch == "memobert_base":
        sizes += ["--encoder-embed-dim", "768", "--encoder-ffn-embed-dim", "3072", "--encoder-attention-heads", "12"]
    else:
        sizes += ["--encoder-embed-dim", "128", "--encoder-ffn-embed-dim", "512", "--encoder-attention-heads", "2"]
    flags = ["--batch-size", str(arguments.batch_size), "--dropout", "0.1", "--attention-dropout", "0.1"]
    run = TrainingRun(data_bin, TASK, *sizes, *flags, "--num-workers", str(arguments.num_workers))
    parts, trainer = Parts(), run.trainer
    parts.begin_update()
    parts.watch("masks", run.task, "masked")
    parts.watch("forward and loss", run.criterion, "forward")
    parts.watch("backward", trainer.optimizer, "backward")
    parts.watch("gradients: zero, scale, clip", trainer.optimizer, "zero_grad", "multiply_grads", "clip_grad_norm")
    parts.watch("optimiser", trainer.optimizer, "step")
    following = batches(run)
    next_batch = parts.timed(LOADING, lambda: next(following))
    update = parts.timed("update", trainer.train_step)
    parts.updates.clear()
    for _ in range(arguments.unmeasured + arguments.updates):
        parts.begin_update()
        samples = next_batch()
        with metrics.aggregate("train_inner"):
            update(samples)
    for of_update in parts.updates:
        inside = sum(value for name, value in of_update.items() if name not in (LOADING, "update"))
        of_update["rest of fairseq"] = of_update.pop("update") - inside
    return parts.medians(arguments.unmeasured)


def main() -> None:
    """Print and write the parts."""
    logging.disable(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=("memobert_base", "memobert_tiny"), default="memobert_base")
    parser.add_argument("--layers", type=int, help="transformer layers (default: 4 for base, 2 for tiny)")
    parser.add_argument("--batch-size", type=int, default=16, help="utterances (default 16)")
    parser.add_argument("--num-workers", type=int, default=0, help="processes that load batches (default 0)")
    parser.add_argument("--updates", type=int, default=20, help="measured updates (default 20)")
    parser.add_argument("--unmeasured", type=int, default=3, help="updates before them (default 3)")
    parser.add_argument("--threads", type=int, help="computing threads (default: torch's choice)")
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    arguments = parser.parse_args()
    if arguments.layers is None:
        arguments.layers = 4 if arguments.arch == "memobert_base" else 2
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        data_bin = write_data_bin(Path(folder) / "bin", UTTERANCES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fairseq's, about what it uses of torch
            milliseconds = measure(data_bin, arguments)
    whole = sum(milliseconds.values())
    rows = [[name, value, 100 * value / whole] for name, value in milliseconds.items()]
    print(tabulate([*rows, ["together", whole, 100.0]], headers=["part", "ms", "%"], floatfmt=("", ".2f", ".1f")))
    settings = {key: value for key, value in vars(arguments).items() if key != "output"}
    write_result(arguments.output, "training_step_update", {"settings": settings, "milliseconds": milliseconds})


if __name__ == "__main__":
    main()
