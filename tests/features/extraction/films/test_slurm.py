"""Parts of films as SLURM jobs, with a launcher that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.core.slurm import SlurmResources
from memobert_plugin.features.extraction.clip import FrontEndOptions
from memobert_plugin.features.extraction.films import job as film_job
from memobert_plugin.features.extraction.films.job import plan_job, run_on_slurm
from memobert_plugin.features.extraction.films.plan import PlanSettings
from memobert_plugin.features.media.movies import read_movies
from memobert_plugin.features.speakers.face_sources.tracker import TrackerOptions
from tests.films import Cue
from tests.slurm import require_slurm
from tests.talking_faces import DrawnFace, write_talking_film

pytest.importorskip("av")
ROOT = Path(__file__).resolve().parents[2]
TALKER = DrawnFace(talks=((0.0, 12.0),))
CUES = [Cue(start, start + 2.0, f"Line {start}") for start in range(0, 12, 2)]


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    write_talking_film(folder, "one", [TALKER], CUES, 12.0)
    (folder / "broken.mp4").write_bytes(b"nothing")
    return folder


def test_jobs_that_vanish_are_failures_that_name_their_logs(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = FrontEndOptions(faces="tracker", face_options=TrackerOptions(films / "tracks"), voice="energy")
    settings = PlanSettings(part_minutes=0.1)
    output = films.parent / "out"
    job = plan_job(read_movies([films / "one.mp4"]), output, options, settings)
    monkeypatch.setattr("memobert_plugin.core.slurm.queued_jobs", frozenset)
    monkeypatch.setattr(film_job, "_submit", lambda job, parts, *_: {part.key: "7_0" for part in parts})
    run_on_slurm(job, SlurmResources(), poll_seconds=0.0)
    assert [film for film, _ in job.failures] == ["one", "one"]
    assert f"its job ended early (logs in {output / 'slurm'}); start again" in (output / "failed.tsv").read_text()


def test_a_machine_without_slurm_is_told_so(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    options = FrontEndOptions(faces="tracker", face_options=TrackerOptions(films / "tracks"), voice="energy")
    job = plan_job(read_movies([films / "one.mp4"]), films.parent / "out", options, PlanSettings())
    with pytest.raises(UserError, match="--executor slurm: no srun here"):
        run_on_slurm(job, SlurmResources())


@pytest.mark.slow
def test_a_launcher_that_is_killed_leaves_its_jobs_and_the_next_one_waits_for_them(films: Path, tmp_path: Path) -> None:
    require_slurm()
    output = tmp_path / "out"
    code = "from memobert_plugin.cli.extract import cli_main; cli_main()"
    flags = ["--faces", "tracker", "--tracker", films / "tracks", "--voice", "energy", "--part-minutes", 0.1]
    command = [sys.executable, "-c", code, "film", str(films), "--output", str(output), *map(str, flags)]
    on_slurm = [*command, "--executor", "slurm", "--slurm-jobs", "2", "--slurm-minutes", "10"]
    launcher = subprocess.Popen(on_slurm, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    for line in launcher.stdout:
        if line.startswith("submitted 2 parts in 2 jobs"):
            break
    time.sleep(1.0)
    launcher.send_signal(signal.SIGKILL)
    launcher.communicate()
    done = subprocess.run(on_slurm, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 1, done.stderr
    assert "submitted" not in done.stdout
    assert "6 lines: 6 utterances (12 s) kept" in done.stdout
    assert "1 of 2 films failed" in done.stdout
    here = [argument if argument != str(output) else str(tmp_path / "here") for argument in command]
    assert subprocess.run(here, cwd=ROOT, capture_output=True, check=False).returncode == 1
    for name in ("parts", "visual", "acoustic"):
        made = {path.relative_to(output): path.read_bytes() for path in (output / name).rglob("*") if path.is_file()}
        expected = {path: (tmp_path / "here" / path).read_bytes() for path in made}
        assert made == expected
