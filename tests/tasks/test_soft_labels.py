"""Training on the shares of annotators' votes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from memobert_plugin.comparators.mmin import MminCriterionConfig
from memobert_plugin.criterions.emotion import LossConfig, TrainingLoss
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun

FLAGS = ("--fold", "1", "--batch-size", "6", "--labels", "anger,happy,neutral,sad", "--soft-labels")


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=3, utterances=12, votes=True))


@pytest.mark.parametrize("task", ["memobert_prompt", "memobert_finetune"])
def test_a_training_batch_has_the_shares_of_its_votes_and_others_have_none(data_bin: Path, task: str) -> None:
    run = TrainingRun(data_bin, task, *FLAGS)
    (losses,) = run.train(1)
    assert losses["loss"] > 0
    run.task.load_dataset("valid")
    train, valid = run.task.datasets["train"], run.task.datasets["valid"]
    batch = train.collater([train[index] for index in range(12)])
    shares, target = batch["target_shares"], batch["target"]
    voted = shares.sum(dim=1) > 0
    assert 0 < int(voted.sum()) < 12
    torch.testing.assert_close(
        shares[voted].gather(1, target[voted][:, None])[:, 0], torch.full((int(voted.sum()),), 2 / 3)
    )
    torch.testing.assert_close(shares[voted].sum(dim=1), torch.ones(int(voted.sum())))
    assert "target_shares" not in valid.collater([valid[0]])


def test_the_loss_is_the_cross_entropy_with_the_shares_or_with_the_emotion() -> None:
    scores = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).log_softmax(dim=1)
    target = torch.tensor([0, 2, 3])
    shares = torch.tensor([[2 / 3, 1 / 3, 0, 0], [0.0, 0, 0, 0], [0, 0, 0.5, 0.5]])
    expected = -(2 / 3 * scores[0, 0] + 1 / 3 * scores[0, 1]) - scores[1, 2] - (scores[2, 2] + scores[2, 3]) / 2
    torch.testing.assert_close(TrainingLoss(LossConfig(), None)(scores, target, shares), expected)


def test_votes_for_emotions_that_are_left_out_do_not_count(data_bin: Path) -> None:
    run = TrainingRun(data_bin, "memobert_finetune", *FLAGS[:4], "--labels", "anger,happy", "--soft-labels")
    run.train(1)
    train = run.task.datasets["train"]
    shares = train.collater([train[index] for index in range(len(train))])["target_shares"]
    sums = shares.sum(dim=1)
    assert bool(((sums - 1).abs().lt(1e-6) | (sums == 0)).all())
    assert {round(float(value), 3) for value in shares.flatten()} <= {0.0, 0.333, 0.667, 1.0}


def test_a_data_bin_without_votes_and_losses_of_their_own_are_refused(tmp_path: Path, data_bin: Path) -> None:
    plain = make_data_bin(tmp_path / "plain", CorpusShape(speakers=3, utterances=6))
    with pytest.raises(SystemExit, match="has no votes; give its manifest the column votes"):
        TrainingRun(plain, "memobert_finetune", *FLAGS)
    mmin = OmegaConf.structured(MminCriterionConfig(_name="memobert_mmin"))
    with pytest.raises(SystemExit, match="--soft-labels: the loss of --criterion memobert_mmin is its own"):
        TrainingRun(data_bin, "memobert_finetune", *FLAGS).task.build_criterion(mmin)
