"""Forward and backward of every objective, against BERT on padded batches and against bare matrix products.

    python scripts/benchmark/training_step.py
    python scripts/benchmark/training_step.py --profile
    python scripts/benchmark/training_step.py --device cuda --precision bf16 --layers 12 --batch-size 256

BERT-base's width and --layers of its layers on random utterances of 5 to 30 pieces, 8 to 36 face frames and 15 to 64
speech frames. "padded" is transformers' BertModel with scaled_dot_product_attention on the three modalities, padded and
concatenated, with the same embedders, heads, losses and dropout. "products" are this network's matrix products alone:
what is missing to 100 % is everything else. Each round takes all three in turn, on the next of --batches batches; the
ratios are medians of the rounds' ratios. First, without dropout and with equal weights, both networks' outputs are
compared.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate
from timing import in_turn, median_ratio, medians, wait_for, write_result
from torch import Tensor, nn
from training_step_batches import (
    ACOUSTIC,
    ACOUSTIC_DIM,
    CLASSES,
    STEPS,
    VISUAL,
    VISUAL_DIM,
    VOCABULARY,
    Batch,
    Step,
)
from training_step_profile import shares_of_operators
from training_step_rivals import PaddedBert, bare_products

from memobert_plugin.models.memobert import MEmoBERTConfig, MEmoBERTModel
from memobert_plugin.nn import attention

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TOLERANCE = 1e-5

Network = Callable[[Step], Tensor]


def packed_output(model: MEmoBERTModel, step: Step) -> Tensor:
    """The head's output of this project's network."""
    batch = step.batch
    text, visual, acoustic = batch.lengths
    masked = {"visual_masked": step.masked_frames(VISUAL), "acoustic_masked": step.masked_frames(ACOUSTIC)}
    inputs = (batch.text, text, batch.visual, visual, batch.acoustic, acoustic)
    return model(*inputs, head=step.head, rows=step.rows, **masked)


def largest_difference(model: MEmoBERTModel, padded: PaddedBert, steps: list[Step]) -> float:
    """Largest difference of both networks' outputs without dropout."""
    model.eval()
    padded.eval()
    with torch.no_grad():
        found = [float((packed_output(model, step) - padded(step)).abs().max()) for step in steps]
    model.train()
    padded.train()
    return max(found)


def trained(network: Network, module: nn.Module, steps: list[Step], device: str) -> Callable[[], None]:
    """Forward and backward on the next step of ``steps`` at every call."""
    following = itertools.cycle(steps)

    def run() -> None:
        step = next(following)
        module.zero_grad(set_to_none=True)
        step.loss(network(step)).backward()
        wait_for(device)

    return run


def peak_mebibytes(run: Callable[[], None]) -> float:
    """Most memory that tensors take on the GPU during a step."""
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() / (1 << 20)


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Numbers of every step, by its name."""
    device, dtype = arguments.device, PRECISIONS[arguments.precision]
    if arguments.without_varlen:
        attention.varlen_kernel = lambda: None
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    config = MEmoBERTConfig(
        encoder_layers=arguments.layers,
        dropout=arguments.dropout,
        attention_dropout=arguments.dropout if arguments.attention_dropout is None else arguments.attention_dropout,
        compile_layers=arguments.compile_layers,
    )
    model = MEmoBERTModel.build(config, VOCABULARY, VISUAL_DIM, ACOUSTIC_DIM, CLASSES).to(device, dtype).train()
    padded = PaddedBert(model, config).to(device, dtype).train()
    batches = [Batch.drawn(arguments.batch_size, rng, device) for _ in range(arguments.batches)]
    results: dict[str, dict[str, float]] = {}
    for name in arguments.steps:
        steps = [Step.drawn(name, batch, rng) for batch in batches]
        products = itertools.cycle([bare_products(config, step, dtype) for step in steps])

        def multiply(products: itertools.cycle[Callable[[], None]] = products) -> None:
            next(products)()
            wait_for(device)

        candidates = {
            "packed": trained(lambda step: packed_output(model, step), model, steps, device),
            "padded": trained(padded, padded, steps, device),
            "products": multiply,
        }
        results[name] = {"largest_difference": largest_difference(model, padded, steps)}
        if arguments.profile:
            print(f"\n{name}: shares of the packed step's time\n{shares_of_operators(candidates['packed'], device)}")
            continue
        seconds = in_turn(candidates, arguments.rounds)
        for candidate, median in medians(seconds).items():
            results[name][f"{candidate}_seconds"] = median
        results[name]["utterances_per_second"] = arguments.batch_size / results[name]["packed_seconds"]
        results[name]["times_padded"] = median_ratio(seconds, "padded", "packed")
        results[name]["share_of_products"] = median_ratio(seconds, "products", "packed")
        if torch.device(device).type == "cuda":
            for candidate in ("packed", "padded"):
                results[name][f"{candidate}_peak_mib"] = peak_mebibytes(candidates[candidate])
    return results


def table(results: dict[str, dict[str, float]]) -> str:
    """The numbers to read."""
    columns = {
        "utterances_per_second": "utterances/s",
        "packed_seconds": "packed s",
        "padded_seconds": "padded s",
        "products_seconds": "products s",
        "times_padded": "x padded",
        "share_of_products": "of products' rate",
        "packed_peak_mib": "packed MiB",
        "padded_peak_mib": "padded MiB",
        "largest_difference": "largest difference",
    }
    shown = {key: title for key, title in columns.items() if any(key in row for row in results.values())}
    formats = {"largest_difference": ".1e", "utterances_per_second": ".1f", "times_padded": ".2f"}
    rows = [[name, *(format(row[key], formats.get(key, ".3f")) for key in shown)] for name, row in results.items()]
    return tabulate(rows, headers=["step", *shown.values()], disable_numparse=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=4, help="transformer layers (default 4; BERT-base has 12)")
    parser.add_argument("--batch-size", type=int, default=16, help="utterances (default 16)")
    parser.add_argument("--batches", type=int, default=4, help="different batches (default 4)")
    parser.add_argument("--rounds", type=int, default=8, help="measured rounds (default 8)")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS, help="which steps (default all)")
    parser.add_argument("--threads", type=int, help="computing threads (default: torch's choice)")
    parser.add_argument("--dropout", type=float, default=0.1, help="in all places (default 0.1)")
    parser.add_argument("--attention-dropout", type=float, help="of attention weights (default: as elsewhere)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of weights and activations")
    parser.add_argument("--compile-layers", action="store_true", help="the model's flag of this name, packed only")
    parser.add_argument("--without-varlen", action="store_true", help="pad for attention in half precision too")
    parser.add_argument("--profile", action="store_true", help="time per kind of operator instead of comparisons")
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    return parser.parse_args()


def main() -> None:
    """Print and write the numbers of the flags' steps."""
    logging.disable(logging.INFO)
    arguments = parse()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    results = measure(arguments)
    if not arguments.profile:
        print(table(results))
    settings = {key: value for key, value in vars(arguments).items() if key != "output"}
    write_result(arguments.output, "training_step", {"settings": settings, "steps": results})
    different = [name for name, row in results.items() if row["largest_difference"] > TOLERANCE]
    if arguments.precision == "fp32" and different:
        sys.exit(f"outputs differ by more than {TOLERANCE:g}: {', '.join(different)}")


if __name__ == "__main__":
    main()
