"""Floating-point operations of a pre-training update, counted, and what they make in hours of GPUs, by assumption.

    python scripts/benchmark/operations.py
    python scripts/benchmark/operations.py --teraflops 312 --utilisation 0.4 --epochs 40

Runs forward and backward of every objective once, for --utterances utterances with the lengths of generated_corpus.py,
and has torch count the operations of its matrix products and attention. The rest is division: by --teraflops, what a
GPU's maker promises for the precision, and by --utilisation, the share of it that a training reaches. Neither is
measured here; training_step.py on a GPU gives the rate itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from generated_corpus import FACES_PER_SECOND, PIECES_PER_SECOND, SPEECH_FRAMES_PER_SECOND, drawn_seconds
from tabulate import tabulate
from timing import write_result
from torch.utils.flop_counter import FlopCounterMode
from training_step import packed_output
from training_step_batches import ACOUSTIC_DIM, CLASSES, STEPS, VISUAL_DIM, VOCABULARY, Batch, Step

from memobert_plugin.models.memobert import MEmoBERTConfig, MEmoBERTModel

RATIOS = {"wwmlm": 2, "mvfr": 1, "mvfc": 1, "mafr": 1}
"""Of the paper's objectives."""
SIZES = (180_000, 10_000_000, 1_000_000_000)


def film_like(utterances: int, rng: np.random.Generator) -> Batch:
    """Utterances as long as a film's, with [CLS] and [SEP]."""
    seconds = drawn_seconds(rng, utterances)
    pieces = rng.poisson(PIECES_PER_SECOND * seconds) + 3
    visual, acoustic = (
        np.maximum(seconds * rate, 1).astype(int) for rate in (FACES_PER_SECOND, SPEECH_FRAMES_PER_SECOND)
    )
    return Batch(
        torch.from_numpy(rng.integers(4, VOCABULARY, pieces.sum())),
        torch.zeros(visual.sum(), VISUAL_DIM, dtype=torch.float16),
        torch.zeros(acoustic.sum(), ACOUSTIC_DIM, dtype=torch.float16),
        np.stack([pieces, visual, acoustic]),
    )


def counted(config: MEmoBERTConfig, batch: Batch, rng: np.random.Generator) -> dict[str, float]:
    """Operations per utterance of every objective, forward and backward."""
    model = MEmoBERTModel.build(config, VOCABULARY, VISUAL_DIM, ACOUSTIC_DIM, CLASSES).train()
    operations = {}
    for name in STEPS:
        step = Step.drawn(name, batch, rng)
        with FlopCounterMode(display=False) as counter:
            step.loss(packed_output(model, step)).backward()
        operations[name] = counter.get_total_flops() / batch.lengths.shape[1]
    return operations


def main() -> None:
    """Run what the flags describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--layers", type=int, default=12, metavar="N", help="of the transformer (default: %(default)s)")
    add("--utterances", type=int, default=64, metavar="N", help="to count with (default: %(default)s)")
    add("--teraflops", type=float, default=312, metavar="T", help="promised, bfloat16 (default: an A100's %(default)s)")
    add("--utilisation", type=float, default=0.3, metavar="U", help="share of them reached, assumed (%(default)s)")
    add("--epochs", type=float, default=10, metavar="N", help="over the corpus (default: %(default)s)")
    add("--gpus", type=int, nargs="+", default=[1, 8, 64, 512], metavar="N", help="default: 1 8 64 512")
    add("--output", type=Path, metavar="JSON", help="write the numbers there too")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    batch = film_like(options.utterances, rng)
    operations = counted(MEmoBERTConfig(encoder_layers=options.layers), batch, rng)
    mean = sum(RATIOS[name] * operations[name] for name in RATIOS) / sum(RATIOS.values())
    print(
        tabulate(
            [[name, count / 1e9] for name, count in operations.items()], ["", "GFLOP per utterance"], floatfmt=".1f"
        )
    )
    positions = batch.lengths.sum() / options.utterances
    print(f"{positions:.0f} positions per utterance; in the paper's proportions {mean / 1e9:.1f} GFLOP")
    rate = options.teraflops * 1e12 * options.utilisation / mean
    print(f"at {options.utilisation:.0%} of {options.teraflops:g} TFLOP/s: {rate:.0f} utterances/s per GPU")
    rows = [[f"{size:,}", *(size * options.epochs / rate / 3600 / gpus for gpus in options.gpus)] for size in SIZES]
    print(tabulate(rows, ["utterances", *(f"hours on {gpus}" for gpus in options.gpus)], floatfmt=".2f"))
    write_result(options.output, "operations", {"operations_per_utterance": operations, "utterances_per_second": rate})


if __name__ == "__main__":
    main()
