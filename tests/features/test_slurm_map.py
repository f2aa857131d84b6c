"""One function over many items in SLURM jobs, also in those that vanish, fail or are left over."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memobert_plugin.errors import UserError
from memobert_plugin.features import slurm_map as module
from memobert_plugin.features.slurm_array import SlurmResources
from memobert_plugin.features.slurm_map import slurm_map
from tests.slurm import require_slurm

ROOT = Path(__file__).resolve().parents[2]
TWO = SlurmResources(jobs=2)


class Cluster:
    """Jobs that end as soon as they are submitted, but for those that are told to vanish."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, vanish: frozenset[int] = frozenset()) -> None:
        self.vanish, self.cancelled = vanish, list[str]()
        self.queued: frozenset[str] | None = frozenset()
        self.sizes: list[int] = []
        monkeypatch.setattr(module, "submit_array", self.submit)
        monkeypatch.setattr(module, "queued_jobs", lambda: self.queued)

    def submit(
        self, function: Callable[..., Any], calls: list[tuple[Any, ...]], resources: SlurmResources, folder: Path
    ) -> list[Any]:
        self.sizes = [len(items) for _, items in calls]
        return [self.job(number, function, call, folder) for number, call in enumerate(calls)]

    def job(self, number: int, function: Callable[..., Any], call: tuple[Any, ...], folder: Path) -> Any:
        name = f"7_{number}"
        result = folder / f"{name}.pkl"
        if number not in self.vanish:
            result.touch()
        return SimpleNamespace(
            job_id=name,
            paths=SimpleNamespace(result_pickle=result, stdout=folder / f"{name}.out"),
            result=lambda: function(*call),
            cancel=lambda check: self.cancelled.append(name),
        )


def test_every_item_once_in_jobs_of_about_equal_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cluster = Cluster(monkeypatch)
    assert sorted(slurm_map(abs, range(-20, 0), TWO, tmp_path, 0.0)) == list(range(1, 21))
    assert len(cluster.sizes) == 8 and set(cluster.sizes) == {2, 3}
    assert list(slurm_map(abs, [-3], TWO, tmp_path, 0.0)) == [3]
    assert list(slurm_map(abs, [], TWO, tmp_path, 0.0)) == []


def test_the_others_come_first_then_a_job_that_vanished_is_named_with_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Cluster(monkeypatch, vanish=frozenset({1}))
    results = slurm_map(abs, range(8), TWO, tmp_path, 0.0)
    assert [next(results) for _ in range(7)] == [0, 2, 3, 4, 5, 6, 7]
    with pytest.raises(UserError, match=r"1 of 8 jobs are without result, the first: 7_1 ended early .*7_1\.out"):
        next(results)


def test_a_job_that_fails_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Cluster(monkeypatch)
    with pytest.raises(UserError, match=r"7_0 failed: math domain error"):
        list(slurm_map(__import__("math").sqrt, [-1.0], TWO, tmp_path, 0.0))


def test_whoever_stops_takes_the_jobs_out_of_the_queue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cluster = Cluster(monkeypatch, vanish=frozenset({1, 2}))
    cluster.queued = frozenset({"7_1", "7_2"})
    results = slurm_map(abs, range(3), TWO, tmp_path, 0.0)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert cluster.cancelled == ["7_1", "7_2"]


def test_jobs_left_by_a_launcher_that_was_killed_are_not_doubled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster = Cluster(monkeypatch, vanish=frozenset({1}))
    cluster.queued = frozenset({"7_1"})
    killed = slurm_map(abs, range(3), TWO, tmp_path, 0.0)
    next(killed)
    with pytest.raises(UserError, match=r"1 jobs of an earlier run are still .* the first 7_1; .* scancel 7"):
        list(slurm_map(abs, range(3), TWO, tmp_path, 0.0))
    cluster.queued, cluster.vanish = frozenset(), frozenset()
    assert list(slurm_map(abs, range(3), TWO, tmp_path, 0.0)) == [0, 1, 2]


def test_a_machine_without_slurm_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="--executor slurm: no srun here"):
        list(slurm_map(abs, [1], TWO, tmp_path))


@pytest.mark.slow
def test_faces_found_by_jobs_are_those_found_here(tmp_path: Path) -> None:
    pytest.importorskip("av")
    require_slurm()
    from memobert_plugin.data.manifest import ManifestRow, write_manifest
    from tests.talking_faces import DrawnFace, write_talking_film

    write_talking_film(tmp_path, "talk", [DrawnFace(talks=((0.0, 8.0),))], [], 8.0)
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    rows = [ManifestRow(0, f"u{start}", video="talk.mp4", start=start, end=start + 1.5) for start in range(6)]
    write_manifest(tmp_path / "m.tsv", [*rows, ManifestRow(0, "broken", video="broken.mp4")])
    code = "from memobert_plugin.cli.extract import cli_main; cli_main()"
    flags = [
        "--faces",
        "tracker",
        "--tracker",
        tmp_path / "tracks",
        "--voice",
        "energy",
        "--manifest",
        tmp_path / "m.tsv",
    ]
    said = {}
    for name, more in {
        "here": (),
        "jobs": ("--executor", "slurm", "--slurm-jobs", "2", "--slurm-minutes", "10"),
    }.items():
        command = [sys.executable, "-c", code, "visual", *map(str, flags), "--output", str(tmp_path / name), *more]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 1, done.stderr  # one of seven failed
        said[name] = done.stdout
    assert "submitted 7 jobs" in said["jobs"]
    for name in said:
        assert "7 utterances, 0 without a film, 0 finished before; 6 extracted" in said[name]
    here = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir() if path.name != ".lock"}
    jobs = {path.name: path.read_bytes() for path in (tmp_path / "jobs").iterdir() if path.is_file()}
    jobs.pop(".lock", None)
    assert here == jobs and len(here) == 8
