"""A manifest is read and written as it stands, and its mistakes are named with file and row."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.manifest import COLUMNS, ManifestRow, media_path, read_manifest, utterance_uid, write_manifest

HEADER = "\t".join(COLUMNS)


def written(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "m.tsv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def line(**fields: str) -> str:
    return "\t".join({"id": "a", **fields}.get(name, "") for name in COLUMNS)


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [
        ManifestRow(2, "a/1", "S1", "1", "train", 'he said "no" – it\'s', "anger", "v.mp4", "a.wav", 0.1, 2.0),
        ManifestRow(3, "b", text="  spaces stay "),
        ManifestRow(4, "déjà", end=1 / 3),
    ]
    write_manifest(tmp_path / "m.tsv", rows)
    assert list(read_manifest(tmp_path / "m.tsv")) == rows


@given(text=st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029")))
def test_any_text_without_control_characters_survives(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("manifest") / "m.tsv"
    write_manifest(path, [ManifestRow(2, "a", text=text)])
    assert next(read_manifest(path)).text == text


def test_columns_may_stand_in_any_order_beside_others_and_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    names = [*reversed(COLUMNS), "note"]
    values = {"id": "a", "text": "hello", "note": "x"}
    path = tmp_path / "m.tsv"
    path.write_text(
        "\ufeff" + "\t".join(names) + "\r\n" + "\t".join(values.get(name, "") for name in names) + "\r\n\r\n",
        encoding="utf-8",
        newline="",
    )
    assert list(read_manifest(path)) == [ManifestRow(2, "a", text="hello")]


def test_halves_of_the_picture_have_a_column_where_a_corpus_needs_it(tmp_path: Path) -> None:
    rows = [ManifestRow(2, "a", video="v.avi", region="left"), ManifestRow(3, "b", video="v.avi")]
    write_manifest(tmp_path / "m.tsv", rows)
    assert list(read_manifest(tmp_path / "m.tsv")) == rows
    write_manifest(tmp_path / "without.tsv", rows[1:])
    assert (tmp_path / "without.tsv").read_text().splitlines()[0] == HEADER
    path = written(tmp_path, line() + "\tmiddle", header=HEADER + "\tregion")
    with pytest.raises(UserError, match="row 2: region 'middle'; give left or right"):
        list(read_manifest(path))


def test_the_manifest_is_streamed(tmp_path: Path) -> None:
    path = written(tmp_path, line(id="first"), line(id="", text="a mistake further down"))
    assert next(read_manifest(path)).id == "first"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line(), "b\tS1"], "row 3: 2 fields where the header has 10"),
        ([line(id=" ")], "row 2: empty id"),
        ([line(text="a\x07b")], r"row 2: text holds the control character U\+0007"),
        ([line(text="a\u2028b")], r"row 2: text holds the control character U\+2028"),
        ([line(start="soon")], "row 2: start 'soon' is no time"),
        ([line(end="nan")], "row 2: end 'nan' is no time"),
        ([line(start="-1")], "row 2: start '-1' is no time"),
        ([line(start="2", end="1.5")], "row 2: end 1.5 does not lie after start 2"),
        ([line(id="x"), line(id="y"), line(id="x")], "row 4: id 'x' already stands in row 2"),
        ([], "has a header but no row"),
    ],
)
def test_a_mistake_in_a_row_is_named_with_its_place(tmp_path: Path, lines: list[str], message: str) -> None:
    path = written(tmp_path, *lines)
    with pytest.raises(UserError, match=message) as caught:
        list(read_manifest(path))
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER.replace("emotion\t", ""), "row 1: no column emotion; the header needs id speaker"),
        (HEADER + "\ttext", "row 1: column text stands twice"),
        (HEADER.replace("\t", ","), "row 1: no column id, speaker"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(read_manifest(written(tmp_path, line(), header=header)))


def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    with pytest.raises(UserError, match=r"m\.tsv: cannot be read \(No such file"):
        list(read_manifest(path))
    path.touch()
    with pytest.raises(UserError, match="empty; a manifest starts with the header"):
        list(read_manifest(path))
    path.write_bytes(HEADER.encode() + b"\n" + line(text="caf\u00e9").encode("latin-1") + b"\n")
    with pytest.raises(UserError, match="not UTF-8"):
        list(read_manifest(path))
    written(tmp_path, line(text="x" * 200_000))
    with pytest.raises(UserError, match="row 2: field larger than"):
        list(read_manifest(path))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ManifestRow(0, "a"), ManifestRow(0, "a")], "row 3: id 'a' stands twice"),
        ([ManifestRow(0, "a", text="two\nlines")], r"row 2: text holds the control character U\+000A"),
        ([ManifestRow(0, "a", start=float("nan"))], "row 2: start 'nan' is no time"),
    ],
)
def test_a_manifest_that_could_not_be_read_back_is_not_written(
    tmp_path: Path, rows: list[ManifestRow], message: str
) -> None:
    path = tmp_path / "m.tsv"
    path.write_text("the earlier one")
    with pytest.raises(UserError, match=message):
        write_manifest(path, rows)
    assert [file.name for file in tmp_path.iterdir()] == ["m.tsv"]
    assert path.read_text() == "the earlier one"


def test_media_lie_relative_to_the_manifest(tmp_path: Path) -> None:
    assert media_path(tmp_path / "m.tsv", "clips/a.wav") == tmp_path / "clips" / "a.wav"
    assert media_path(tmp_path / "m.tsv", "/films/a.wav") == Path("/films/a.wav")


def test_the_number_of_an_utterance_is_fixed_by_its_id() -> None:
    """Masks are drawn from it: another value would change every run."""
    assert utterance_uid("dia0_utt0") == 11455297608626237182
