"""A training begins only from a checkpoint that fits it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.frames import ExtractorInfo
from memobert_plugin.tasks.starting_checkpoint import (
    refuse_no_checkpoint,
    refuse_other_frames,
    refuse_without_average,
)
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun


@pytest.mark.parametrize("flag", ["save_dir", "restore_file", "finetune_from_model"])
def test_an_average_is_not_begun_on_a_checkpoint_without_one(tmp_path: Path, flag: str) -> None:
    path = tmp_path / "checkpoint_last.pt"
    flags = {"save_dir": str(tmp_path / "new"), "restore_file": path.name, "finetune_from_model": None}
    flags[flag] = str(tmp_path if flag == "save_dir" else path)
    torch.save({"extra_state": {"ema": {}}}, path)
    refuse_without_average(OmegaConf.create(flags))
    torch.save({"extra_state": {}}, path)
    with pytest.raises(UserError, match=r"--store-ema: .*checkpoint_last.pt was saved without it"):
        refuse_without_average(OmegaConf.create(flags))


def test_a_training_does_not_start_from_a_folder_or_nothing(tmp_path: Path) -> None:
    flags = {"save_dir": str(tmp_path), "restore_file": "checkpoint_last.pt", "finetune_from_model": None}
    refuse_no_checkpoint(OmegaConf.create(flags))
    for start, message in ((tmp_path, "a folder; give the"), (tmp_path / "none.pt", "no such file; give the")):
        with pytest.raises(UserError, match=f"--finetune-from-model {start}: {message}"):
            refuse_no_checkpoint(OmegaConf.create({**flags, "finetune_from_model": str(start)}))
        with pytest.raises(UserError, match=f"--restore-file {start}: {message}"):
            refuse_no_checkpoint(OmegaConf.create({**flags, "restore_file": str(start)}))
    (tmp_path / "checkpoint_last.pt").touch()  # it goes on there
    refuse_no_checkpoint(OmegaConf.create({**flags, "finetune_from_model": str(tmp_path / "none.pt")}))
    refuse_no_checkpoint(OmegaConf.create({**flags, "restore_file": str(tmp_path / "checkpoint_last.pt")}))


def test_a_start_of_any_format_says_whether_its_voices_are_centered(tmp_path: Path) -> None:
    path = tmp_path / "start.pt"
    flags = {"save_dir": str(tmp_path), "restore_file": "checkpoint_last.pt", "finetune_from_model": str(path)}
    checkpoint, own = OmegaConf.create(flags), ExtractorInfo("made", speaker_mean=[0.0])
    for zipped in (True, False):
        origins = {"acoustic": own.to_dict()}
        torch.save({"task_state": {"origins": origins}}, path, _use_new_zipfile_serialization=zipped)
        refuse_other_frames(checkpoint, {"acoustic": own})
        with pytest.raises(UserError, match=r"start\.pt: it reads speech frames less their speaker's mean"):
            refuse_other_frames(checkpoint, {"acoustic": ExtractorInfo("made")})
    path.write_bytes(b"junk")
    with pytest.raises(UserError, match=r"start\.pt: is damaged"):
        refuse_other_frames(checkpoint, {"acoustic": own})


@pytest.mark.parametrize(
    ("task", "before", "after", "told"),
    [
        ("memobert_finetune", ("--fold", "1"), ("--fold", "2"), "--fold 1, not 2"),
        ("memobert_prompt", ("--fold", "1"), ("--fold", "1", "--folds", "groups:3"), "--folds speakers, not groups:3"),
        (
            "memobert_finetune",
            ("--fold", "1"),
            ("--fold", "1", "--protocol", "all_but_one"),
            "--protocol strict, not all_but_one",
        ),
        ("memobert_pretraining", ("--exclude-speakers", "spk0"), (), "--exclude-speakers spk0, not nothing"),
    ],
)
def test_a_training_does_not_go_on_with_other_speakers(
    tmp_path: Path, task: str, before: tuple[str, ...], after: tuple[str, ...], told: str
) -> None:
    data_bin = make_data_bin(tmp_path / "corpus", CorpusShape(speakers=3, utterances=4))
    folder = ("--save-dir", str(tmp_path))
    first = TrainingRun(data_bin, task, *folder, *before)
    first.train(1)
    first.save(tmp_path / "checkpoint_last.pt")
    TrainingRun(data_bin, task, *folder, *before)
    TrainingRun(data_bin, task, *folder, *after, "--reset-optimizer")
    with pytest.raises(SystemExit, match=f"checkpoint_last.pt: it was trained with {told}, .* or another --save-dir"):
        TrainingRun(data_bin, task, *folder, *after)
