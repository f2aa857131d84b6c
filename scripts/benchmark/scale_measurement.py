"""One data-bin's costs, measured in a process that has done nothing else; scale.py and scale_length.py call it."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

Lengths = tuple[int, int, int]


def measured_in_fresh_process(
    data_bin: Path, max_tokens: int, updates: int, most: Lengths | None = None
) -> dict[str, float]:
    """Seconds of processor time, and MiB, of opening, of an epoch's start and of an update.

    Args:
        data_bin: the corpus.
        max_tokens: pieces and frames of an update.
        updates: of which the median is taken.
        most: word pieces, faces and speech frames that are read of an utterance; None for the task's defaults.
    """
    arguments = [str(data_bin), str(max_tokens), str(updates), *map(str, most or ())]
    run = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def measure(data_bin: str, max_tokens: int, updates: int, most: Lengths | None) -> dict[str, float]:
    """The same, in this process."""
    import torch
    from loading_epochs import SEED, Corpus, quiet_fairseq
    from process_memory import memory_of

    torch.set_num_threads(1)
    with quiet_fairseq():
        from fairseq import options, tasks
        from fairseq.dataclass.utils import convert_namespace_to_omegaconf
        from fairseq.trainer import Trainer

        flags = [
            data_bin, "--task", "memobert_pretraining", "--criterion", "memobert_pretraining",
            "--arch", "memobert_tiny", "--optimizer", "memobert_adamw", "--lr", "1e-4", "--cpu",
            "--max-tokens", str(max_tokens), "--num-workers", "0", "--seed", str(SEED), "--max-positions", "1024",
        ]  # fmt: skip
        if most is not None:
            for name, limit in zip(("pieces", "visual-frames", "acoustic-frames"), most, strict=True):
                flags += [f"--max-{name}", str(limit)]
        parser = options.get_training_parser()
        config = convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, flags))
        imported = memory_of()

        started = time.process_time()
        Corpus(data_bin)
        index_only = time.process_time() - started
        task = tasks.setup_task(config.task)
        task.load_dataset("train")
        opened = time.process_time()
        after_opening = memory_of()
        batches = task.get_batch_iterator(task.dataset("train"), max_tokens=max_tokens, seed=SEED)
        epoch = batches.next_epoch_itr()
        epoch_started = time.process_time()
        first = next(epoch)
        task.masked(first, "wwmlm", 0)
        first_batch = time.process_time()
        after_epoch = memory_of()

        model, criterion = task.build_model(config.model), task.build_criterion(config.criterion)
        trainer = Trainer(config, task, model, criterion)
        trainer.reset_dummy_batch(first)
        seconds = []
        for _ in range(updates + 1):
            samples = [next(epoch)]
            begun = time.process_time()
            trainer.train_step(samples)
            seconds.append(time.process_time() - begun)
    return {
        "index, s": index_only,
        "open, s": opened - started,
        "epoch, s": epoch_started - opened,
        "batches": len(batches),
        "first batch, s": first_batch - epoch_started,
        "update, s": statistics.median(seconds[1:]),
        "after opening, MiB": after_opening["peak"],
        "after epoch's start, MiB": after_epoch["peak"],
        "peak, MiB": memory_of()["peak"],
        "above imports, MiB": memory_of()["peak"] - imported["peak"],
    }


if __name__ == "__main__":
    folder, tokens, steps, *limits = sys.argv[1:]
    print(json.dumps(measure(folder, int(tokens), int(steps), tuple(map(int, limits)) or None)))  # type: ignore[arg-type]
