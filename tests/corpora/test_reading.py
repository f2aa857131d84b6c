"""Publishers' files are found and read whatever stands beside or in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.corpora.reading import Reading, files_below, one_line, read_text
from memobert_plugin.data.manifest import ManifestRow


def test_files_come_shallow_first_without_what_a_system_adds(tmp_path: Path) -> None:
    for name in ("b/c/x.WAV", "b/y.wav", "z.wav", "z.txt", "._z.wav", "__MACOSX/w.wav", "b/.v.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "folder.wav").mkdir()
    names = [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path, {".wav"})]
    assert names == ["z.wav", "b/y.wav", "b/c/x.WAV"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_is_read_in_any_of_the_publishers_encodings(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(f"It’s a café.{end}Yes.{end}".encode(encoding))
    assert read_text(path) == "It’s a café.\nYes.\n"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.txt: cannot be read \(No such file or directory\)"):
        read_text(tmp_path / "nowhere.txt")


def test_one_line_comes_out_of_any_text() -> None:
    assert one_line(" It\x92s\tlate\u2028\r\n now \x81") == "It’s late now"


@pytest.mark.parametrize(
    ("speakers", "said"),
    [
        (("a", "a", "b"), "3 utterances of 2 speakers; emotions: "),
        (("a", "", "b"), "3 utterances of 2 speakers; 1 without a speaker; emotions: "),
        (("", ""), "2 utterances of 0 speakers; 2 without a speaker; emotions: "),
    ],
)
def test_no_speaker_is_counted_where_none_is_named(speakers: tuple[str, ...], said: str) -> None:
    rows = [ManifestRow(0, f"u{number}", speaker=name, emotion="sad") for number, name in enumerate(speakers)]
    assert Reading(rows, [], []).summary().startswith(said)
