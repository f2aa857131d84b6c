"""Compiled layers: the same numbers and parameter names for batches of any size."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor

from memobert_plugin.nn import transformer as cross_modality_transformer
from memobert_plugin.nn.attention import AttentionPlan
from memobert_plugin.nn.packing import PackedLayout
from memobert_plugin.nn.transformer import CrossModalityTransformer, TransformerLayer

CPU = torch.device("cpu")
WIDTH, LAYERS = 12, 2


def encoder(compiled: bool, checkpoint_activations: bool = False) -> CrossModalityTransformer:
    torch.manual_seed(0)
    return CrossModalityTransformer(LAYERS, WIDTH, 20, 3, 0.0, 0.0, checkpoint_activations, compiled).double()


def results(network: CrossModalityTransformer, utterances: int) -> list[Tensor]:
    """Output at each utterance's first row, and all gradients."""
    lengths = np.random.default_rng(utterances).integers(1, 5, (3, utterances))
    layout = PackedLayout.from_lengths(*lengths)
    generator = torch.Generator().manual_seed(utterances)
    hidden = torch.randn(int(lengths.sum()), WIDTH, generator=generator, dtype=torch.float64)
    plan = AttentionPlan.for_all(layout, CPU)
    network.zero_grad()
    output = network(hidden, plan, plan.for_queries(layout, layout.starts, CPU))
    output.square().sum().backward()
    return [output, *(gradient for parameter in network.parameters() if (gradient := parameter.grad) is not None)]


@pytest.mark.slow  # the compiler takes a minute
@pytest.mark.parametrize("checkpoint_activations", [False, True])
def test_compiled_layers_give_the_same_numbers_for_batches_of_any_size(checkpoint_activations: bool) -> None:
    plain, compiled = encoder(False), encoder(True, checkpoint_activations)
    for utterances in (3, 1, 5):
        torch.testing.assert_close(results(compiled, utterances), results(plain, utterances), rtol=1e-9, atol=1e-9)


@pytest.fixture
def compiled_calls() -> Iterator[list[TransformerLayer]]:
    """Layers that asked for the compiled function, which stays uncompiled here."""
    calls: list[TransformerLayer] = []

    def take(function: Callable[..., Tensor], *, dynamic: bool) -> Callable[..., Tensor]:
        assert dynamic, "every batch has another number of rows"

        def called(layer: TransformerLayer, *rows: Tensor) -> Tensor:
            calls.append(layer)
            return function(layer, *rows)

        return called

    cross_modality_transformer._compiled_rest.cache_clear()
    with patch("torch.compile", take):
        yield calls
    cross_modality_transformer._compiled_rest.cache_clear()


def test_only_a_compiled_encoder_uses_the_compiler(compiled_calls: list[TransformerLayer]) -> None:
    expected = results(encoder(False), 3)
    assert not compiled_calls
    network = encoder(True)
    torch.testing.assert_close(results(network, 3), expected, rtol=0.0, atol=0.0)
    assert compiled_calls == list(network.layers)


def test_a_compiled_encoder_has_the_same_parameters(compiled_calls: list[TransformerLayer]) -> None:
    network = encoder(True)
    results(network, 3)
    assert list(network.state_dict()) == list(encoder(False).state_dict())
    encoder(False).load_state_dict(network.state_dict())


def test_a_copy_of_a_compiled_encoder_runs_on_its_own_parameters(compiled_calls: list[TransformerLayer]) -> None:
    network = encoder(True)
    results(network, 3)
    double = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in double.parameters():
            parameter.zero_()
    assert not results(double, 3)[0].any()
    assert results(network, 3)[0].any()
