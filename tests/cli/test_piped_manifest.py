from __future__ import annotations

import io
from pathlib import Path

import pytest

from memobert_plugin.cli.piped_manifest import piped_manifest
from memobert_plugin.data.manifest import read_manifest


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("id\tvideo\na\ta.mp4\n\n\nb\tb.mp4\n", [2, 5]),
        ("\nid,video\n\na,a.mp4\nb,b.mp4\n", [4, 5]),
        ('id,text,video\na,"two\nlines",a.mp4\nb,one,b.mp4\n', [3, 4]),
        ('{"id": "a", "video": "a.mp4"}\n\n{"id": "b", "video": "b.mp4"}\n', [1, 3]),
        ('[{"id": "a", "video": "a.mp4"},\n\n{"id": "b", "video": "b.mp4"}]\n', [1, 2]),
    ],
)
def test_rows_keep_the_numbers_that_they_were_given_with(
    content: str, lines: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    rows = list(read_manifest(piped_manifest(Path("-"))))
    assert [(row.id, row.line) for row in rows] == list(zip("ab", lines, strict=True))
    assert [row.video for row in rows] == [str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")]
