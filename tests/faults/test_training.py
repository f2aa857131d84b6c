"""Training after a kill or on a full disk: it never begins anew without a word, and goes on to the same parameters."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from memobert_plugin.checkpoints import last_checkpoint
from tests.data_bins import CorpusShape, make_data_bin
from tests.faults.disks import SmallDisk
from tests.host import Finished, load_safely, run_commands, training_flags

pytestmark = pytest.mark.slow

LAST, EARLIER = "checkpoint_last.pt", "checkpoint_1_4.pt"
DAMAGES: Mapping[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "garbage": lambda content: bytes(range(256)) * 40,
    "written twice": lambda content: content[:3000] + content,
}


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=4, utterances=30))


def train(folder: Path, data_bin: Path, save_dirs: Mapping[str, Path], updates: int = 8) -> dict[str, Finished]:
    """``fairseq-train`` as typed, once for each folder of checkpoints."""
    flags = ("--save-interval-updates", "4", "--max-update", str(updates), "--no-epoch-checkpoints")
    command = ["fairseq-train", *training_flags(data_bin, "memobert_pretraining", *flags)]
    return run_commands(folder, {name: [*command, "--save-dir", str(path)] for name, path in save_dirs.items()})


def test_a_damaged_last_checkpoint_ends_plain_training_and_is_settled_by_hand(data_bin: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    train(tmp_path / "first", data_bin, {"whole": whole}, updates=12)
    expected = load_safely(whole / LAST)["model"]
    folders = {name: tmp_path / name for name in DAMAGES}
    for name, folder in folders.items():
        folder.mkdir()
        shutil.copy(whole / EARLIER, folder)
        (folder / LAST).write_bytes(DAMAGES[name]((whole / LAST).read_bytes()))
    before = {name: (folder / LAST).read_bytes() for name, folder in folders.items()}
    for name, run in train(tmp_path / "second", data_bin, folders, updates=12).items():
        assert run.status != 0 and "Traceback" not in run.log, run.log
        last_line = run.log.rstrip().splitlines()[-1]
        assert f"{folders[name] / LAST}: damaged" in last_line and "checkpoints.last_checkpoint" in last_line
        assert "begin training epoch" not in run.log, name
        assert (folders[name] / LAST).read_bytes() == before[name]
        assert last_checkpoint.main([str(folders[name])]) == 0
    for name, run in train(tmp_path / "third", data_bin, folders, updates=12).items():
        assert run.status == 0 and "(epoch 1 @ 4 updates)" in run.log, run.log
        found = load_safely(folders[name] / LAST)["model"]
        assert all(torch.equal(found[key], value) for key, value in expected.items()), name


def test_training_does_not_begin_from_zero_beside_checkpoints_of_its_own(data_bin: Path, tmp_path: Path) -> None:
    train(tmp_path / "first", data_bin, {"run": tmp_path / "run"})
    (tmp_path / "run" / LAST).unlink()
    run = train(tmp_path / "second", data_bin, {"run": tmp_path / "run"})["run"]
    assert run.status != 0 and "Traceback" not in run.log
    assert "would begin from zero" in run.log.rstrip().splitlines()[-1]


@pytest.mark.parametrize("room", [0.5, 1.5], ids=["for no checkpoint", "for one checkpoint and a half"])
def test_training_on_a_full_disk_goes_on_when_there_is_room(data_bin: Path, tmp_path: Path, room: float) -> None:
    train(tmp_path / "quiet", data_bin, {"run": tmp_path / "whole"})
    expected = load_safely(tmp_path / "whole" / LAST)["model"]
    disk = SmallDisk(tmp_path / "disk", round(room * (tmp_path / "whole" / LAST).stat().st_size) >> 10)
    try:
        run = train(tmp_path / "full", data_bin, {"run": disk.path / "run"})["run"]
        last_line = run.log.rstrip().splitlines()[-1]
        assert run.status != 0 and last_line == (
            f"memobert: error: {disk.path / 'run'}: cannot be written (No space left on device); "
            "make room and start the same command again"
        )
        disk.enlarge()
        assert last_checkpoint.main([str(disk.path / "run")]) == 0
        run = train(tmp_path / "enlarged", data_bin, {"run": disk.path / "run"})["run"]
        assert run.status == 0, run.log
        assert ("(epoch 1 @ 4 updates)" in run.log) == (room > 1)
        found = load_safely(disk.path / "run" / LAST)["model"]
        assert all(torch.equal(found[key], value) for key, value in expected.items())
    finally:
        disk.remove()
