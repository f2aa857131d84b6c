"""Trainings typed by hand: each has its folder, and none goes on from a damaged checkpoint or begins again unasked."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from fairseq.checkpoint_utils import load_model_ensemble_and_task

from memobert_plugin.checkpoints import last_checkpoint
from memobert_plugin.checkpoints.last_checkpoint import LAST
from memobert_plugin.core.errors import UserError
from memobert_plugin.core.signals import STOP_MARK_VARIABLE
from memobert_plugin.tasks.save_folder import SaveFolderConfig, check_save_folder
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun


def config(folder: Path, restore_file: str = LAST, no_save: bool = False, no_last: bool = False) -> SaveFolderConfig:
    return SaveFolderConfig(
        save_dir=str(folder),
        restore_file=restore_file,
        reset_optimizer=False,
        no_save=no_save,
        no_last_checkpoints=no_last,
        save_interval_updates=0,
        validate_interval_updates=0,
        disable_validation=False,
    )


def save(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    torch.save({"model": torch.zeros(4)}, path)


def _train(folder: Path, connection: Connection) -> None:
    check_save_folder(config(folder))
    connection.send("training")
    connection.recv()


def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    other = context.Process(target=_train, args=(tmp_path, there))
    other.start()
    assert here.recv() == "training"
    with pytest.raises(UserError, match=rf"process {other.pid} of .* is training there; give this training another"):
        check_save_folder(config(tmp_path))
    check_save_folder(config(tmp_path, no_save=True))
    other.kill()
    other.join()
    check_save_folder(config(tmp_path))
    check_save_folder(config(tmp_path))


def test_a_checkpoint_is_tested_while_its_training_goes_on(tmp_path: Path) -> None:
    data_bin = make_data_bin(tmp_path / "corpus", CorpusShape(speakers=3, utterances=4))
    run = TrainingRun(data_bin, "memobert_finetune", "--fold", "1")
    run.train(1)
    for part in (run.config.checkpoint, run.config.task):
        part.no_save, part.save_dir = False, str(tmp_path)
    checkpoint = run.save(tmp_path / LAST)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    training = context.Process(target=_train, args=(checkpoint.parent, there))
    training.start()
    assert here.recv() == "training"
    try:
        [model], _, _ = load_model_ensemble_and_task([str(checkpoint)])
    finally:
        training.kill()
        training.join()
    assert model.state_dict().keys() == run.parameters().keys()


def test_a_process_forked_off_a_training_does_not_keep_its_folder(tmp_path: Path) -> None:
    """Workers that load batches live some seconds longer than a training that is killed."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    other = context.Process(target=_train_with_worker, args=(tmp_path, there, here))
    other.start()
    assert here.recv() == "training"
    other.kill()
    other.join()
    check_save_folder(config(tmp_path))
    here.close()


def _train_with_worker(folder: Path, connection: Connection, end: Connection) -> None:
    end.close()  # the worker waits until the test closes its own
    check_save_folder(config(folder))
    multiprocessing.get_context("fork").Process(target=connection.recv).start()
    connection.send("training")
    connection.recv()


def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path: Path) -> None:
    save(tmp_path / LAST)
    check_save_folder(config(tmp_path))
    content = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=rf"{LAST}: damaged.*checkpoints.last_checkpoint {tmp_path}"):
        check_save_folder(config(tmp_path))
    with pytest.raises(UserError, match=r"damaged.*give another --restore-file"):
        check_save_folder(config(tmp_path / "elsewhere", restore_file=str(tmp_path / LAST)))


def test_a_checkpoint_without_the_optimiser_is_not_begun_again_from_update_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {"model": torch.zeros(4), "optimizer_history": [{"num_updates": 7}]}
    torch.save(content, tmp_path / LAST)
    with pytest.raises(UserError, match=r"begin again at update 0; delete the folder's checkpoints"):
        check_save_folder(config(tmp_path))
    check_save_folder(replace(config(tmp_path), reset_optimizer=True))
    assert last_checkpoint.main([str(tmp_path)]) == 0
    assert "training cannot go on from it" in capsys.readouterr().out
    check_save_folder(config(tmp_path / "elsewhere", restore_file=str(tmp_path / LAST)))
    torch.save({**content, "last_optimizer_state": {"state": {}}}, tmp_path / LAST)
    check_save_folder(config(tmp_path))


def test_training_does_not_restart_where_only_the_last_checkpoint_is_missing(tmp_path: Path) -> None:
    check_save_folder(config(tmp_path))
    save(tmp_path / "checkpoint_1_4.pt")
    with pytest.raises(UserError, match=r"there is checkpoint_1_4.pt, but no checkpoint_last.pt"):
        check_save_folder(config(tmp_path))
    check_save_folder(config(tmp_path, no_last=True))
    check_save_folder(config(tmp_path, restore_file="elsewhere.pt"))


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    check_save_folder(config(tmp_path / "checkpoints"))
    assert not (tmp_path / "checkpoints").exists()


def test_runs_of_a_launcher_are_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STOP_MARK_VARIABLE, str(tmp_path / "mark"))
    (tmp_path / LAST).write_bytes(b"damaged")
    check_save_folder(config(tmp_path))
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize(
    ("validated", "saved", "warns"), [(20, 0, True), (20, 50, True), (20, 20, False), (0, 0, False)]
)
def test_validations_that_can_choose_nothing_are_named(
    validated: int, saved: int, warns: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """fairseq chooses the best checkpoint among those that it saves."""
    values = replace(config(tmp_path), validate_interval_updates=validated, save_interval_updates=saved)
    with caplog.at_level("WARNING"):
        check_save_folder(values)
    assert ("cannot choose checkpoint_best; give --save-interval-updates 20 too" in caplog.text) == warns
