"""A manifest's films to one file of visual frames each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.frames import read_frames
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from memobert_plugin.features.encoders.base import PooledEncoder
from memobert_plugin.features.encoders.logmel import LogMel
from memobert_plugin.features.extraction.acoustic import AcousticJob
from memobert_plugin.features.extraction.clip import FrontEndOptions
from memobert_plugin.features.extraction.job import Report, survey
from memobert_plugin.features.extraction.job import extract as extract_job
from memobert_plugin.features.extraction.visual import VisualJob
from memobert_plugin.features.speakers.face_sources.tracker import TrackerOptions
from tests.talking_faces import DrawnFace, write_talking_film

pytest.importorskip("av")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    left = DrawnFace(x=40, talks=((0.0, 3.0),), seen=(0.0, 6.0))
    write_talking_film(folder, "dialogue", [left, DrawnFace(x=120, talks=((3.0, 6.0),), seen=(0.0, 6.0))], [], 8.0)
    (folder / "broken.mp4").write_bytes(b"no film")
    rows = [
        ManifestRow(0, "a", video="dialogue.mp4", start=0.5, end=2.5),
        ManifestRow(0, "b", video="dialogue.mp4", start=3.5, end=5.5),
        ManifestRow(0, "c", video="dialogue.mp4", start=6.5, end=7.9),
        ManifestRow(0, "d", audio="only.wav"),
        ManifestRow(0, "e", video="broken.mp4"),
    ]
    write_manifest(folder / "m.tsv", rows)
    return folder / "m.tsv"


def options(manifest: Path, **more: object) -> FrontEndOptions:
    tracks = manifest.parent / "tracks"
    return FrontEndOptions(faces="tracker", face_options=TrackerOptions(tracks), voice="energy", speech=None, **more)  # type: ignore[arg-type]


def extract(manifest: Path, output: Path, **more: object) -> Report:
    return extract_job(manifest, output, VisualJob(options(manifest, **more)))


def test_speakers_faces_in_files_and_reasons_for_the_others(manifest: Path, tmp_path: Path) -> None:
    report = extract(manifest, tmp_path / "out")
    assert (report.with_media, report.without_media, report.extracted) == (4, 1, 2)
    assert report.dropped == {"c": "no face"}
    assert [utterance_id for utterance_id, _ in report.failures] == ["e"]
    assert report.failed_share == 0.25
    frames = [read_frames(tmp_path / "out" / f"{name}.npz") for name in "ab"]
    for each in frames:
        assert each is not None
        assert each.frames.shape == (20, 342)
        assert each.expression is not None
        np.testing.assert_allclose(each.expression.sum(axis=1), 1.0, atol=1e-5)
    assert (tmp_path / "out" / "dropped.tsv").read_text() == "id\treason\nc\tno face\n"
    assert "broken.mp4: cannot be opened" in (tmp_path / "out" / "failed.tsv").read_text()


def test_a_second_run_tries_only_failures_again(manifest: Path, tmp_path: Path) -> None:
    extract(manifest, tmp_path / "out")
    before = (tmp_path / "out" / "a.npz").stat().st_mtime_ns
    again = extract(manifest, tmp_path / "out")
    assert (again.finished_before, again.extracted, len(again.failures)) == (3, 0, 1)
    assert (tmp_path / "out" / "a.npz").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="choice 'speaker', not 'most_frequent'"):
        extract(manifest, tmp_path / "out", choice="most_frequent")


def test_a_note_that_a_kill_cut_off_is_made_again(manifest: Path, tmp_path: Path) -> None:
    extract(manifest, tmp_path / "out")
    (tmp_path / "out" / "dropped.tsv").write_text("id\treason\nc\tno fa")
    again = extract(manifest, tmp_path / "out")
    assert again.finished_before == 2
    assert (tmp_path / "out" / "dropped.tsv").read_text() == "id\treason\nc\tno face\n"


def test_a_survey_opens_nothing(manifest: Path, tmp_path: Path) -> None:
    job = VisualJob(options(manifest))
    report = survey(manifest, tmp_path / "out", job, look_for_files=True)
    assert (report.with_media, report.failures) == (4, [])
    write_manifest(tmp_path / "m.tsv", [ManifestRow(0, "a", video="gone.mp4")])
    assert survey(tmp_path / "m.tsv", tmp_path / "out", job, look_for_files=True).failures[0][0] == "a"
    write_manifest(tmp_path / "m.tsv", [ManifestRow(0, "a")])
    with pytest.raises(UserError, match="no utterance has a film"):
        survey(tmp_path / "m.tsv", tmp_path / "out", job)


def test_a_films_own_sound_stands_in_for_a_sound_file(manifest: Path, tmp_path: Path) -> None:
    report = extract_job(manifest, tmp_path / "out", AcousticJob(PooledEncoder(LogMel(), 3)))
    assert (report.with_media, report.extracted) == (5, 3)
    frames = read_frames(tmp_path / "out" / "a.npz")
    assert frames is not None
    assert frames.frames.shape == (66, 80)
