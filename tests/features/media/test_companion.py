"""Finding what another tool wrote about a film."""

from __future__ import annotations

from pathlib import Path

import pytest

from memobert_plugin.core.errors import DefectiveClip
from memobert_plugin.features.media.companion import companion_file


def test_a_file_is_about_every_film(tmp_path: Path) -> None:
    assert companion_file(tmp_path / "any.tsv", Path("films/a.mp4"), ".csv") == tmp_path / "any.tsv"


def test_the_longest_agreeing_path_wins(tmp_path: Path) -> None:
    for name in ("a.csv", "train/a.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert companion_file(tmp_path, Path("/films/train/a.mp4"), ".csv") == tmp_path / "train" / "a.csv"
    assert companion_file(tmp_path, Path("/films/dev/a.mp4"), ".csv") == tmp_path / "a.csv"
    assert companion_file(tmp_path, Path("a.b.mp4").with_name("a.avi"), ".csv") == tmp_path / "a.csv"


def test_a_film_without_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefectiveClip, match=r"b\.mp4: .* has no b\.csv"):
        companion_file(tmp_path, Path("b.mp4"), ".csv")


def test_suffixes_are_compared_without_case(tmp_path: Path) -> None:
    (tmp_path / "HARBOUR.CSV").touch()
    assert companion_file(tmp_path, Path("/films/HARBOUR.MP4"), ".csv") == tmp_path / "HARBOUR.CSV"
