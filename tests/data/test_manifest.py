"""Manifests are read and written in every format, and their mistakes are named with file and row."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.manifest import (
    COLUMNS,
    ManifestRow,
    manifest_notes,
    media_path,
    read_manifest,
    utterance_uid,
    write_manifest,
)
from memobert_plugin.data.votes import parse_labels

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


ROWS = [
    ManifestRow(2, "a;1", speaker="Ann, B.", text='he said "no", then; so', emotion="sad", video="d/v 1.mp4", end=2.5),
    ManifestRow(3, "déjà", text="line"),
]


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".CSV", ".jsonl", ".ndjson", ".txt"])
def test_rows_come_back_from_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    write_manifest(path, ROWS)
    assert [replace(row, line=0) for row in read_manifest(path)] == [replace(row, line=0) for row in ROWS]
    assert manifest_notes(path) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("suffix", "mark"), [(".tsv", "\t"), (".csv", ","), (".csv", ";"), (".csv", "\t")])
def test_a_few_columns_in_any_order_are_enough(tmp_path: Path, encoding: str, end: str, suffix: str, mark: str) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(
        end.join([mark.join(["Text", " id", "rating"]), mark.join(["café", "x", "5"]), ""]).encode(encoding)
    )
    [row] = read_manifest(path)
    assert replace(row, line=0) == ManifestRow(0, "x", text="café")
    assert manifest_notes(path) == [f"{path}: columns that are not used: rating"]


def test_a_manifest_of_ids_alone_is_read(tmp_path: Path) -> None:
    for name in ("m.tsv", "m.csv"):
        (tmp_path / name).write_text("id\na\nb\n")
        assert [row.id for row in read_manifest(tmp_path / name)] == ["a", "b"]


def test_excel_files_of_values_with_quotes_and_line_breaks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b'sep=;\r\nid;text;start\r\na;"one ""two""\r\nthree; four";1.5\r\n;;\r\n')
    [row] = read_manifest(path)
    assert (row.id, row.text, row.start) == ("a", 'one "two" three; four', 1.5)


def test_json_lines_and_arrays_are_read(tmp_path: Path) -> None:
    rows = [{"id": 7, "start": 0.5, "end": 2, "text": "two\nlines", "speaker": None, "wav": [1]}, {"id": "b"}]
    lines, whole = tmp_path / "m.jsonl", tmp_path / "m.json"
    lines.write_text("\n\n".join(map(json.dumps, rows)))
    whole.write_text("\n " + json.dumps(rows, indent=1))
    for path in (lines, whole):
        assert [replace(row, line=0) for row in read_manifest(path)] == [
            ManifestRow(0, "7", text="two lines", start=0.5, end=2.0),
            ManifestRow(0, "b"),
        ]
        assert manifest_notes(path) == [f"{path}: columns that are not used: wav (did you mean audio?)"]


def test_a_misspelt_column_is_named_with_the_likely_one(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("id,speakr,emotions,x\na,1,sad,2\n")
    [note] = manifest_notes(path)
    assert note.endswith("not used: speakr (did you mean speaker?), emotions (did you mean emotion?), x")


def test_columns_that_others_call_otherwise_are_known_by_their_meaning(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,file,Label,transcript,actor\nx,a.wav,sad,so,1\n")
    (said,) = manifest_notes(tmp_path / "m.csv")
    for name, meant in (("file", "audio or video"), ("Label", "emotion"), ("transcript", "text"), ("actor", "speaker")):
        assert f"{name} (did you mean {meant}?)" in said


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", 'id,text\na,"open\nb,c\n', r"m\.csv, row 3: unexpected end of data"),
        ("m.csv", 'id,text\na,"b"c\n', r"m\.csv, row 2: ',' expected after '\"'"),
        ("m.csv", "id,text\na,b,c\n", r"row 2: 3 fields where the header has 2; separate fields by one comma"),
        ("m.csv", "name,text\na,b\n", "row 1: no column id; known are id, speaker"),
        ("m.jsonl", '{"id": "a"}\n{"id": "b"\n', r"m\.jsonl: not JSON lines"),
        ("m.jsonl", "[" * 100_000, "not JSON lines"),
        ("m.jsonl", '{"id": 1' + "0" * 5000 + "}", "not JSON lines"),
        ("m.jsonl", '{"id": "a"}\n"b"\n', "row 2: b is not an object"),
        ("m.jsonl", '{"key": "a"}', "row 1: no field id"),
        ("m.jsonl", '{"id": "a", "text": ["b"]}', r"row 1: text is \['b'\]; give text, a number or null"),
        ("m.jsonl", '{"id": "a", "ID": "b"}', "row 1: field id occurs twice"),
        ("m.jsonl", '{"id": "\\ud800"}', "row 1: id holds bytes that are not UTF-8"),
        ("m.jsonl", "", "the manifest has no row"),
        ("m.tsv", "id\ttext\na\n", "row 2: 1 field where the header has 2; separate fields by one tab"),
        ("m.tsv", b"id\ttext\na\t\xff\n", r"m\.tsv: not UTF-8 \("),
    ],
)
def test_mistakes_of_other_formats_end_in_one_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as caught:
        list(read_manifest(path))
    assert "\n" not in str(caught.value)


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
        ([line(start="soon")], "row 2: start 'soon' is not a time"),
        ([line(end="nan")], "row 2: end 'nan' is not a time"),
        ([line(start="-1")], "row 2: start '-1' is not a time"),
        ([line(start="2", end="1.5")], "row 2: end 1.5 is not after start 2"),
        ([line(id="x"), line(id="y"), line(id="x")], "row 4: id 'x' is already in row 2"),
        ([], "the manifest has no row"),
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
        (HEADER.replace("id\t", "name\t"), "row 1: no column id; known are id, speaker"),
        (HEADER + "\ttext", "row 1: column text occurs twice"),
        (HEADER + "\tID ", "row 1: column id occurs twice"),
        (HEADER.replace("\t", ","), r"row 1: no column id; its header is separated by commas: rename it to \.csv"),
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
        ([ManifestRow(0, "a"), ManifestRow(0, "a")], "row 3: id 'a' occurs twice"),
        ([ManifestRow(0, "a", text="two\nlines")], r"row 2: text holds the control character U\+000A"),
        ([ManifestRow(0, "a", start=float("nan"))], "row 2: start 'nan' is not a time"),
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


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl"])
@pytest.mark.parametrize(
    "name", ["two\nlines.mp4", "a\ttab.mp4", os.fsdecode(b"caf\xe9.mp4"), "50%25.mp4", "e\u2028f.mp4"]
)
def test_paths_of_any_characters_are_read_back(tmp_path: Path, suffix: str, name: str) -> None:
    path = tmp_path / f"m.{suffix}"
    write_manifest(path, [ManifestRow(0, "a", video=name, audio=str(tmp_path / name))])
    (row,) = read_manifest(path)
    assert media_path(path, row.video) == media_path(path, row.audio) == tmp_path / name
    plain = not set("\n\t\u2028\udce9") & set(name)
    assert (row.video == name) == plain
    if not plain:
        assert row.video.startswith("file:///") and "%" in row.video


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl"])
def test_numbers_and_several_labels_are_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m.{suffix}"
    rows = [ManifestRow(0, "a", valence=0.0, arousal=-1.5, labels="happy;surprised"), ManifestRow(0, "b")]
    write_manifest(path, rows)
    assert [replace(row, line=0) for row in read_manifest(path)] == rows
    assert "dominance" not in path.read_text()


def test_labels_of_json_lines_may_be_a_list_and_what_is_no_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"id": "a", "labels": ["sad", "angry"]}\n')
    assert [row.labels for row in read_manifest(path)] == ["sad;angry"]
    assert parse_labels(" happy ;very  sad;;happy") == ["happy", "very sad"] and parse_labels("") == []
    for value in ("high", "nan", "inf", "3,5", "1e39", "-1e39"):
        path.write_text(json.dumps({"id": "a", "valence": value}) + "\n")
        with pytest.raises(UserError, match=r"row 1: valence '.*' is not a number; give one such as 3.5"):
            list(read_manifest(path))
