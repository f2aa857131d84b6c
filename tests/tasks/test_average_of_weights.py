"""``--store-ema`` with every task: fairseq averages all of a model's state that it finds."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from fairseq.logging import metrics

from memobert_plugin.checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from memobert_plugin.nn.network import STORED_FINGERPRINT
from tests.data_bins import CorpusShape, make_data_bin
from tests.ferplus_files import drawn_pictures
from tests.host import SMALLEST_MODEL, TrainingRun, load_safely, training_flags
from tests.tasks.test_facial_expression import FaceTraining

EMA = ("--store-ema", "--ema-decay", "0.75")
TASKS = {
    "pretraining": ("memobert_pretraining",),
    "prompt": ("memobert_prompt", "--fold", "1"),
    "finetune": ("memobert_finetune", "--fold", "1"),
}


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=3, utterances=10))


def faces(folder: Path, *flags: str) -> TrainingRun:
    drawn_pictures(32, 16, seed=5).write(folder)
    return FaceTraining(folder, *flags)


class ComparatorTraining(TrainingRun):
    """A comparator in place of the small MEmoBERT."""

    def __init__(self, data_bin: Path, *more: str) -> None:
        metrics.reset()
        flags = training_flags(data_bin, "memobert_finetune", "--arch", "memobert_early_fusion", "--fold", "1", *more)
        own = flags.index(SMALLEST_MODEL[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fairseq's own, about hydra
            self._set_up(flags[:own] + flags[own + len(SMALLEST_MODEL) :])


def assert_averages(run: TrainingRun) -> None:
    """Follow two updates: each average is 0.75 of the one before and 0.25 of the new value."""
    expected = {name: value.double() for name, value in run.trainer.ema.get_model().state_dict().items()}
    for _ in range(2):
        run.train(1)
        for name, value in run.model.state_dict().items():
            if name != STORED_FINGERPRINT:
                expected[name] = 0.75 * expected[name] + 0.25 * value.double()
    averages = run.trainer.ema.get_model().state_dict()
    assert averages.keys() == expected.keys()
    for name, value in averages.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_trains_with_an_average_of_its_weights(data_bin: Path, task: str) -> None:
    name, *flags = TASKS[task]
    assert_averages(TrainingRun(data_bin, name, *flags, *EMA))


def test_a_comparator_trains_with_an_average_of_its_weights(data_bin: Path) -> None:
    assert_averages(ComparatorTraining(data_bin, *EMA))


def test_the_face_encoder_trains_with_an_average_of_its_weights(tmp_path: Path) -> None:
    assert_averages(faces(tmp_path, *EMA))


@pytest.mark.parametrize(
    "precision",
    [(), ("--ema-fp32",), ("--memory-efficient-fp16", "--ema-fp32"), ("--ema-fp32", "--layer-norm-eps", "1e-5")],
)
def test_checkpoints_with_an_average_resume_and_know_their_dictionary(
    data_bin: Path, tmp_path: Path, precision: tuple[str, ...]
) -> None:
    run = TrainingRun(data_bin, "memobert_prompt", "--fold", "1", *EMA, *precision)
    run.train(2)
    path = run.save(tmp_path / "checkpoint.pt")
    fingerprint = int(run.model.dictionary_fingerprint)
    saved = load_safely(path)
    assert int(saved["extra_state"]["ema"][STORED_FINGERPRINT]) == fingerprint != 0
    assert int(read_fairseq_checkpoint(path).weights["dictionary_fingerprint"]) == fingerprint

    again = TrainingRun(data_bin, "memobert_prompt", "--fold", "1", *EMA, *precision)
    again.trainer.load_checkpoint(str(path))
    for name, value in again.trainer.ema.get_model().state_dict().items():
        assert torch.equal(value, saved["extra_state"]["ema"][name]), name
    again.train(1)
