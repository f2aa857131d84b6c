"""Networks without memory, and what must not be imported for them."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from memobert_plugin.nn.skeleton import parameters_unmade
from tests.host import ROOT

BUILDS = """
import sys
from torch import nn
from memobert_plugin.nn.skeleton import parameters_unmade
with parameters_unmade():
    nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.LayerNorm(4))
    nn.init.kaiming_normal_(nn.Linear(4, 4).weight)
    nn.init.xavier_uniform_(nn.Linear(4, 4).weight)
print([name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules])
"""


def test_parameters_have_shapes_and_no_memory() -> None:
    before = torch.random.get_rng_state()
    with parameters_unmade():
        network = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == {
        "0.weight": (5, 4),
        "1.weight": (3, 4),
        "1.bias": (3,),
    }
    assert all(parameter.is_meta for parameter in network.parameters())
    assert torch.equal(before, torch.random.get_rng_state())
    assert not nn.Linear(2, 2).weight.is_meta


def test_torchs_compiler_is_not_imported() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", BUILDS], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert finished.stdout.strip() == "[]"
