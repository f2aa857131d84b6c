"""NaN in the gradients: the update is left out, its objective and utterances are named, too many in a row end it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from fairseq.logging import metrics
from torch import Tensor

from memobert_plugin.data.corpus import Corpus
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=3, utterances=12))


def spoil(run: TrainingRun, updates: Iterable[int], value: float = float("nan")) -> None:
    """Let the gradients of these calls of the backward pass hold ``value``."""
    bad, count = set(updates), iter(range(10**6))

    def hook(gradient: Tensor) -> Tensor:
        return gradient * value if next(count) in bad else gradient

    run.model.pooler.weight.register_hook(hook)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("flags", [(), ("--clip-norm", "0")])
def test_a_bad_update_changes_nothing_and_training_goes_on(
    data_bin: Path, value: float, flags: tuple[str, ...]
) -> None:
    run = TrainingRun(data_bin, "memobert_finetune", *flags)
    spoil(run, [2], value)
    run.train(2)
    before = run.parameters()
    run.train(1)
    assert all(torch.equal(parameter, before[name]) for name, parameter in run.parameters().items())
    run.train(2)
    assert run.trainer.get_num_updates() == 5
    assert any(not torch.equal(parameter, before[name]) for name, parameter in run.parameters().items())
    assert all(torch.isfinite(parameter).all() for parameter in run.parameters().values())


@pytest.mark.parametrize("task", ["memobert_pretraining", "memobert_finetune", "memobert_prompt"])
def test_the_warning_names_objective_loss_and_utterances(
    data_bin: Path, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = TrainingRun(data_bin, task, "--batch-size", "4", "--update-freq", "2")
    with torch.no_grad():
        run.model.text_embedder.norm.weight[0] = float("nan")
    with caplog.at_level(logging.WARNING):
        run.train(1)
    messages = [record.getMessage() for record in caplog.records if "is left out" in record.getMessage()]
    assert len(messages) == 2
    corpus = Corpus(data_bin)
    known = set(corpus.utterance_ids(range(len(corpus))))
    for message in messages:
        assert "update 0 is left out (1 in a row)" in message and "loss nan" in message
        objectives = ("wwmlm", "mvfr", "mvfc", "mafr") if task == "memobert_pretraining" else (task,)
        assert any(f" in {name} of " in message for name in objectives)
        named = message.rpartition(" of ")[2].split(", ")
        assert named and set(named) <= known
    assert metrics.get_smoothed_values("train_inner")["skipped_updates"] == 1


def test_only_the_batch_with_the_bad_loss_is_named(data_bin: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = TrainingRun(data_bin, "memobert_finetune", "--batch-size", "4", "--update-freq", "3")
    calls = iter(range(100))
    run.model.pooler.register_forward_hook(
        lambda _module, _inputs, output: output * float("nan") if next(calls) == 1 else output
    )
    with caplog.at_level(logging.WARNING):
        run.train(1)
    assert sum("is left out" in record.getMessage() for record in caplog.records) == 1


def test_a_stated_number_in_a_row_ends_the_training_in_one_line(data_bin: Path) -> None:
    run = TrainingRun(data_bin, "memobert_finetune", "--max-nonfinite-updates", "3")
    spoil(run, [0, 1, 3, 4, 5])
    run.train(5)
    with pytest.raises(SystemExit, match=r"3 updates in a row had NaN or infinite gradients.*--max-nonfinite-updates"):
        run.train(1)


def test_half_precision_leaves_overflows_to_the_loss_scale(data_bin: Path) -> None:
    run = TrainingRun(data_bin, "memobert_finetune", "--memory-efficient-fp16", "--fp16-init-scale", "4")
    run.train(1)
    assert not run.trainer.optimizer.wrapped_optimizer.skips_nonfinite


def test_another_optimizer_keeps_fairseqs_behaviour(data_bin: Path, tmp_path: Path) -> None:
    run = TrainingRun(data_bin, "memobert_finetune", "--optimizer", "adam", "--save-dir", str(tmp_path))
    spoil(run, [0])
    with pytest.raises(FloatingPointError):
        run.train(1)
