"""Frames of other tools become folders of frames, whatever file they come in; bad ones are left out and told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.frames import ExtractorInfo, frame_file, read_extractor_info, read_frames
from memobert_plugin.features.extraction.ready_frames import take_over

INFO = ExtractorInfo("other tool", frame_rate=50.0)
FRAMES = {
    name: np.random.default_rng(seed).normal(size=(3 + seed, 4)).astype(np.float32)
    for seed, name in enumerate(("one", "two", "three"))
}


def write_source(folder: Path, kind: str) -> Path:
    if kind == "npz of all":
        np.savez(folder / "all.npz", **FRAMES)
        return folder / "all.npz"
    if kind in ("scp", "ark"):
        kaldi = pytest.importorskip("kaldi_native_io")
        with kaldi.FloatMatrixWriter(f"ark,scp:{folder}/x.ark,{folder}/x.scp") as writer:
            for name, frames in FRAMES.items():
                writer.write(name, frames)
        return folder / f"x.{kind}"
    for name, frames in FRAMES.items():
        if kind == "npy":
            np.save(folder / f"{name}.npy", frames.astype(np.float64))
        else:
            np.savez(folder / f"{name}.npz", frames=frames)
    return folder


@pytest.mark.parametrize("kind", ["npy", "npz", "npz of all", "scp", "ark"])
def test_every_format_gives_the_same_folder(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    source, output = write_source(tmp_path / "in", kind), tmp_path / "out"
    taken = take_over(source, output, INFO)
    assert (taken.written, taken.finished, taken.frames, taken.failures) == (3, 0, 12, [])
    for name, frames in FRAMES.items():
        found = read_frames(frame_file(output, name))
        assert found is not None and found.frames.dtype == np.float32
        np.testing.assert_allclose(found.frames, frames)
    assert read_extractor_info(output) == ExtractorInfo("other tool", frame_rate=50.0, dim=4)
    again = take_over(source, output, INFO)
    assert (again.written, again.finished) == (0, 3)


@pytest.mark.parametrize(
    ("header", "place", "sign"),
    [
        ("name;frameTime;F0semitone;Loudness;jitter;shimmer", "'unknown';{time:.6f}", ";"),
        ("file,start,end,F0,b,c,d", "a.wav,0 days 00:00:00,0 days 00:00:01", ","),
        ("frame, timestamp, confidence, success, AU01_r, AU02_r, AU04_r, AU05_r", "1, 0.0, 0.98, 1", ","),
        ("a\tb\tc\td", "", "\t"),
    ],
)
def test_tables_of_feature_extractors_are_frames(tmp_path: Path, header: str, place: str, sign: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, frames in FRAMES.items():
        rows = [sign.join([*filter(None, [place.format(time=0.01)]), *map(repr, row.tolist())]) for row in frames]
        (folder / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "words.csv").write_text(f"{header}\n{sign.join(['x'] * 8)}\n")
    (folder / "empty.csv").write_text("")  # comes first, and tells no width
    taken = take_over(folder, tmp_path / "out", INFO)
    assert taken.written == 3 and sorted(name for name, _ in taken.failures) == ["empty", "words"]
    for name, frames in FRAMES.items():
        found = read_frames(frame_file(tmp_path / "out", name))
        assert found is not None
        np.testing.assert_allclose(found.frames, frames, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.1,0.2\n0.3,0.4\n", "no header: its first row has numbers alone"),
        ("name,F0,jitter\nx,1,2\n", "other columns than the first table's: jitter instead of loudness"),
        ("name,F0\nx,1\n", "other columns than the first table's: none instead of loudness"),
        ("name,F0,loudness\nx,1,5,2,5\n", "a row has 5 cells, its header 3"),
    ],
)
def test_tables_that_do_not_fit_each_other_or_their_header_fail(tmp_path: Path, text: str, message: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("name;F0;loudness\nx;1;2\n")
    (folder / "b.csv").write_text(text)
    taken = take_over(folder, tmp_path / "out", INFO)
    [(name, reason)] = taken.failures
    assert taken.written == 1 and name == "b" and message in reason


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FRAMES["one"])
    (tmp_path / "a.csv").write_text("F0\n1\n")
    with pytest.raises(UserError, match=r"a\.csv and .*a\.npy: both would be one utterance; keep one of them"):
        take_over(tmp_path, tmp_path / "out", INFO)


def test_names_in_folders_are_ids(tmp_path: Path) -> None:
    (tmp_path / "in" / "film").mkdir(parents=True)
    np.save(tmp_path / "in" / "film" / "line 1.npy", FRAMES["one"])
    take_over(tmp_path / "in", tmp_path / "out", INFO)
    assert read_frames(frame_file(tmp_path / "out", "film/line 1")) is not None


def test_expressions_come_along(tmp_path: Path) -> None:
    shares = {name: np.full((len(frames), 2), 0.5) for name, frames in FRAMES.items() if name != "two"}
    shares["three"] = shares["three"] + 1
    np.savez(tmp_path / "frames.npz", **FRAMES)
    np.savez(tmp_path / "shares.npz", **shares)
    info = ExtractorInfo("faces", frame_rate=10.0, classes=["calm", "angry"])
    taken = take_over(tmp_path / "frames.npz", tmp_path / "out", info, tmp_path / "shares.npz")
    assert taken.written == 1
    assert [name for name, _ in taken.failures] == ["two", "three"]
    assert "has no such utterance" in taken.failures[0][1] and "is not a distribution" in taken.failures[1][1]
    assert "\n" not in (tmp_path / "out" / "failed.tsv").read_text(encoding="utf-8").splitlines()[1]
    found = read_frames(frame_file(tmp_path / "out", "one"))
    assert found is not None and found.expression is not None and found.expression.shape == (3, 2)


def test_bad_utterances_are_left_out_and_told(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    arrays: dict[str, np.ndarray] = {
        "a good one": FRAMES["one"],
        "b flat": np.ones(4),
        "c wide": np.ones((2, 5)),
        "d empty": np.ones((0, 4)),
        "e infinite": np.full((2, 4), np.inf),
        "f whole numbers": np.ones((2, 4), int),
    }
    for name, array in arrays.items():
        np.save(tmp_path / "in" / f"{name}.npy", array)
    (tmp_path / "in" / "g damaged.npy").write_bytes(b"\x93NUMPY")
    taken = take_over(tmp_path / "in", tmp_path / "out", INFO)
    assert taken.written == 1
    reasons = dict(taken.failures)
    assert "float64 (4,)" in reasons["b flat"] and "has 5 values a frame where the others have 4" in reasons["c wide"]
    assert "(0, 4)" in reasons["d empty"] and "NaN or infinite" in reasons["e infinite"]
    assert "int64" in reasons["f whole numbers"] and "not readable as .npy" in reasons["g damaged"]
    assert [path.name for path in (tmp_path / "out").glob("*.npz")] == ["a%20good%20one.npz"]


def test_commands_in_kaldis_tables_are_never_run(tmp_path: Path) -> None:
    kaldi = pytest.importorskip("kaldi_native_io")
    with kaldi.FloatMatrixWriter(f"ark,scp:{tmp_path}/x.ark,{tmp_path}/x.scp") as writer:
        writer.write("one", FRAMES["one"])
    with open(tmp_path / "x.scp", "a", encoding="utf-8") as table:
        table.write(f"two touch {tmp_path}/was_run |\nthree nowhere.ark:5\n")
    taken = take_over(tmp_path / "x.scp", tmp_path / "out", INFO)
    assert taken.written == 1 and not (tmp_path / "was_run").exists()
    assert "is a command" in taken.failures[0][1] and "no such file" in taken.failures[1][1]


def test_other_sources_and_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no utterance; give a folder of \.npy"):
        take_over(tmp_path / "empty", tmp_path / "out", INFO)
    with pytest.raises(UserError, match="no such source"):
        take_over(tmp_path / "feats.h5", tmp_path / "out", INFO)
    np.savez(tmp_path / "all.npz", **FRAMES)
    take_over(tmp_path / "all.npz", tmp_path / "out", INFO)
    with pytest.raises(UserError, match="holds frames of another extractor"):
        take_over(tmp_path / "all.npz", tmp_path / "out", ExtractorInfo("third tool", frame_rate=50.0))


def test_archives_of_something_else_or_cut_off_are_refused(tmp_path: Path) -> None:
    kaldi = pytest.importorskip("kaldi_native_io")
    (tmp_path / "other.ark").write_bytes(b"nothing of Kaldi")
    with pytest.raises(UserError, match=r"other\.ark: no archive of Kaldi"):
        take_over(tmp_path / "other.ark", tmp_path / "out", INFO)
    with kaldi.FloatMatrixWriter(f"ark:{tmp_path}/cut.ark") as writer:
        for name, frames in FRAMES.items():
            writer.write(name, frames)
    content = (tmp_path / "cut.ark").read_bytes()
    (tmp_path / "cut.ark").write_bytes(content[: len(content) - 30])
    with pytest.raises(UserError, match="is damaged or cut off after 2 utterances"):
        take_over(tmp_path / "cut.ark", tmp_path / "out", INFO)
    assert read_frames(frame_file(tmp_path / "out", "one")) is not None
