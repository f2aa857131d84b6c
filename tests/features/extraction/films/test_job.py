"""Whole jobs: what is written, what a second run does, and what broken films do to the others."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.frames import read_extractor_info, read_frames
from memobert_plugin.data.manifest import read_manifest
from memobert_plugin.features.extraction.clip import FrontEndOptions
from memobert_plugin.features.extraction.films.job import FilmJob, Share, plan_job, run_job, summarize_job
from memobert_plugin.features.extraction.films.merge import ValidSettings, merge_parts
from memobert_plugin.features.extraction.films.parts import extract_part
from memobert_plugin.features.extraction.films.plan import PlanSettings
from memobert_plugin.features.media.movies import read_movies
from memobert_plugin.features.media.streams import StreamChoice
from memobert_plugin.features.speakers.face_sources.tracker import TrackerOptions
from tests.films import Cue, write_film, write_srt
from tests.talking_faces import DrawnFace, write_talking_film

pytest.importorskip("av")
ROOT = Path(__file__).resolve().parents[2]
TALKER = DrawnFace(talks=((0.0, 2.0), (3.0, 5.0), (6.0, 9.0)), seen=(0.0, 5.0))
CUES = [
    Cue(0.0, 2.0, "Hello."),
    Cue(3.0, 5.0, "How <i>are</i> you?"),
    Cue(6.0, 9.0, "Off screen."),
    Cue(2.2, 2.4, "Oh!"),
]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name in ("one", "two"):
        write_talking_film(folder, name, [TALKER], CUES, 9.0)
    return folder


def options(films: Path) -> FrontEndOptions:
    return FrontEndOptions(faces="tracker", face_options=TrackerOptions(films / "tracks"), voice="energy")


def planned(films: Path, output: Path, part_minutes: float = 0.05, **more: object) -> FilmJob:
    settings = PlanSettings(part_minutes=part_minutes)
    return plan_job(read_movies([films]), output, options(films), settings, **more)  # type: ignore[arg-type]


def extract(films: Path, output: Path, **more: object) -> FilmJob:
    job = planned(films, output, **more)  # type: ignore[arg-type]
    run_job(job, workers=1)
    return job


def contents(folder: Path, *below: str) -> dict[str, bytes]:
    found = [path for name in below for path in (folder / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_lines_become_utterances_or_have_a_reason(films: Path, tmp_path: Path) -> None:
    job = extract(films, tmp_path / "out")
    assert job.failures == []
    merged = merge_parts([tmp_path / "out"], tmp_path / "out", ValidSettings(0.5))
    assert (merged.films, merged.train + merged.valid, merged.dropped) == (2, 4, 4)
    rows = list(read_manifest(tmp_path / "out" / "manifest.tsv"))
    assert [(row.id, row.text, row.start, row.end) for row in rows[:2]] == [
        ("one_00001", "Hello.", 0.0, 2.0),
        ("one_00003", "How are you?", 3.0, 5.0),
    ]
    assert rows[0].video == str(films / "one.mp4")
    for row in rows:
        visual, acoustic = (read_frames(tmp_path / "out" / kind / f"{row.id}.npz") for kind in ("visual", "acoustic"))
        assert visual is not None
        assert acoustic is not None
        assert visual.frames.shape == (20, 342)
        assert visual.expression is not None
        assert visual.expression.shape == (20, 8)
        assert acoustic.frames.shape == (33, 80)
    dropped = (tmp_path / "out" / "dropped.tsv").read_text().splitlines()
    assert dropped[0].split("\t") == ["id", "start", "end", "reason", "text"]
    assert [line.split("\t") for line in dropped[1:3]] == [
        ["one_00002", "2.200", "2.400", "shorter than 1 s", "Oh!"],
        ["one_00004", "6.000", "9.000", "no face", "Off screen."],
    ]
    info = read_extractor_info(tmp_path / "out" / "visual")
    assert (info.name, info.dim, info.frame_rate) == ("denseface", 342, 10.0)
    told = "\n".join(summarize_job(job))
    assert "8 lines: 4 utterances (8 s) kept, 4 dropped" in told
    assert "2  shorter than 1 s" in told
    assert "s of film per second" in told
    assert "decoding pictures" in told


@pytest.mark.parametrize("part_minutes", [0.05, 0.1, 10.0])
def test_progress_reaches_the_films_length_and_no_more(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_minutes: float
) -> None:
    totals: list[float] = []
    steps: list[float] = []

    @contextmanager
    def progress(total: float, title: str, unit: str) -> Iterator[Callable[[float], None]]:
        totals.append(total)
        yield steps.append

    monkeypatch.setattr("memobert_plugin.features.extraction.films.job.progress_of", progress)
    extract(films, tmp_path / "out", part_minutes=part_minutes)
    assert totals == [pytest.approx(18.0, abs=0.2)]
    assert min(steps) >= 0 and max(steps) < 6.5
    assert sum(steps) == pytest.approx(totals[0])


def test_a_film_that_fails_counts_as_done(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = planned(films, tmp_path / "out")
    steps: list[float] = []
    for part in job.waiting:
        extract_part(replace(part, path=tmp_path / "gone.mp4"), job.output, job.options, advance=steps.append)
    assert sum(steps) == pytest.approx(sum(part.seconds for part in job.waiting))


def test_a_second_run_does_nothing_and_other_options_are_refused(films: Path, tmp_path: Path) -> None:
    assert extract(films, tmp_path / "out").waiting
    assert extract(films, tmp_path / "out").waiting == []
    merge_parts([tmp_path / "out"], tmp_path / "out")
    with pytest.raises(UserError, match=r"other options \(lines\.part_minutes 0\.05, now 1\.0\)"):
        planned(films, tmp_path / "out", part_minutes=1.0)
    assert planned(films, tmp_path / "out", part_minutes=1.0, overwrite=True).waiting
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "notes.txt").touch()
    with pytest.raises(UserError, match=r"holds something else \(no extraction\.json\)"):
        planned(films, tmp_path / "else")


def test_two_names_of_one_language_are_the_same_option(films: Path, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    shutil.copy(films / "one.mp4", tmp_path / "films")
    shutil.copy(films / "one.srt", tmp_path / "films/one.en.srt")

    def planned(language: str) -> FilmJob:
        streams = StreamChoice(language)
        movies = read_movies([tmp_path / "films"], streams=streams)
        settings = PlanSettings(streams=streams)
        return plan_job(movies, tmp_path / "out", options(films), settings)

    run_job(planned("en"), workers=1)
    for language in ("english", "eng"):
        assert not planned(language).waiting
    with pytest.raises(UserError, match=r"other options \(lines.language 'eng', now 'fr'"):
        planned("fr")


def test_other_options_are_taken_as_long_as_no_part_is_begun(films: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--encoding klingon"):
        plan_job(read_movies([films]), tmp_path / "out", options(films), PlanSettings(encoding="klingon"))
    assert len(extract(films, tmp_path / "out").waiting) == 6
    with pytest.raises(UserError, match="other options"):
        planned(films, tmp_path / "out", part_minutes=1.0)


def test_changed_subtitles_are_extracted_again(films: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(films, tmp_path / "films"))
    extract(copied, tmp_path / "out")
    write_srt(copied / "one.srt", [CUES[0], CUES[3], Cue(3.0, 4.5, "Changed.")])
    job = extract(copied, tmp_path / "out")
    assert [(part.film, part.index) for part in job.waiting] == [("one", 1)]
    assert merge_parts([tmp_path / "out"], tmp_path / "out").missing == []
    texts = [row.text for row in read_manifest(tmp_path / "out" / "manifest.tsv") if row.session == "one"]
    assert texts == ["Hello.", "Changed."]


def test_two_machines_make_what_one_makes_however_films_are_divided(films: Path, tmp_path: Path) -> None:
    extract(films, tmp_path / "one", part_minutes=10.0)
    merge_parts([tmp_path / "one"], tmp_path / "one")
    for number in (1, 2):
        extract(films, tmp_path / f"machine{number}", share=Share(number, 2))
    assert merge_parts([tmp_path / "machine2"], tmp_path / "both").missing == [
        "one, part 0",
        "one, part 2",
        "two, part 1",
    ]
    assert merge_parts([tmp_path / "machine1", tmp_path / "machine2"], tmp_path / "both").missing == []
    names = ("visual", "acoustic", "manifest.tsv", "dropped.tsv")
    for name in names[2:]:
        assert (tmp_path / "both" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert contents(tmp_path / "both", *names[:2]) == contents(tmp_path / "one", *names[:2])
    with pytest.raises(UserError, match="different parts of one name"):
        merge_parts([tmp_path / "one", tmp_path / "machine1"], tmp_path / "wrong")


def test_validation_takes_whole_films_or_blocks(films: Path, tmp_path: Path) -> None:
    extract(films, tmp_path / "out")

    def split(settings: ValidSettings) -> list[tuple[str, str]]:
        merge_parts([tmp_path / "out"], tmp_path / "out", settings)
        return [(row.session, row.split) for row in read_manifest(tmp_path / "out" / "manifest.tsv")]

    by_film = split(ValidSettings(0.5))
    assert len(set(by_film)) == 2
    assert {value for _, value in by_film} == {"train", "valid"}
    by_block = split(ValidSettings(0.05))
    assert sorted(by_block) == [(film, value) for film in ("one", "two") for value in ("train", "valid")]
    assert {value for _, value in split(ValidSettings(0.0))} == {"train"}


def test_a_broken_film_leaves_the_others_alone(films: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(films, tmp_path / "films"))
    (folder / "broken.mp4").write_bytes(np.random.default_rng(0).bytes(9000))
    write_film(folder / "mute.mp4", seconds=2.0, silent=True)
    write_film(folder / "radio.mp4", seconds=2.0, picture=None)
    write_film(folder / "untitled.mp4", seconds=2.0)
    for name in ("broken", "mute", "radio"):
        write_srt(folder / f"{name}.srt", CUES)
    job = extract(folder, tmp_path / "out")
    assert [film for film, _ in job.failures] == ["broken", "mute", "radio", "untitled"]
    reasons = (tmp_path / "out" / "failed.tsv").read_text()
    for reason in ("cannot be opened as a media file", "no audio stream", "no video stream", "no subtitles beside it"):
        assert reason in reasons
    assert job.failed_share == pytest.approx(4 / 6)
    told = "\n".join(summarize_job(job))
    assert "4 of 6 films failed" in told
    assert "4 utterances" in told


def test_lines_in_a_damaged_stretch_are_defects_and_the_rest_is_kept(tmp_path: Path) -> None:
    talker = DrawnFace(talks=((0.0, 12.0),))
    cues = [Cue(start, start + 2.0, f"Line {start}") for start in range(0, 12, 2)]
    film = write_talking_film(tmp_path, "film", [talker], cues, 12.0, sound_codec="pcm_s16le", suffix=".mkv")
    content = bytearray(film.read_bytes())
    third = len(content) // 3
    content[third : third + len(content) // 6] = bytes(len(content) // 6)
    film.write_bytes(content)
    job = extract(tmp_path, tmp_path / "out")
    kept = sum(each.kept for each in job.reports)
    assert 3 <= kept < 6
    assert sum(each.lines for each in job.reports) == 6


@pytest.mark.slow
def test_a_killed_extraction_goes_on_to_the_same_bytes(films: Path, tmp_path: Path) -> None:
    code = "from memobert_plugin.cli.extract import cli_main; cli_main()"
    arguments = [
        films,
        "--faces",
        "tracker",
        "--tracker",
        films / "tracks",
        "--voice",
        "energy",
        "--part-minutes",
        0.05,
    ]
    command = [sys.executable, "-c", code, "film", *map(str, arguments), "--output"]
    subprocess.run([*command, str(tmp_path / "whole")], cwd=ROOT, check=True, capture_output=True)
    output = tmp_path / "killed"
    kills = 0
    for after in (0.0, 0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3):
        process = subprocess.Popen([*command, str(output)], cwd=ROOT, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while process.poll() is None and not (output / "extraction.json").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills
    subprocess.run([*command, str(output)], cwd=ROOT, check=True, capture_output=True)
    names = ("parts", "visual", "acoustic")
    assert contents(output, *names) == contents(tmp_path / "whole", *names)
    for name in ("manifest.tsv", "dropped.tsv"):
        assert (output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not [name for name in os.listdir(output / "parts" / "one") if name.startswith(".")]


@pytest.mark.slow
def test_workers_make_the_same_bytes(films: Path, tmp_path: Path) -> None:
    extract(films, tmp_path / "one")
    job = planned(films, tmp_path / "three")
    run_job(job, workers=3)
    assert contents(tmp_path / "one", "parts") == contents(tmp_path / "three", "parts")
