"""DenseFace's network is the published one: its parameters, their names, and what it computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from memobert_plugin.nn.densenet import DenseNet, FoldedDenseNet
from tests.reference import dense_net as reference

MEAN, STD = 129.5, 64.25


@pytest.fixture(scope="module")
def network() -> DenseNet:
    network = DenseNet(MEAN, STD)
    network.load_state_dict({**network.state_dict(), **reference.random_parameters(1)})
    return network.eval()


def grey(pictures: int, size: int = 64) -> Tensor:
    return torch.randint(256, (pictures, size, size), generator=torch.Generator().manual_seed(pictures)).float()


def test_it_has_the_published_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in DenseNet().parameters()) == 768_044


def test_its_tensors_have_the_authors_names_and_shapes() -> None:
    shapes = {name: tuple(value.shape) for name, value in DenseNet().state_dict().items()}
    assert shapes.pop("grey_mean") == shapes.pop("grey_std") == ()
    assert shapes == reference.names_and_shapes()


def test_it_computes_what_the_plain_network_computes(network: DenseNet) -> None:
    pictures = grey(3)
    with torch.no_grad():
        features, logits = network(pictures)
    for picture, feature, logit in zip(pictures, features, logits, strict=True):
        normalised = (picture.double() - MEAN) / STD
        expected_feature, expected_logits = reference.denseface(reference.random_parameters(1), normalised)
        torch.testing.assert_close(feature.double(), expected_feature, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logit.double(), expected_logits, atol=1e-4, rtol=1e-4)


def test_features_are_not_negative_and_342_wide(network: DenseNet) -> None:
    with torch.no_grad():
        features, logits = network(grey(2))
    assert features.shape == (2, 342)
    assert logits.shape == (2, 8)
    assert features.min() >= 0
    assert features.max() > 0


@pytest.mark.parametrize("size", [32, 48])
def test_smaller_pictures_give_the_same_shapes(network: DenseNet, size: int) -> None:
    with torch.no_grad():
        features, logits = network(grey(2, size))
    assert (features.shape, logits.shape) == ((2, 342), (2, 8))


def test_every_parameter_has_a_gradient_in_its_own_memory_layout() -> None:
    network = DenseNet(MEAN, STD)
    network(grey(2, 32))[1].sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.is_contiguous(), f"{name}: the host flattens gradients with view(-1)"


@pytest.mark.parametrize(("pictures", "size"), [(3, 64), (1, 32), (17, 48)])
def test_the_folded_network_equals_the_trained_one(network: DenseNet, pictures: int, size: int) -> None:
    with torch.no_grad():
        expected, folded = network(grey(pictures, size)), FoldedDenseNet(network)(grey(pictures, size))
    torch.testing.assert_close(folded, expected, atol=1e-5, rtol=1e-5)
    assert folded[0].min() >= 0


def test_the_folded_network_takes_gains_of_any_sign() -> None:
    network = DenseNet(MEAN, STD)
    network.load_state_dict({**network.state_dict(), **reference.random_parameters(1)})
    draws = torch.Generator().manual_seed(2)
    for module in network.eval().modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            signs = torch.randint(-1, 2, module.weight.shape, generator=draws)
            module.weight.data *= signs
    folded = FoldedDenseNet(network)
    with torch.no_grad():
        for count in (5, 2):  # the second in memory that the first has left
            torch.testing.assert_close(folded(grey(count)), network(grey(count)), atol=1e-5, rtol=1e-5)
