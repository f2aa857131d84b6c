"""Products of matrices by oneDNN are torch's own but for rounding, and only where they are meant to be."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from memobert_plugin.nn import linear as module
from memobert_plugin.nn.linear import VARIABLE, Linear, linear, onednn_is_quicker

WIDE = 500
"""Its square is more weights than the smallest layer that oneDNN multiplies."""

has_onednn = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")),
    reason="this torch has no oneDNN",
)


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    onednn_is_quicker.cache_clear()
    yield
    onednn_is_quicker.cache_clear()


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Ask for oneDNN, and return the shapes of what it multiplied."""
    made: list[tuple[int, ...]] = []
    multiply = module.onednn_product

    def noted(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
        made.append((*left.shape, len(right)))
        return multiply(left, right, bias)

    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setattr(module, "onednn_product", noted)
    return made


def gradients(made: Tensor, *leaves: Tensor) -> list[Tensor]:
    weights = torch.linspace(-1, 1, made.numel()).view(made.shape)
    return list(torch.autograd.grad((made * weights).sum(), leaves))


@has_onednn
@pytest.mark.parametrize("shape", [(7, WIDE), (1, WIDE), (2, 3, WIDE), (2, 0, WIDE)])
@pytest.mark.parametrize("biased", [True, False])
def test_outputs_and_gradients_are_torchs(
    products: list[tuple[int, ...]], shape: tuple[int, ...], biased: bool
) -> None:
    torch.manual_seed(1)
    leaves = [torch.randn(shape, requires_grad=True), torch.randn(600, WIDE, requires_grad=True)]
    leaves += [torch.randn(600, requires_grad=True)] if biased else []
    made, expected = linear(*leaves), functional.linear(*leaves)
    assert made.shape == expected.shape
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-4)
    for own, others in zip(gradients(made, *leaves), gradients(expected, *leaves), strict=True):
        torch.testing.assert_close(own, others, rtol=1e-5, atol=1e-4)
    assert len(products) == (0 if 0 in shape else 3)


@has_onednn
def test_frozen_weights_get_no_gradient(products: list[tuple[int, ...]]) -> None:
    frozen = Linear(WIDE, WIDE).requires_grad_(False)
    inputs = torch.randn(4, WIDE, requires_grad=True)
    frozen(inputs).sum().backward()
    assert frozen.weight.grad is None and frozen.bias.grad is None
    torch.testing.assert_close(inputs.grad, frozen.weight.sum(0).expand(4, -1), rtol=1e-5, atol=1e-4)
    assert products == [(4, WIDE, WIDE), (4, WIDE, WIDE)]


@has_onednn
def test_without_gradients_the_product_is_made_once(products: list[tuple[int, ...]]) -> None:
    layer, inputs = Linear(WIDE, WIDE), torch.randn(4, WIDE)
    with torch.inference_mode():
        torch.testing.assert_close(layer(inputs), nn.Linear.forward(layer, inputs), rtol=1e-5, atol=1e-4)
    assert products == [(4, WIDE, WIDE)]


@has_onednn
@pytest.mark.parametrize(
    ("inputs", "weight"),
    [
        pytest.param(torch.ones(4, 8), torch.ones(8, 8), id="small"),
        pytest.param(torch.ones(4, WIDE).bfloat16(), torch.ones(WIDE, WIDE).bfloat16(), id="half"),
        pytest.param(torch.ones(4, WIDE).double(), torch.ones(WIDE, WIDE).double(), id="double"),
        pytest.param(torch.ones(4, WIDE, device="meta"), torch.ones(WIDE, WIDE, device="meta"), id="meta"),
    ],
)
def test_other_numbers_are_left_to_torch(products: list[tuple[int, ...]], inputs: Tensor, weight: Tensor) -> None:
    assert linear(inputs, weight).dtype == inputs.dtype
    assert not products


@has_onednn
def test_lower_precision_and_exports_are_left_to_torch(products: list[tuple[int, ...]]) -> None:
    layer, inputs = Linear(WIDE, WIDE), torch.ones(4, WIDE)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(inputs).dtype == torch.bfloat16
    exported = torch.export.export(layer, (inputs,))
    assert not products
    assert "linear" in str(exported.graph)


@pytest.mark.parametrize(
    ("told", "family"),
    [
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\n\nvendor_id\t: x\n", 26),
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 97\n", 25),
        ("vendor_id\t: GenuineIntel\ncpu family\t: 26\n", 0),
        ("processor\t: 0\nBogoMIPS\t: 48.00\n", 0),
        ("AMD64 Family 26 Model 68 Stepping 0, AuthenticAMD", 26),
        ("Intel64 Family 6 Model 158 Stepping 10, GenuineIntel", 0),
    ],
)
def test_the_family_of_a_processor_is_read(monkeypatch: pytest.MonkeyPatch, told: str, family: int) -> None:
    monkeypatch.setattr(sys, "platform", "linux" if "\n" in told else "win32")
    monkeypatch.setattr(platform, "processor", lambda: told)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: told)
    assert module._amd_family() == family


@has_onednn
@pytest.mark.parametrize(
    ("family", "capability", "quicker"), [(26, "AVX512", True), (25, "AVX512", False), (26, "AVX2", False)]
)
def test_it_is_for_amd_from_zen_5_on(
    monkeypatch: pytest.MonkeyPatch, family: int, capability: str, quicker: bool
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(module, "_amd_family", lambda: family)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert onednn_is_quicker() is quicker


MANY_SHAPES = """
import torch
from memobert_plugin.nn.linear import linear

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

weight = torch.ones(500, 500)
with torch.inference_mode():
    linear(torch.ones(1500, 500), weight)
    before = resident()
    for rows in range(100, 1500):
        linear(torch.ones(rows, 500), weight)
print(resident() - before)
"""


@has_onednn
@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
def test_memory_does_not_grow_with_the_shapes_of_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(VARIABLE, "1")
    done = subprocess.run([sys.executable, "-c", MANY_SHAPES], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 300, "MiB; some 400 are kept where nothing limits them"


@has_onednn
@pytest.mark.parametrize("asked", ["0", "1"])
def test_a_variable_overrules_the_processor(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv(VARIABLE, asked)
    assert onednn_is_quicker() is (asked == "1")
