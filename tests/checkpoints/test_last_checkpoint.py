"""Training goes on from the newest whole checkpoint, whatever a kill has left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from memobert_plugin.checkpoints.last_checkpoint import is_whole, main, settle_last_checkpoint
from memobert_plugin.core.errors import UserError


def save(path: Path, updates: int) -> None:
    weights = {"weight": torch.full((500,), float(updates))}
    history = [{"num_updates": updates}]
    torch.save({"optimizer_history": history, "last_optimizer_state": {}, "model": weights}, path)


def truncate(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def settle(folder: Path) -> tuple[int | None, list[str]]:
    said: list[str] = []
    return settle_last_checkpoint(folder, said.append), said


def test_a_whole_last_checkpoint_stays(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint_last.pt", 7)
    assert settle(tmp_path) == (7, [])


def test_nothing_there_is_a_beginning(tmp_path: Path) -> None:
    assert settle(tmp_path / "missing") == (None, [])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_one_is_replaced_by_the_newest_whole_one(tmp_path: Path, share: float) -> None:
    save(tmp_path / "checkpoint_best.pt", 4)
    save(tmp_path / "checkpoint_1_6.pt", 6)
    save(tmp_path / "checkpoint_last.pt", 8)
    truncate(tmp_path / "checkpoint_last.pt", share)
    updates, said = settle(tmp_path)
    assert updates == 6 and len(said) == 2 and "checkpoint_1_6.pt (6 updates)" in said[1]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"checkpoint_best.pt", "checkpoint_1_6.pt", "checkpoint_last.pt", "checkpoint_last.pt.damaged"}


def test_a_missing_last_one_is_noticed_where_there_are_others(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint_best.pt", 4)
    updates, said = settle(tmp_path)
    assert updates == 4 and "copy of checkpoint_best.pt" in said[0]


def test_a_damaged_best_one_is_moved_aside_and_nothing_whole_is_said(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint_best.pt", 4)
    truncate(tmp_path / "checkpoint_best.pt", 0.5)
    (tmp_path / "checkpoint_last.pt.tmp").touch()
    updates, said = settle(tmp_path)
    assert updates is None and "training starts from zero" in said[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_best.pt.damaged"]


def test_changed_bytes_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_last.pt"
    save(path, 3)
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((1,), 3.0).numpy().tobytes()) + 100] ^= 1
    path.write_bytes(content)
    assert not is_whole(path)


def test_a_second_try_behind_the_rest_of_a_first_one_is_noticed(tmp_path: Path) -> None:
    """What the host writes where a disk was full for some seconds; zip files may have anything in front."""
    path = tmp_path / "checkpoint_last.pt"
    save(path, 3)
    path.write_bytes(path.read_bytes()[:2000] + path.read_bytes())
    assert not is_whole(path)


def test_an_archive_of_something_else_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_last.pt"
    torch.save({"weights": torch.ones(3)}, path)
    with pytest.raises(UserError, match=r"checkpoint_last\.pt: not a fairseq checkpoint"):
        settle(tmp_path)
    assert path.is_file()


def test_by_hand_it_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    save(tmp_path / "checkpoint_1_6.pt", 6)
    save(tmp_path / "checkpoint_last.pt", 8)
    truncate(tmp_path / "checkpoint_last.pt", 0.5)
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "no checkpoint: training starts from zero",
        "checkpoint_last.pt is damaged, probably written when the process was killed; now checkpoint_last.pt.damaged",
        "checkpoint_last.pt is now a copy of checkpoint_1_6.pt (6 updates), the newest whole checkpoint",
        "checkpoint_last.pt: whole, 6 updates",
    ]


def test_by_hand_a_folder_of_damaged_ones_is_a_failure(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint_last.pt", 8)
    truncate(tmp_path / "checkpoint_last.pt", 0.5)
    assert main([str(tmp_path)]) == 1
    assert main([str(tmp_path)]) == 1
