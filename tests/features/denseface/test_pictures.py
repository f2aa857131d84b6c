"""Packed pictures: votes to labels, and files that are something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.features.denseface.pictures import PICTURES_FILE, ExpressionPictures
from tests.ferplus_files import drawn_pictures


def with_votes(*votes: list[int]) -> ExpressionPictures:
    count = len(votes)
    return ExpressionPictures(
        np.zeros((count, 4, 4), np.uint8), np.array(votes, np.uint8), np.zeros(count, dtype=np.uint8)
    )


CLEAR, TIE, UNKNOWN, NOBODY = (
    [1, 0, 5, 0, 0, 0, 2, 0, 2, 0],
    [4, 4, 0, 0, 0, 0, 0, 0, 2, 0],
    [0, 0, 0, 0, 0, 0, 0, 3, 7, 0],
    [0, 0, 0, 0, 0, 0, 0, 0, 9, 1],
)


def test_a_distribution_is_over_the_votes_for_an_expression() -> None:
    clear, tie, unknown, nobody = with_votes(CLEAR, TIE, UNKNOWN, NOBODY).distributions()
    np.testing.assert_allclose(clear, [1 / 8, 0, 5 / 8, 0, 0, 0, 2 / 8, 0])
    np.testing.assert_allclose(tie, [0.5, 0.5, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(unknown, [0, 0, 0, 0, 0, 0, 0, 1])
    assert np.isnan(nobody).all()


def test_a_majority_is_unique_among_the_expressions() -> None:
    assert with_votes(CLEAR, TIE, UNKNOWN, NOBODY).majorities().tolist() == [2, -1, 7, -1]


def test_a_split_leaves_out_pictures_nobody_saw_an_expression_in() -> None:
    assert with_votes(CLEAR, NOBODY, TIE).of_split("train").votes.tolist() == [CLEAR, TIE]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    drawn = drawn_pictures(3, 2, 1)
    drawn.write(tmp_path / "new" / "folder")
    read = ExpressionPictures.read(tmp_path / "new" / "folder")
    for name in ("images", "votes", "split"):
        np.testing.assert_array_equal(getattr(read, name), getattr(drawn, name))


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{PICTURES_FILE}: there is no such file"):
        ExpressionPictures.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"text"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / PICTURES_FILE).write_bytes(content)
    with pytest.raises(UserError, match=rf"{PICTURES_FILE}: not a file of pictures with votes"):
        ExpressionPictures.read(tmp_path)


def test_objects_inside_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / PICTURES_FILE, images=np.array([object()]), votes=np.zeros(1), split=np.zeros(1))
    with pytest.raises(UserError, match="not a file of pictures with votes"):
        ExpressionPictures.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"images": np.zeros((2, 4, 4))}, "images is float64 with 3 dimensions"),
        ({"votes": np.zeros((2, 8), np.uint8)}, "do not fit together"),
        ({"split": np.zeros(3, np.uint8)}, "do not fit together"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path: Path, change: dict[str, np.ndarray], complaint: str) -> None:
    good = with_votes(CLEAR, TIE)
    arrays = {"images": good.images, "votes": good.votes, "split": good.split, **change}
    np.savez(tmp_path / PICTURES_FILE, **arrays)
    with pytest.raises(UserError, match=complaint):
        ExpressionPictures.read(tmp_path)
