"""Prompted training that keeps to the answers of the network it starts from (--keep-pretrained)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils
from torch import Tensor
from torch.nn import functional

from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun

FOLD = ("--fold", "1")
WORDS = [("--mask-words", "vocabulary"), ("--mask-words", "labels")]


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=3, utterances=10))


@pytest.fixture(scope="module")
def pretrained(data_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = TrainingRun(data_bin, "memobert_pretraining", "--lr", "1e-2")
    run.train(5)
    return run.save(tmp_path_factory.mktemp("pretrained") / "start.pt")


def prompted(data_bin: Path, start: Path, *flags: str) -> TrainingRun:
    """A prompted training with the weights of ``start``, as fairseq-train loads them."""
    run = TrainingRun(data_bin, "memobert_prompt", *FOLD, "--finetune-from-model", str(start), *flags)
    run.config.checkpoint.save_dir = str(start.parent / "new")
    _, run._epoch = checkpoint_utils.load_checkpoint(run.config.checkpoint, run.trainer)
    return run


def batch_of(run: TrainingRun) -> dict[str, Any]:
    train = run.task.datasets["train"]
    return train.collater(list(range(8)))


def answers(run: TrainingRun, model: Any, batch: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        scores, _ = run.criterion._scores(model.eval(), batch, 0)
    return scores.log_softmax(dim=-1)


@pytest.mark.parametrize("words", WORDS)
def test_the_loss_is_the_share_of_cross_entropy_and_of_the_distance(
    data_bin: Path, pretrained: Path, words: tuple[str, str]
) -> None:
    run = prompted(data_bin, pretrained, "--keep-pretrained", "0.3", "--lr", "1e-2", *words)
    before = answers(run, run.model, batch_of(run))
    torch.testing.assert_close(answers(run, run.task.teacher, batch_of(run)), before)
    run.train(4)
    batch = batch_of(run)
    now = answers(run, run.model, batch)
    assert (now - before).abs().max() > 0.01
    torch.testing.assert_close(answers(run, run.task.teacher, batch), before)
    run.model.eval()
    plain = run.criterion.eval().decide(run.model, batch).loss
    run.criterion.train()
    both = run.criterion.decide(run.model, batch).loss
    distance = functional.kl_div(now, before, reduction="sum", log_target=True)
    assert both.item() == pytest.approx(0.7 * plain.item() + 0.3 * distance.item(), abs=1e-4)


def test_the_more_is_kept_the_nearer_the_answers_stay(data_bin: Path, pretrained: Path) -> None:
    moved = []
    for share in ("0", "0.5", "0.95"):
        run = prompted(data_bin, pretrained, "--keep-pretrained", share, "--lr", "1e-2", "--dropout", "0")
        before = answers(run, run.model, batch_of(run))
        run.train(15)
        moved.append(functional.kl_div(answers(run, run.model, batch_of(run)), before, log_target=True).item())
    assert moved[0] > moved[1] > moved[2]


def test_a_resumed_training_keeps_to_the_same_network(data_bin: Path, pretrained: Path, tmp_path: Path) -> None:
    flags = ("--keep-pretrained", "0.5", "--lr", "1e-2", "--dropout", "0")
    whole = prompted(data_bin, pretrained, *flags)
    whole.train(3)
    whole.save(tmp_path / "checkpoint_last.pt")
    resumed = prompted(data_bin, pretrained, *flags)
    resumed.trainer.load_checkpoint(str(tmp_path / "checkpoint_last.pt"))
    batch = batch_of(whole)
    torch.testing.assert_close(answers(resumed, resumed.task.teacher, batch), answers(whole, whole.task.teacher, batch))
    losses = [run.criterion.train().decide(run.model.eval(), batch).loss.item() for run in (whole, resumed)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--keep-pretrained", "0.5"), "--keep-pretrained: this training starts from nothing"),
        (("--keep-pretrained", "1"), "--keep-pretrained 1: give a share from 0 to below 1"),
    ],
)
def test_a_share_of_nothing_is_refused(data_bin: Path, flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        TrainingRun(data_bin, "memobert_prompt", *FOLD, *flags)


def test_a_start_that_is_no_checkpoint_is_refused(data_bin: Path, tmp_path: Path) -> None:
    torch.save({"weights": {}}, tmp_path / "other.pt")
    for start, message in (("other.pt", "other.pt: holds no model"), ("", "a folder; give the checkpoint_best.pt")):
        flags = ("--keep-pretrained", "0.5", "--finetune-from-model", str(tmp_path / start))
        with pytest.raises(SystemExit, match=message):
            TrainingRun(data_bin, "memobert_prompt", *FOLD, *flags)


def test_a_trained_model_needs_no_network_to_keep(data_bin: Path, pretrained: Path, tmp_path: Path) -> None:
    run = prompted(data_bin, pretrained, "--keep-pretrained", "0.5")
    run.train(1)
    path = run.save(tmp_path / "checkpoint.pt")
    [model], _, task = checkpoint_utils.load_model_ensemble_and_task([str(path)])
    assert task.teacher is None and set(model.state_dict()) == set(run.parameters())
