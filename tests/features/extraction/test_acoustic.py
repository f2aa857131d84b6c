"""A manifest's utterances to one file each: pooling, resuming, defects, and who may write where."""

from __future__ import annotations

import fcntl
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.frames import frame_file, read_extractor_info, read_frames
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from memobert_plugin.features.encoders.base import PooledEncoder, SpeechEncoder, pool_frames
from memobert_plugin.features.encoders.logmel import LogMel
from memobert_plugin.features.extraction.acoustic import AcousticJob
from memobert_plugin.features.extraction.job import Report, extract, survey
from memobert_plugin.features.media.streams import StreamChoice

RATE = 16_000


class Wherever(SpeechEncoder):
    """A batched encoder whose frames show which clips it saw together: (level, batch size) every 100 samples."""

    name = "wherever"
    version = "1"
    weights_sha256 = "0" * 64
    batched = True
    dim = 2
    frame_rate = 160.0
    shortest = 100

    def __init__(self, fails_on_batch: int = -1, **options: object) -> None:
        self._options = options
        self.batches: list[int] = []
        self.fails_on_batch = fails_on_batch

    @classmethod
    def from_options(cls, options: object, device: str = "cpu") -> SpeechEncoder:
        return cls()

    @property
    def options(self) -> dict[str, object]:
        return self._options

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        if len(self.batches) == self.fails_on_batch:
            raise KeyboardInterrupt
        self.batches.append(len(waveforms))
        levels = waveforms[:, : waveforms.shape[1] // 100 * 100].reshape(len(waveforms), -1, 100).mean(axis=2)
        return np.stack([levels, np.full_like(levels, len(waveforms))], axis=2)


def job(encoder: SpeechEncoder, pool: int = 3, max_seconds: float = 10.0, batch_size: int = 4) -> AcousticJob:
    return AcousticJob(PooledEncoder(encoder, pool, max_seconds), batch_size)


def extract_acoustic(
    manifest: Path,
    output: Path,
    encoder: SpeechEncoder,
    *,
    workers: int = 1,
    overwrite: bool = False,
    **settings: float,
) -> Report:
    made = job(encoder, **settings)  # type: ignore[arg-type]
    return extract(manifest, output, made, workers=workers, overwrite=overwrite)


def write_clips(folder: Path, lengths: list[int]) -> Path:
    random = np.random.default_rng(1)
    rows = []
    for index, length in enumerate(lengths):
        soundfile.write(folder / f"{index}.wav", random.uniform(-0.5, 0.5, length), RATE)
        rows.append(ManifestRow(line=0, id=f"u{index}", audio=f"{index}.wav"))
    write_manifest(folder / "m.tsv", rows)
    return folder / "m.tsv"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def frames_of(folder: Path, utterance_id: str) -> np.ndarray:
    read = read_frames(frame_file(folder, utterance_id))
    assert read is not None
    return read.frames


@pytest.mark.parametrize(("count", "size"), [(1, 3), (2, 3), (3, 3), (7, 3), (8, 1), (5, 9)])
def test_pooling_averages_consecutive_frames_and_the_rest(count: int, size: int) -> None:
    frames = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    pooled = pool_frames(frames, size)
    expected = [frames[first : first + size].mean(axis=0) for first in range(0, count, size)]
    assert pooled.shape == (math.ceil(count / size), 4)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, expected, rtol=1e-6, atol=1e-7)


class Alone(Wherever):
    """The same, a clip at a time."""

    batched = False


@pytest.mark.parametrize(("kind", "encoded"), [(Alone, [1, 1, 1, 1]), (Wherever, [1, 1, 1])])
def test_a_stretch_that_follows_itself_is_encoded_once(
    tmp_path: Path, kind: type[Wherever], encoded: list[int]
) -> None:
    write_clips(tmp_path, [4000, 8000])
    stretches = [("0.wav", None), ("0.wav", None), ("0.wav", 0.2), ("1.wav", None), ("none.wav", None), ("0.wav", None)]
    rows = [ManifestRow(line=0, id=f"u{n}", audio=path, start=start) for n, (path, start) in enumerate(stretches)]
    write_manifest(tmp_path / "m.tsv", rows)
    encoder = kind()
    report = extract_acoustic(tmp_path / "m.tsv", tmp_path / "out", encoder)
    assert encoder.batches == encoded
    assert (report.with_media, report.extracted, len(report.failures)) == (6, 5, 1)
    np.testing.assert_array_equal(frames_of(tmp_path / "out", "u0"), frames_of(tmp_path / "out", "u1"))
    np.testing.assert_array_equal(frames_of(tmp_path / "out", "u0"), frames_of(tmp_path / "out", "u5"))
    assert len(frames_of(tmp_path / "out", "u2")) < len(frames_of(tmp_path / "out", "u0"))


@pytest.mark.parametrize("workers", [1, 2])
def test_every_utterance_gets_its_file_whatever_the_workers(tmp_path: Path, workers: int) -> None:
    manifest = write_clips(tmp_path, [4000, 5000, 4000, 8000])
    report = extract_acoustic(manifest, tmp_path / "out", LogMel(), workers=workers)
    assert (report.with_media, report.extracted, report.failures) == (4, 4, [])
    for index in range(4):
        samples, _ = soundfile.read(tmp_path / f"{index}.wav", dtype="float32")
        expected = pool_frames(LogMel().encode(samples[None])[0], 3)
        np.testing.assert_array_equal(frames_of(tmp_path / "out", f"u{index}"), expected)
    info = read_extractor_info(tmp_path / "out")
    assert (info.name, info.dim, info.frame_rate) == ("logmel", 80, pytest.approx(100 / 3))
    assert info.options["pool"] == 3
    assert info.options["max_seconds"] == 10.0


def test_clips_are_cut_at_max_seconds(tmp_path: Path) -> None:
    manifest = write_clips(tmp_path, [20_000])
    extract_acoustic(manifest, tmp_path / "out", LogMel(), pool=1, max_seconds=0.5)
    assert len(frames_of(tmp_path / "out", "u0")) == 1 + (8000 - 400) // 160


def test_times_of_the_manifest_cut_one_long_file(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE)
    soundfile.write(tmp_path / "film.wav", samples, RATE)
    rows = [ManifestRow(0, id=f"u{at}", audio="film.wav", start=float(at), end=at + 0.5) for at in range(3)]
    write_manifest(tmp_path / "m.tsv", rows)
    extract_acoustic(tmp_path / "m.tsv", tmp_path / "out", LogMel(), pool=1)
    for at in range(3):
        cut, _ = soundfile.read(tmp_path / "film.wav", start=at * RATE, stop=at * RATE + RATE // 2, dtype="float32")
        np.testing.assert_array_equal(frames_of(tmp_path / "out", f"u{at}"), LogMel().encode(cut[None])[0])


def test_only_clips_of_exactly_equal_length_share_a_batch(tmp_path: Path) -> None:
    manifest = write_clips(tmp_path, [3000, 4000, 3000, 3000, 3001, 4000, 3000])
    encoder = Wherever()
    extract_acoustic(manifest, tmp_path / "out", encoder, pool=1, batch_size=3)
    assert encoder.batches == [3, 1, 2, 1]
    together = [int(frames_of(tmp_path / "out", f"u{index}")[0, 1]) for index in range(7)]
    assert together == [3, 2, 3, 3, 1, 2, 1]


def test_later_clips_are_not_read_before_earlier_ones_are_written(tmp_path: Path) -> None:
    manifest = write_clips(tmp_path, [1000] * 40)

    class LosesTheLastClip(Wherever):
        def encode(self, waveforms: np.ndarray) -> np.ndarray:
            (tmp_path / "39.wav").unlink(missing_ok=True)
            return super().encode(waveforms)

    report = extract_acoustic(manifest, tmp_path / "out", LosesTheLastClip(), batch_size=1)
    assert [utterance_id for utterance_id, _ in report.failures] == ["u39"]


@pytest.mark.parametrize("stopped_at", [0, 1, 3])
def test_a_stopped_run_that_goes_on_writes_the_same_bytes(tmp_path: Path, stopped_at: int) -> None:
    manifest = write_clips(tmp_path, [3000, 4000, 3000, 5000, 3000, 3000, 4000, 3000] * 5)
    extract_acoustic(manifest, tmp_path / "whole", Wherever(), batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        extract_acoustic(manifest, tmp_path / "again", Wherever(fails_on_batch=stopped_at), batch_size=2)
    for path in sorted((tmp_path / "again").glob("*.npz"))[::3]:
        path.unlink()
    (tmp_path / "again" / ".writing-left.npz").write_bytes(b"cut off")
    report = extract_acoustic(manifest, tmp_path / "again", Wherever(), batch_size=2)
    assert report.finished_before + report.extracted == 40
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")


def test_a_finished_run_reads_and_encodes_nothing(tmp_path: Path) -> None:
    manifest = write_clips(tmp_path, [3000, 4000])
    extract_acoustic(manifest, tmp_path / "out", Wherever())
    for index in range(2):
        (tmp_path / f"{index}.wav").unlink()
    again = Wherever()
    report = extract_acoustic(manifest, tmp_path / "out", again)
    assert (report.finished_before, report.extracted, report.failures, again.batches) == (2, 0, [], [])


def test_rows_that_name_other_files_or_times_are_extracted_again(tmp_path: Path) -> None:
    manifest = write_clips(tmp_path, [3200] * 6)
    extract_acoustic(manifest, tmp_path / "out", Wherever())
    before = contents(tmp_path / "out")
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in tmp_path.glob("*.wav"):
        path.rename(moved / path.name)
    rows = [ManifestRow(0, f"u{number}", audio=f"moved/{number}.wav") for number in range(6)]
    rows[1] = replace(rows[1], audio="moved/5.wav")
    rows[2] = replace(rows[2], start=0.05, end=0.15)
    write_manifest(manifest, rows)
    seen = survey(manifest, tmp_path / "out", job(Wherever()))
    assert (seen.changed, seen.finished_before) == (["u1", "u2"], 4)
    assert contents(tmp_path / "out") == before
    report = extract_acoustic(manifest, tmp_path / "out", Wherever())
    assert (report.extracted, report.finished_before) == (2, 4)
    assert frames_of(tmp_path / "out", "u1")[:, 0].tolist() == frames_of(tmp_path / "out", "u5")[:, 0].tolist()
    assert len(frames_of(tmp_path / "out", "u2")) < len(frames_of(tmp_path / "out", "u3"))
    after = contents(tmp_path / "out")
    assert {name for name in after if after[name] != before[name]} == {
        "sources.tsv", *(frame_file(Path(), name).name for name in ("u1", "u2"))
    }  # fmt: skip
    assert extract_acoustic(manifest, tmp_path / "out", Wherever()).extracted == 0


def test_frames_of_an_earlier_version_without_sources_are_kept(tmp_path: Path) -> None:
    manifest = write_clips(tmp_path, [3200] * 2)
    extract_acoustic(manifest, tmp_path / "out", Wherever())
    (tmp_path / "out" / "sources.tsv").unlink()
    write_manifest(manifest, [ManifestRow(0, "u0", audio="1.wav")])
    assert extract_acoustic(manifest, tmp_path / "out", Wherever()).extracted == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("batched", [False, True])
def test_defective_clips_are_recorded_and_the_rest_goes_on(tmp_path: Path, workers: int, batched: bool) -> None:
    write_clips(tmp_path, [4000, 4000])
    soundfile.write(tmp_path / "nan.wav", np.full(4000, np.nan), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", np.zeros(99), RATE)
    (tmp_path / "text.wav").write_text("no\tsound\n")
    names = {"a": "0.wav", "b": "nan.wav", "c": "none.wav", "d": "short.wav", "e": "text.wav", "f": "1.wav", "g": ""}
    write_manifest(tmp_path / "m.tsv", [ManifestRow(0, id=key, audio=name) for key, name in names.items()])
    encoder = Wherever() if batched else LogMel()
    report = extract_acoustic(tmp_path / "m.tsv", tmp_path / "out", encoder, workers=workers)
    assert (report.with_media, report.without_media, report.extracted) == (6, 1, 2)
    assert report.failed_share == pytest.approx(4 / 6)
    lines = (tmp_path / "out" / "failed.tsv").read_text().splitlines()
    assert lines[0] == "id\treason"
    reasons = dict(line.split("\t") for line in lines[1:])
    assert list(reasons) == ["b", "c", "d", "e"]
    for key, reason in {"b": "NaN", "c": "no such file", "d": "shorter than one frame", "e": "cannot be read"}.items():
        assert reason in reasons[key]
    for name in ("nan.wav", "none.wav", "short.wav", "text.wav"):
        soundfile.write(tmp_path / name, np.zeros(4000), RATE)
    repaired = extract_acoustic(tmp_path / "m.tsv", tmp_path / "out", encoder, workers=workers)
    assert (repaired.finished_before, repaired.extracted) == (2, 4)
    assert not (tmp_path / "out" / "failed.tsv").exists()


def test_an_encoder_that_gives_nan_is_a_failure_not_a_file(tmp_path: Path) -> None:
    class Broken(Wherever):
        def encode(self, waveforms: np.ndarray) -> np.ndarray:
            return super().encode(waveforms) * np.nan

    report = extract_acoustic(write_clips(tmp_path, [3000]), tmp_path / "out", Broken())
    assert "NaN or infinite frames" in report.failures[0][1]
    assert not list((tmp_path / "out").glob("*.npz"))


def test_frames_of_another_extractor_are_refused_by_name(tmp_path: Path) -> None:
    manifest, output = write_clips(tmp_path, [3000]), tmp_path / "out"
    extract_acoustic(manifest, output, Wherever(layer=1))
    before = contents(output)
    for encoder, pool, difference in (
        (LogMel(), 3, "wherever, not logmel"),
        (Wherever(layer=2), 3, "layer 1, not 2"),
        (Wherever(layer=1), 2, "pool 3, not 2"),
    ):
        with pytest.raises(UserError, match=difference):
            extract_acoustic(manifest, output, encoder, pool=pool)
    other_weights = Wherever(layer=1)
    other_weights.weights_sha256 = "1" * 64
    with pytest.raises(UserError, match="other weights"):
        extract_acoustic(manifest, output, other_weights)
    assert contents(output) == before
    (output / "extractor.json").unlink()
    with pytest.raises(UserError, match="unknown extractor"):
        extract_acoustic(manifest, output, Wherever(layer=1))


def test_another_version_of_a_library_may_go_on(tmp_path: Path) -> None:
    manifest, encoder = write_clips(tmp_path, [3000]), Wherever()
    extract_acoustic(manifest, tmp_path / "out", encoder)
    encoder.version = "2"
    assert extract_acoustic(manifest, tmp_path / "out", encoder).finished_before == 1


def test_overwrite_leaves_no_frames_of_another_extractor(tmp_path: Path) -> None:
    manifest, output = write_clips(tmp_path, [3000, 3000]), tmp_path / "out"
    extract_acoustic(manifest, output, Wherever())
    write_manifest(manifest, [ManifestRow(0, id="u0", audio="0.wav")])
    report = extract_acoustic(manifest, output, LogMel(), overwrite=True)
    assert report.extracted == 1
    assert [path.name for path in output.glob("*.npz")] == ["u0.npz"]
    assert frames_of(output, "u0").shape[1] == 80


@pytest.mark.parametrize("batched", [True, False])
def test_overwrite_leaves_no_frames_of_a_clip_that_now_fails(tmp_path: Path, batched: bool) -> None:
    manifest, output = write_clips(tmp_path, [3000, 3000]), tmp_path / "out"
    encoder = Wherever() if batched else LogMel()
    extract_acoustic(manifest, output, encoder)
    (tmp_path / "0.wav").write_bytes(b"no sound any more")
    report = extract_acoustic(manifest, output, encoder, overwrite=True)
    assert (report.extracted, [name for name, _ in report.failures]) == (1, ["u0"])
    assert [path.name for path in output.glob("*.npz")] == ["u1.npz"]


@pytest.mark.parametrize(("first", "second"), [("en", "English"), ("eng", "en"), ("pt-BR", "pt_br")])
def test_two_names_of_one_language_are_the_same_option(tmp_path: Path, first: str, second: str) -> None:
    manifest, output = write_clips(tmp_path, [3000]), tmp_path / "out"

    def run(language: str | None) -> Report:
        made = AcousticJob(PooledEncoder(LogMel(), 3), streams=StreamChoice(language))
        return extract(manifest, output, made)

    run(first)
    assert run(second).finished_before == 1
    for other in ("pt", "de", None):
        with pytest.raises(UserError, match=r"other streams of the films \(language"):
            run(other)


def test_two_runs_cannot_write_one_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with open(tmp_path / "out" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another extraction writes to it"):
            extract_acoustic(write_clips(tmp_path, [3000]), tmp_path / "out", LogMel())


def test_a_survey_counts_and_writes_nothing(tmp_path: Path) -> None:
    manifest = write_clips(tmp_path, [3000, 3000, 3000])
    (tmp_path / "1.wav").unlink()
    report = survey(manifest, tmp_path / "out", job(LogMel()), look_for_files=True)
    assert (report.with_media, report.finished_before, [key for key, _ in report.failures]) == (3, 0, ["u1"])
    assert not (tmp_path / "out").exists()


def test_a_manifest_without_media_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.tsv", [ManifestRow(0, id="a", text="only text")])
    with pytest.raises(UserError, match="no utterance has audio"):
        survey(tmp_path / "m.tsv", tmp_path / "out", job(LogMel()))


def test_ids_with_slashes_stay_inside_the_folder(tmp_path: Path) -> None:
    write_clips(tmp_path, [3000])
    write_manifest(tmp_path / "m.tsv", [ManifestRow(0, id="../a/b", audio="0.wav")])
    extract_acoustic(tmp_path / "m.tsv", tmp_path / "out", LogMel())
    assert len(list((tmp_path / "out").glob("*.npz"))) == 1
    assert frames_of(tmp_path / "out", "../a/b").shape[1] == 80


def test_extractor_json_is_plain(tmp_path: Path) -> None:
    extract_acoustic(write_clips(tmp_path, [3000]), tmp_path / "out", LogMel())
    assert json.loads((tmp_path / "out" / "extractor.json").read_text())["version"].startswith("kaldi-native-fbank ")
