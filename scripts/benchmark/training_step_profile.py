"""Where a training step's time goes, by kind of operator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import torch
from tabulate import tabulate
from torch.profiler import ProfilerActivity, profile

KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "matmul", "linear"),
    "attention, fused": ("flash_attention", "efficient_attention", "attention_for_cpu", "cudnn_attention"),
    "layer normalisation": ("layer_norm",),
    "GELU": ("gelu",),
    "softmax and losses": ("softmax", "nll_loss", "mse_loss", "kl_div", "cross_entropy", "log_softmax", "xlogy"),
    "dropout": ("dropout", "bernoulli"),
    "copies and gathers": ("copy_", "cat", "index", "split", "clone", "contiguous", "embedding", "to_copy", "stack"),
    "zeros, as gradients of tables begin": ("zero_", "zeros", "fill_", "empty", "new_zeros", "zeros_like"),
    "sums, products, element by element": ("add", "mul", "div", "sub", "sum", "neg", "scale", "exp", "pow"),
}
REPETITIONS = 3


def kind_of(operator: str) -> str:
    """The first kind one of whose names the operator's contains."""
    name = operator.removeprefix("aten::")
    for kind, parts in KINDS.items():
        if any(part in name for part in parts):
            return kind
    return "the rest"


def shares_of_operators(run: Callable[[], None], device: str) -> str:
    """A table of kinds, the largest first: milliseconds per step and share of the step.

    On a CPU "outside operators" is what the interpreter and autograd's bookkeeping take beside them.
    """
    cuda = torch.device(device).type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    run()
    with profile(activities=activities) as profiled:
        for _ in range(REPETITIONS):
            run()
    milliseconds: defaultdict[str, float] = defaultdict(float)
    for event in profiled.key_averages():
        own = event.self_device_time_total if cuda else event.self_cpu_time_total
        milliseconds[kind_of(event.key) if event.key.startswith("aten::") or cuda else "outside operators"] += own / 1e3
    whole = sum(milliseconds.values())
    rows = [
        [kind, total / REPETITIONS, 100.0 * total / whole]
        for kind, total in sorted(milliseconds.items(), key=lambda item: -item[1])
    ]
    return tabulate(rows, headers=["", "ms", "%"], floatfmt=(".0f", ".1f", ".1f"))
