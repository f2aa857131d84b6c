"""Frames made by any tool are taken when they are sound, and refused by name when they are not."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.frames import (
    ExtractorInfo,
    _stored_matrices,
    frame_file,
    read_extractor_info,
    read_frames,
    read_half_frames,
    to_float16,
    write_extractor_info,
    write_frames,
)

UNIFORM = np.full((4, 8), 0.125, dtype=np.float32)


def test_frames_come_back_as_they_were_written(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    write_frames(tmp_path / "a.npz", frames, UNIFORM)
    found = read_frames(tmp_path / "a.npz")
    assert found is not None
    np.testing.assert_array_equal(found.frames, frames)
    assert found.expression is not None
    np.testing.assert_array_equal(found.expression, UNIFORM)
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def test_compressed_files_and_other_arrays_beside_frames_are_taken(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", frames=np.ones((2, 3)), boxes=np.ones((2, 4)))
    found = read_frames(tmp_path / "a.npz")
    assert found is not None
    assert found.frames.shape == (2, 3)
    assert found.expression is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_files_as_numpy_writes_them_are_read_in_one_go(tmp_path: Path, dtype: type) -> None:
    """Equal to what numpy reads, without numpy's reader, which is three times as slow, and free to be changed."""
    frames: np.ndarray = np.random.default_rng(0).normal(size=(7, 5)).astype(dtype)
    np.savez(tmp_path / "clip.npz", frames=frames, other=np.arange(3), expression=np.full((7, 2), 0.5, dtype))
    found = _stored_matrices(tmp_path / "clip.npz")
    assert found is not None and list(found) == ["frames", "expression"]
    np.testing.assert_array_equal(found["frames"], frames)
    assert found["frames"].dtype == dtype and found["frames"].flags.writeable


@pytest.mark.parametrize(
    "odd", [np.asfortranarray(np.ones((4, 3))), np.ones((4, 3), ">f4"), np.ones(4), np.ones((4, 3), int)]
)
def test_other_arrays_are_left_to_numpy(tmp_path: Path, odd: np.ndarray) -> None:
    np.savez(tmp_path / "clip.npz", frames=odd)
    assert _stored_matrices(tmp_path / "clip.npz") is None


def test_whatever_byte_is_wrong_nothing_else_is_read_than_numpy_reads(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", frames=np.ones((2, 3), np.float32), expression=np.full((2, 2), 0.5))
    whole, path, taken = (tmp_path / "whole.npz").read_bytes(), tmp_path / "clip.npz", 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x41
        path.write_bytes(damaged)
        try:
            found = _stored_matrices(path)
        except (ValueError, OSError):
            continue
        if found is not None:
            taken += 1
            with np.load(path) as content:
                assert set(found) == set(content.files) & {"frames", "expression"}
                for name, array in found.items():
                    np.testing.assert_array_equal(array, content[name])
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        assert _stored_matrices(path) is None
    assert 0 < taken < len(whole) / 4  # versions, times and attributes


def test_half_frames_are_those_of_the_careful_reader(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    write_frames(tmp_path / "a.npz", frames, UNIFORM[:3] if len(UNIFORM) >= 3 else None)
    found = read_half_frames(tmp_path / "a.npz")
    assert found is not None and found.frames.dtype == np.float16
    np.testing.assert_array_equal(found.frames, frames.astype(np.float16))
    assert read_half_frames(tmp_path / "none.npz") is None
    for value, message in ((np.nan, "NaN or infinite"), (np.inf, "NaN or infinite"), (1e6, "beyond float16's 65504")):
        frames[1, 2] = value
        write_frames(tmp_path / "a.npz", frames)
        with np.errstate(over="ignore"), pytest.raises(UserError, match=message):
            read_half_frames(tmp_path / "a.npz")


def test_a_missing_file_is_no_mistake(tmp_path: Path) -> None:
    assert read_frames(tmp_path / "a.npz") is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": np.ones((2, 3))}, "no array 'frames'"),
        ({"frames": np.ones(3)}, r"frames is float64 \(3,\)"),
        ({"frames": np.ones((2, 3, 4))}, "must be floats of shape"),
        ({"frames": np.ones((2, 3), dtype=np.int64)}, "frames is int64"),
        ({"frames": np.array([[0.0], [np.nan]])}, "NaN or infinite values, first in frame 1"),
        ({"frames": np.array([[np.inf]])}, "NaN or infinite values, first in frame 0"),
        ({"frames": np.array([[None]])}, "not readable as an .npz of plain arrays"),
        ({"frames": np.ones((3, 2)), "expression": UNIFORM}, "expression has 4 rows for 3 frames"),
        ({"frames": np.ones((4, 2)), "expression": UNIFORM * 2}, "expression row 0 is not a distribution"),
        ({"frames": np.ones((4, 2)), "expression": UNIFORM * np.nan}, "expression has NaN"),
        ({"frames": np.ones((1, 2)), "expression": np.array([[1.5, -0.5]])}, "expression row 0 is not a distribution"),
    ],
)
def test_unsound_frames_are_refused_by_name(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    path = tmp_path / "clip.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=message) as caught:
        read_frames(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"\x80\x04pickled", b"frames"])
def test_a_file_that_is_no_archive_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"clip\.npz: not readable as an \.npz of plain arrays"):
        read_frames(path)


def test_a_truncated_or_damaged_archive_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "clip.npz"
    write_frames(path, np.ones((50, 20)))
    whole = path.read_bytes()
    for content in (whole[:-40], whole[:4000] + bytes(8) + whole[4008:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"clip\.npz: not readable"):
            read_frames(path)


@pytest.mark.parametrize(
    ("signature", "place", "value"),
    [(b"PK\x01\x02", 6, b"\xff\xff"), (b"PK\x01\x02", 8, b"\x01\x00"), (b"PK\x01\x02", 8, b"\x40\x00")],
    ids=["a later version", "encrypted", "strongly encrypted"],
)
def test_an_archive_that_needs_more_than_there_is_is_refused_by_name(
    tmp_path: Path, signature: bytes, place: int, value: bytes
) -> None:
    path = tmp_path / "clip.npz"
    write_frames(path, np.ones((3, 4), np.float32))
    content = bytearray(path.read_bytes())
    at = content.index(signature) + place
    content[at : at + len(value)] = value
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"clip\.npz: not readable"):
        read_frames(path)


def test_a_member_that_is_no_array_is_refused_by_name(tmp_path: Path) -> None:
    """numpy hands out its bytes."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("frames.npy", b"not numpy's")
    with pytest.raises(
        UserError, match=r"a\.npz: not readable as an \.npz of plain arrays \(a member that is not an array"
    ):
        read_frames(tmp_path / "a.npz")


def test_a_header_that_ends_inside_a_bracket_is_refused_by_name(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("frames.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(UserError, match=r"a\.npz: not readable as an \.npz of plain arrays"):
        read_frames(tmp_path / "a.npz")


def test_a_single_array_is_not_an_archive(tmp_path: Path) -> None:
    with open(tmp_path / "a.npz", "wb") as stream:
        np.save(stream, np.ones((2, 3)))
    with pytest.raises(UserError, match="a single array"):
        read_frames(tmp_path / "a.npz")


def test_values_beyond_float16_are_refused() -> None:
    np.testing.assert_array_equal(to_float16("a", "frames", np.array([[65504.0, 1e-9]])), [[65504.0, 0.0]])
    with pytest.raises(UserError, match="a: frames reach 70000, beyond float16"):
        to_float16("a", "frames", np.array([[1.0, -70000.0]]))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_the_file_of_any_id_lies_in_the_folder(utterance_id: str) -> None:
    path = frame_file("folder", utterance_id)
    assert path.parent == Path("folder")
    assert path.suffix == ".npz"
    assert not path.name.startswith(".")
    assert len(path.name) < 255


@given(st.sets(st.text(st.sampled_from("a./%2F~\\Bé "), min_size=1, max_size=12), min_size=2))
def test_different_ids_have_different_files(ids: set[str]) -> None:
    assert len({frame_file("folder", utterance_id) for utterance_id in ids}) == len(ids)


def test_file_names_are_the_ids_where_they_can_be() -> None:
    assert frame_file("f", "dia0_utt-1.b") == Path("f/dia0_utt-1.b.npz")
    assert frame_file("f", "../é") == Path("f/%2E.%2F%C3%A9.npz")
    assert frame_file("f", "x" * 300) != frame_file("f", "x" * 301)


def test_an_extractors_description_comes_back(tmp_path: Path) -> None:
    info = ExtractorInfo("denseface", {"size": 64}, "ab" * 32, 10.0, 342, ["sad", "glad"], "1.2")
    write_extractor_info(tmp_path, info)
    assert read_extractor_info(tmp_path) == info


def test_an_extractor_may_be_unknown_or_described_in_part(tmp_path: Path) -> None:
    assert read_extractor_info(tmp_path) == ExtractorInfo(name="unknown")
    (tmp_path / "extractor.json").write_text('{"name": "mine", "frame_rate": 25}')
    assert read_extractor_info(tmp_path) == ExtractorInfo("mine", frame_rate=25)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        ("[]", "not a JSON object"),
        ('{"framerate": 10}', "unknown key 'framerate'; known are name"),
        ('{"dim": "342"}', "dim cannot be '342'"),
        ('{"dim": true}', "dim cannot be True"),
        ('{"classes": ["a", 1]}', "classes cannot be"),
        ('{"frame_rate": 0}', "frame_rate cannot be 0"),
        ('{"speaker_mean": [0, "1"]}', "speaker_mean cannot be"),
        ('{"speaker_mean": [0, NaN]}', "speaker_mean cannot be"),
        ('{"speaker_mean": [true, false]}', "speaker_mean cannot be"),
        ('{"speaker_mean": [1' + "0" * 400 + "]}", "speaker_mean cannot be"),
        ('{"speaker_mean": [0, 1], "dim": 3}', "speaker_mean has 2 numbers, a frame 3"),
    ],
)
def test_a_wrong_description_is_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "extractor.json").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        read_extractor_info(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "extractor.json"))
