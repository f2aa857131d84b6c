"""Each objective is a sum over its loss elements and their number, so that any split into batches gives its mean."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fairseq.logging import metrics
from torch import Tensor, nn
from torch.nn import functional

from memobert_plugin.criterions.pretraining import MEmoBERTPretrainingCriterion
from memobert_plugin.nn.heads import upcast
from tests.objectives.paper import OBJECTIVES, objectives_of

TARGETS, OUT = 10, 6


def objective_loss(objective: str, output: Tensor, target: Tensor) -> tuple[Tensor, int]:
    return objectives_of()[objective].loss(upcast(output), target)


def output_and_target(objective: str, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    output = torch.randn(TARGETS, OUT, generator=generator, dtype=torch.float64).to(dtype)
    if objective == "wwmlm":
        return output, torch.randint(OUT, (TARGETS,), generator=generator)
    target = torch.randn(TARGETS, OUT, generator=generator, dtype=torch.float64)
    return output, (target.softmax(dim=-1) if objective == "mvfc" else target).to(torch.float16)


def expected_mean(objective: str) -> float:
    output, target = output_and_target(objective)
    if objective == "wwmlm":
        return float(functional.cross_entropy(output, target))
    target = target.double()
    if objective == "mvfc":
        return float((target * (target.log() - output.log_softmax(dim=-1))).mean())
    return float((output - target).square().mean())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_quotient_is_the_mean_over_elements(objective: str) -> None:
    loss, count = objective_loss(objective, *output_and_target(objective))
    assert count == (TARGETS if objective == "wwmlm" else TARGETS * OUT)
    assert float(loss / count) == pytest.approx(expected_mean(objective), rel=1e-9)
    assert loss.dtype == torch.float64


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(objective: str, dtype: torch.dtype) -> None:
    loss, count = objective_loss(objective, *output_and_target(objective, dtype))
    assert loss.dtype == torch.float32
    assert float(loss / count) == pytest.approx(expected_mean(objective), rel=0.03)
    large = torch.full((TARGETS, OUT), 300.0, dtype=torch.float16)
    assert torch.isfinite(objective_loss("mvfr", large, -large)[0])


def test_a_distribution_with_zeros_has_a_finite_divergence() -> None:
    target = torch.zeros(2, OUT, dtype=torch.float16)
    target[:, 0] = 1
    loss, _ = objective_loss("mvfc", torch.zeros(2, OUT), target)
    assert float(loss) == pytest.approx(2 * np.log(OUT), rel=1e-6)


class Fixed(nn.Module):
    """Stands for a model that has this output."""

    def forward(self, output: Tensor) -> Tensor:
        return output

    def standardized(self, modality: str, frames: Tensor) -> Tensor:
        return frames


def step(objective: str, rows: slice, training: bool = False) -> tuple[Tensor, int, dict[str, Any]]:
    output, target = (values[rows] for values in output_and_target(objective))
    sample = {"objective": objective, "target": target, "net_input": {"output": output}, "ntokens": 4, "nsentences": 1}
    return MEmoBERTPretrainingCriterion(SimpleNamespace(objectives=objectives_of()))(Fixed().train(training), sample)


def logged_of(outputs: list[dict[str, Any]]) -> dict[str, float]:
    with metrics.aggregate(new_root=True) as logged:
        for output in outputs:
            MEmoBERTPretrainingCriterion.reduce_metrics([output])
    return dict(logged.get_smoothed_values())


def test_losses_perplexity_and_accuracy_do_not_depend_on_the_batches() -> None:
    whole = [step(objective, slice(None))[2] for objective in OBJECTIVES]
    parts = [
        step(objective, rows)[2] for objective in OBJECTIVES for rows in (slice(0, 3), slice(3, 9), slice(9, None))
    ]
    assert logged_of(parts) == pytest.approx(logged_of(whole), abs=1e-4)
    for objective in OBJECTIVES:
        assert logged_of(whole)[f"{objective}_loss"] == pytest.approx(expected_mean(objective), abs=1e-5)
    assert logged_of(whole)["wwmlm_ppl"] == pytest.approx(np.exp(expected_mean("wwmlm")), rel=1e-4)
    output, target = output_and_target("wwmlm")
    assert logged_of(whole)["wwmlm_accuracy"] == pytest.approx(100 * (output.argmax(-1) == target).double().mean())


def test_an_objective_that_was_not_evaluated_is_not_logged() -> None:
    assert set(logged_of([step("mvfr", slice(None))[2]])) == {"mvfr_loss"}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_logging_outputs_of_every_objective_have_the_same_names(objective: str) -> None:
    """fairseq adds them up over ranks by name."""
    names = {
        "loss", "ntokens", "nsentences", "sample_size",
        *(f"{name}_{kind}" for name in OBJECTIVES for kind in ("loss", "count")),
    }  # fmt: skip
    assert set(step(objective, slice(None), training=True)[2]) == names
    assert set(step(objective, slice(None))[2]) == {*names, "wwmlm_accuracy"}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_target_is_a_loss_of_zero_over_no_element(objective: str) -> None:
    loss, count, logged = step(objective, slice(0, 0))
    assert (float(loss), count, logged["sample_size"]) == (0.0, 0, 0)
    assert logged_of([logged]) == {}
