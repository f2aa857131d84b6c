"""Training on faces with votes: what is learned from, what is counted, and that a resumed run is the same run."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.logging import metrics
from sklearn.metrics import accuracy_score, f1_score

from memobert_plugin.checkpoints.official_denseface import import_denseface
from memobert_plugin.checkpoints.starting_point import write_starting_point
from memobert_plugin.features.denseface.pictures import ExpressionPictures
from tests.ferplus_files import drawn_pictures
from tests.host import USER_DIR, TrainingRun, load_safely, run_commands
from tests.reference import dense_net as reference

TASK = "memobert_facial_expression"
TIE = [3, 0, 3, 0, 2, 0, 0, 0, 2, 0]


def flags(data: Path, *more: str) -> list[str]:
    return [
        str(data), "--user-dir", str(USER_DIR), "--task", TASK, "--criterion", TASK, "--arch", "memobert_denseface",
        "--input-size", "16", "--optimizer", "nag", "--momentum", "0.9", "--lr", "0.05", "--lr-scheduler", "fixed",
        "--batch-size", "16", "--cpu", "--num-workers", "0", "--seed", "3", *more,
    ]  # fmt: skip


class FaceTraining(TrainingRun):
    """The same with this task's flags."""

    def __init__(self, data: Path, *more: str) -> None:
        metrics.reset()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fairseq's own, about its use of hydra
            self._set_up(flags(data, *more))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 and 30 pictures; of the latter, two lack a majority."""
    folder, drawn = tmp_path_factory.mktemp("faces"), drawn_pictures(96, 30, seed=5)
    drawn.votes[[0, 96, 97]] = TIE
    drawn.write(folder)
    return folder


def test_it_learns_and_counts_pictures_with_a_majority_only(faces: Path) -> None:
    run = FaceTraining(faces, "--no-flip", "--max-rotation", "0", "--max-shift", "0.01")
    before = run.validate()
    run.train(20)
    run.model.eval()
    after = run.validate()
    assert after["loss"] < before["loss"] - 0.2
    valid = ExpressionPictures.read(faces).of_split("valid")
    sample = run.task.dataset("valid").collater(range(30))
    with torch.no_grad():
        predicted = run.model(**sample["net_input"])[1].argmax(dim=1).numpy()
    counted = valid.majorities() >= 0
    assert counted.sum() == 28
    truth, predicted = valid.majorities()[counted], predicted[counted]
    assert after["wa"] == pytest.approx(100 * accuracy_score(truth, predicted))
    assert after["macro_f1"] == pytest.approx(100 * f1_score(truth, predicted, average="macro"))


def test_the_loss_is_the_cross_entropy_with_the_votes(faces: Path) -> None:
    run = FaceTraining(faces)
    run.model.eval()
    logged = run.validate()
    sample = run.task.dataset("valid").collater(range(30))
    with torch.no_grad():
        logarithms = run.model(**sample["net_input"])[1].double().log_softmax(dim=1).numpy()
    expressions = ExpressionPictures.read(faces).of_split("valid").votes[:, :8].astype(float)
    expected = -(expressions / expressions.sum(axis=1, keepdims=True) * logarithms).sum(axis=1).mean()
    assert logged["loss"] == pytest.approx(expected, abs=1e-4)


def test_the_training_pictures_grey_levels_travel_with_the_weights(faces: Path, tmp_path: Path) -> None:
    run = FaceTraining(faces)
    run.train(1)
    saved = load_safely(run.save(tmp_path / "checkpoint.pt"))
    images = ExpressionPictures.read(faces).of_split("train").images
    for name, value in (("grey_mean", images.mean()), ("grey_std", images.std())):
        assert saved["model"][f"network.{name}"].item() == pytest.approx(value)
    assert saved["task_state"]["grey_levels"] == pytest.approx([images.mean(), images.std()])


def test_majority_targets_are_one_expression_and_leave_out_ties_in_training(faces: Path) -> None:
    run = FaceTraining(faces, "--targets", "majority")
    training = run.task.dataset("train")
    assert len(training) == 95
    np.testing.assert_array_equal(training.targets.argmax(axis=1), training.majorities)
    assert set(training.targets.ravel().tolist()) == {0.0, 1.0}
    run.task.load_dataset("valid")
    assert len(run.task.dataset("valid")) == 30


def test_only_training_pictures_are_augmented(faces: Path) -> None:
    run = FaceTraining(faces, "--input-size", "48")
    run.task.load_dataset("valid")
    valid = ExpressionPictures.read(faces).of_split("valid")
    shown = run.task.dataset("valid").collater([5])["net_input"]["pictures"][0].numpy()
    np.testing.assert_array_equal(shown, valid.images[5])
    train = ExpressionPictures.read(faces).of_split("train")
    moved = run.task.dataset("train").collater([5])["net_input"]["pictures"][0].numpy()
    assert np.abs(moved - train.images[5]).mean() > 5


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--input-size", "20"], "--input-size 20: give a multiple of 8"),
        (["--max-shift", "1.5"], "--max-shift 1.5: give a share of the side, 0 to 0.5"),
        (["--max-rotation", "-3"], "--max-rotation -3.0: give degrees, 0 to 180"),
    ],
)
def test_unusable_flags_end_in_one_line(faces: Path, more: list[str], complaint: str) -> None:
    with pytest.raises(SystemExit, match=complaint):
        FaceTraining(faces, *more)


def test_a_subset_without_pictures_ends_in_one_line(faces: Path) -> None:
    with pytest.raises(SystemExit, match="has no picture of the subset 'test'"):
        FaceTraining(faces).validate("test")


def test_training_starts_from_an_imported_denseface_with_its_grey_levels(faces: Path, tmp_path: Path) -> None:
    imported = import_denseface(Path("authors.pt"), reference.random_parameters(2), 64.0, 43.0)
    write_starting_point(tmp_path / "start.pt", imported.weights, {"_name": "memobert_denseface"})
    run = FaceTraining(faces, "--finetune-from-model", str(tmp_path / "start.pt"), "--save-dir", str(tmp_path / "new"))
    checkpoint_utils.load_checkpoint(run.config.checkpoint, run.trainer)
    for name, value in run.parameters().items():
        assert torch.equal(value, imported.weights[name]), name
    assert run.parameters()["network.grey_mean"] == 64.0


@pytest.mark.slow
def test_a_run_stopped_inside_an_epoch_and_resumed_is_the_same_run(faces: Path, tmp_path: Path) -> None:
    def train(name: str, updates: int, *more: str) -> list[str]:
        return [
            "fairseq-train", *flags(faces, "--save-dir", str(tmp_path / name), "--no-epoch-checkpoints", *more),
            "--max-update", str(updates), "--log-format", "json",
        ]  # fmt: skip

    checkpoint = str(tmp_path / "whole" / "checkpoint_last.pt")
    validate = [
        "fairseq-validate", str(faces), "--user-dir", str(USER_DIR), "--task", TASK, "--path", checkpoint,
        "--batch-size", "7", "--log-format", "json", "--cpu",
    ]  # fmt: skip
    finished = run_commands(
        tmp_path / "logs",
        {"whole": train("whole", 10), "half": train("half", 4)},
        {"resumed": train("half", 10), "workers": train("workers", 10, "--num-workers", "2")},
        {"validated": validate},
    )
    assert {name: one.status for name, one in finished.items()} == dict.fromkeys(finished, 0), finished
    whole = load_safely(tmp_path / "whole" / "checkpoint_last.pt")["model"]
    for other in ("half", "workers"):
        model = load_safely(tmp_path / other / "checkpoint_last.pt")["model"]
        assert all(torch.equal(model[name], value) for name, value in whole.items()), other
    assert "| wa " in finished["validated"].log or '"valid_wa"' in finished["validated"].log
