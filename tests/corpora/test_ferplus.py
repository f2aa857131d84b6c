"""FER+ in its publishers' two files becomes one packed file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.corpora import ferplus
from memobert_plugin.corpora.__main__ import main
from memobert_plugin.corpora.ferplus import FACES, PICTURES_CSV, VOTES_CSV, read_ferplus
from memobert_plugin.features.denseface.pictures import VOTE_COLUMNS, ExpressionPictures
from tests.ferplus_files import drawn_pictures, write_published


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus as published, but of a few pictures, and a reader that expects so many."""
    monkeypatch.setattr(ferplus, "ROWS", {"train": 7, "valid": 4, "test": 3})
    monkeypatch.setattr(ferplus, "FACES", {"train": 5, "valid": 3, "test": 2})
    return write_published(tmp_path / "published", drawn_pictures(5, 3, 2), removed=(2, 1, 1))


def edit(path: Path, line: int, old: str, new: str) -> None:
    lines = path.read_text().splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path.write_text("\n".join(lines) + "\n")


def test_pictures_votes_and_splits_come_through_without_the_removed(small: Path) -> None:
    drawn, found = drawn_pictures(5, 3, 2), read_ferplus(small)
    assert found.other_counts == []
    np.testing.assert_array_equal(found.pictures.images, drawn.images)
    np.testing.assert_array_equal(found.pictures.votes, drawn.votes)
    assert found.pictures.split.tolist() == [0] * 5 + [1] * 3 + [2] * 2


def test_the_command_packs_them(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ferplus", str(small), "--output", str(tmp_path / "packed")]) == 0
    assert "train 5, valid 3, test 2 faces, 0 of them without a unique majority" in capsys.readouterr().out
    np.testing.assert_array_equal(ExpressionPictures.read(tmp_path / "packed").images, drawn_pictures(5, 3, 2).images)


def test_other_counts_are_refused_by_name_unless_allowed(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_published(small, drawn_pictures(4, 3, 2), removed=(2, 1, 1))
    command = ["ferplus", str(small), "--output", str(tmp_path / "packed")]
    with pytest.raises(UserError, match=r"rows of train 6 instead of 7; faces in train 4 instead of 5"):
        main(command)
    assert not (tmp_path / "packed").exists()
    assert main([*command, "--allow-other-counts"]) == 0
    assert "faces in train 4 instead of 5" in capsys.readouterr().out


def test_a_test_part_that_is_missing_as_a_whole_is_accepted(small: Path) -> None:
    write_published(small, drawn_pictures(5, 3), removed=(2, 1, 0))
    assert read_ferplus(small).other_counts == []


def test_columns_are_found_by_name_in_any_order(small: Path) -> None:
    path = small / VOTES_CSV
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join(reversed(line)) for line in lines) + "\n")
    np.testing.assert_array_equal(read_ferplus(small).pictures.votes, drawn_pictures(5, 3, 2).votes)


@pytest.mark.parametrize(
    ("file", "line", "old", "new", "complaint"),
    [
        (PICTURES_CSV, 1, "pixels", "image", r"fer2013.csv, row 1: no column pixels"),
        (VOTES_CSV, 1, "contempt", "scorn", r"fer2013new.csv, row 1: no column contempt"),
        (VOTES_CSV, 2, "Training", "PublicTest", r"fer2013new.csv, row 2: Usage is 'PublicTest', in fer2013.csv 'Tr"),
        (PICTURES_CSV, 4, ",", ",999 ", r"fer2013.csv, row 4: pixels are not 2304 numbers from 0 to 255"),
        (VOTES_CSV, 4, ".png,", ".png,-1", r"fer2013new.csv, row 4: votes are"),
    ],
)
def test_a_damaged_file_is_refused_by_row(
    small: Path, file: str, line: int, old: str, new: str, complaint: str
) -> None:
    edit(small / file, line, old, new)
    with pytest.raises(UserError, match=complaint):
        read_ferplus(small)


def test_files_of_different_lengths_are_refused(small: Path) -> None:
    path = small / VOTES_CSV
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(UserError, match=r"fer2013new.csv: ends before row 15, fer2013.csv does not"):
        read_ferplus(small)


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"fer2013.csv: cannot be read \(No such file or directory\); put fer2013.csv and fer2013new.csv there",
    ):
        read_ferplus(tmp_path)


@pytest.mark.slow
def test_the_real_pictures_have_the_counts_it_must_find(real_data: Path, tmp_path: Path) -> None:
    with np.load(real_data / "ferplus_train_valid.npz", allow_pickle=False) as archive:
        assert tuple(archive["vote_columns"]) == VOTE_COLUMNS
        real = ExpressionPictures(archive["images"], archive["votes"].astype(np.uint8), archive["split"])
    found = read_ferplus(write_published(tmp_path, real, removed=(151, 10, 0)))
    assert found.other_counts == []
    np.testing.assert_array_equal(found.pictures.images, real.images)
    assert [int((found.pictures.split == number).sum()) for number in range(2)] == [FACES["train"], FACES["valid"]]
