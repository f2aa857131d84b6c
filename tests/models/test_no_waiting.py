"""A training step never reads a tensor's values on the CPU: with an accelerator it would wait for the device."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from memobert_plugin.criterions.emotion import MEmoBERTFinetuneCriterion, MEmoBERTPromptCriterion
from memobert_plugin.criterions.pretraining import MEmoBERTPretrainingCriterion
from memobert_plugin.models.memobert import MEmoBERTModel, MEmoBERTTinyConfig
from tests.criterions.prompts import ONE_PROMPT
from tests.objectives.paper import objectives_of

VOCABULARY, VISUAL_DIM, ACOUSTIC_DIM, CLASSES, LABELS = 50, 6, 5, 8, 3
LENGTHS = np.array([[6, 4, 9], [3, 0, 5], [7, 2, 0]])
STEPS = ("wwmlm", "mvfr", "mvfc", "mafr", "prompt", "classify")
READING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "is_nonzero")
"""Operators whose result, or its shape, depends on values."""


def _listed(arguments: tuple[Any, ...]) -> list[Any]:
    """An indexing operator's indices, which come second and as a list."""
    return arguments[1] if len(arguments) > 1 and isinstance(arguments[1], list) else []


def _is_mask(index: object) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


class NoReading(TorchDispatchMode):
    """Fails on any operator that has to wait for values."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        masks = name.strip("_").startswith("index") and any(map(_is_mask, _listed(args)))
        assert name not in READING and not masks, f"{name} reads a tensor on the CPU"
        return function(*args, **(kwargs or {}))


def build(device: str, checkpoint_activations: bool = False) -> MEmoBERTModel:
    config = MEmoBERTTinyConfig(checkpoint_activations=checkpoint_activations)
    sizes = (VOCABULARY, VISUAL_DIM, ACOUSTIC_DIM, CLASSES, LABELS)
    return MEmoBERTModel.build(config, *sizes).to(device).train()


def prepared(step: str, device: str) -> tuple[nn.Module, dict[str, Any]]:
    """The criterion of a step, and a batch of three utterances, two of which lack a modality, on the device."""
    text, visual, acoustic = LENGTHS
    inputs: dict[str, Any] = {
        "text": torch.randint(VOCABULARY, (text.sum(),)).to(device),
        "text_lengths": text,
        "visual": torch.randn(visual.sum(), VISUAL_DIM).half().to(device),
        "visual_lengths": visual,
        "acoustic": torch.randn(acoustic.sum(), ACOUSTIC_DIM).half().to(device),
        "acoustic_lengths": acoustic,
    }
    starts = np.cumsum(text) - text
    sample: dict[str, Any] = {"ntokens": int(LENGTHS.sum()), "nsentences": len(text), "net_input": inputs}
    if step == "classify":
        target = torch.tensor([0, 2, 1]).to(device)
        return MEmoBERTFinetuneCriterion(SimpleNamespace()), {**sample, "first_rows": starts, "target": target}
    if step == "prompt":
        task = SimpleNamespace(
            mask_words="vocabulary", **ONE_PROMPT, label_words=[[7], [9, 11], [13]], symbols=["x"] * VOCABULARY
        )
        target = torch.tensor([0, 2, 1]).to(device)
        return MEmoBERTPromptCriterion(task), {**sample, "mask_rows": starts + 1, "target": target}
    rows = np.array([1, 2, 4])
    targets = {
        "wwmlm": torch.tensor([5, 6, 7]),
        "mvfr": torch.randn(3, VISUAL_DIM).half(),
        "mvfc": torch.full((3, CLASSES), 1 / CLASSES).half(),
        "mafr": torch.randn(3, ACOUSTIC_DIM).half(),
    }
    modality = {"mvfr": "visual", "mvfc": "visual", "mafr": "acoustic"}.get(step)
    if modality is not None:
        inputs[f"{modality}_masked"] = torch.from_numpy(rows).to(device)
    inputs.update(head=step, rows=rows)
    return MEmoBERTPretrainingCriterion(SimpleNamespace(objectives=objectives_of())), {
        **sample, "objective": step, "target": targets[step].to(device)
    }  # fmt: skip


@pytest.mark.parametrize("checkpoint_activations", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_forward_loss_and_backward_use_no_operator_that_reads(step: str, checkpoint_activations: bool) -> None:
    model = build("cpu", checkpoint_activations)
    criterion, sample = prepared(step, "cpu")
    with NoReading():
        loss, _, _ = criterion(model, sample)
        loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("step", STEPS)
def test_a_step_runs_on_a_device_whose_tensors_have_no_values(step: str) -> None:
    """The path of an accelerator; the meta device knows shapes only, so reading a value fails."""
    model = build("meta")
    criterion, sample = prepared(step, "meta")
    loss, _, _ = criterion(model, sample)
    loss.backward()
    assert loss.device.type == "meta"


@pytest.mark.parametrize(
    "read", [lambda values: values.sum().item(), lambda values: values.nonzero(), lambda values: values[values > 0]]
)
def test_the_guard_sees_readings(read: Callable[[Tensor], object]) -> None:
    with NoReading(), pytest.raises(AssertionError, match="reads a tensor on the CPU"):
        read(torch.ones(3))
