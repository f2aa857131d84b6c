"""Class weights, label smoothing and focal loss, against plain formulas; all are off by default and in validation."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from memobert_plugin.core.errors import UserError
from memobert_plugin.criterions.emotion import FinetuneCriterionConfig, LossConfig, TrainingLoss
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun

LOGITS = torch.randn(7, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TARGET = torch.tensor([0, 1, 2, 3, 0, 0, 1])
COUNTS = np.array([6, 3, 2, 1])


def loss_of(counts: np.ndarray = COUNTS, **flags: Any) -> float:
    task = SimpleNamespace(label_counts=lambda: counts)
    return float(TrainingLoss(FinetuneCriterionConfig(**flags), task)(LOGITS.log_softmax(1), TARGET))


def test_by_default_the_loss_is_cross_entropy() -> None:
    assert loss_of() == pytest.approx(float(functional.cross_entropy(LOGITS, TARGET, reduction="sum")))


def test_label_smoothing_is_torchs() -> None:
    expected = functional.cross_entropy(LOGITS, TARGET, reduction="sum", label_smoothing=0.1)
    assert loss_of(label_smoothing=0.1) == pytest.approx(float(expected))


def test_class_weights_are_inverse_frequencies_whose_mean_over_the_training_is_one() -> None:
    weights = torch.tensor([12 / (4 * count) for count in COUNTS], dtype=torch.float64)
    assert float((weights * torch.tensor(COUNTS)).sum()) == pytest.approx(12)
    expected = functional.cross_entropy(LOGITS, TARGET, weight=weights, reduction="sum")
    assert loss_of(class_weights="balanced") == pytest.approx(float(expected))


def test_emotions_that_no_training_utterance_has_do_not_change_the_weights_of_the_others() -> None:
    without = loss_of(counts=np.array([6, 3, 2, 1, 0, 0]), class_weights="balanced")
    assert without == pytest.approx(loss_of(class_weights="balanced"))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_focal_loss_has_a_gradient_where_an_answer_is_certain(gamma: float) -> None:
    logits = torch.tensor([[30.0, 0.0, 0.0]], requires_grad=True)
    TrainingLoss(LossConfig(focal_gamma=gamma), None)(logits.log_softmax(1), torch.tensor([0])).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_the_focal_loss_weighs_down_what_is_known() -> None:
    p = LOGITS.softmax(1)[torch.arange(7), TARGET]
    assert loss_of(focal_gamma=2.0) == pytest.approx(float((-((1 - p) ** 2) * p.log()).sum()))


@pytest.mark.parametrize(
    ("flags", "message"), [({"label_smoothing": 1.0}, "below 1"), ({"focal_gamma": -1}, "0 or more")]
)
def test_values_out_of_range_are_refused(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        loss_of(**flags)


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=4, utterances=13))


@pytest.mark.parametrize("task", ["memobert_prompt", "memobert_finetune"])
def test_training_changes_and_validation_stays_plain(data_bin: Path, task: str) -> None:
    flags = ("--fold", "1", "--lr", "1e-2")
    all_of_them = ("--class-weights", "balanced", "--label-smoothing", "0.1", "--focal-gamma", "1")
    plain, changed = TrainingRun(data_bin, task, *flags), TrainingRun(data_bin, task, *flags, *all_of_them)
    assert changed.validate()["loss"] == pytest.approx(plain.validate()["loss"])
    first, second = plain.train(1)[0], changed.train(1)[0]
    assert first["loss"] != pytest.approx(second["loss"])
    if task == "memobert_finetune":
        counts = changed.task.label_counts()
        assert counts.sum() == len(changed.task.dataset("train").rows)
