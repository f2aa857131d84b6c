"""Jobs of SLURM: submitted, followed, lost, failed, left over, pre-empted; frames made in them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from memobert_plugin.core import slurm as module
from memobert_plugin.core.errors import UserError
from memobert_plugin.core.slurm import SlurmResources, slurm_map
from tests.slurm import require_slurm

ROOT = Path(__file__).resolve().parents[2]
TWO = SlurmResources(jobs=2)


class Cluster:
    """Jobs that end as soon as they are submitted, but for those that are told to vanish."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, vanish: frozenset[int] = frozenset()) -> None:
        self.vanish, self.cancelled, self.last_first = vanish, list[str](), False
        self.queued: frozenset[str] | None = frozenset()
        self.sizes: list[int] = []
        monkeypatch.setattr(module, "submit_array", self.submit)
        monkeypatch.setattr(module, "queued_jobs", lambda: self.queued)

    def submit(
        self, function: Callable[..., Any], calls: list[tuple[Any, ...]], resources: SlurmResources, folder: Path
    ) -> list[Any]:
        folder.mkdir(parents=True, exist_ok=True)
        self.sizes = [len(items) for _, items, _ in calls]
        jobs = [self.job(number, function, call, folder) for number, call in enumerate(calls)]
        return jobs[::-1] if self.last_first else jobs

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


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("sbatch: error: invalid partition specified: x", "correct the --slurm flags"),
        ("Unable to contact slurm controller (connect failure)", "when the controller answers"),
        ("Socket timed out on send/recv operation", "when the controller answers"),
    ],
)
def test_what_sbatch_says_is_followed_by_what_helps(
    said: str, advice: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Executor:
        def __init__(self, folder: Path) -> None: ...

        def update_parameters(self, **parameters: Any) -> None: ...

        def batch(self) -> Any:
            raise RuntimeError(said)

    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(SlurmExecutor=Executor))
    with pytest.raises(UserError, match=f"^sbatch: {re.escape(said)}; .*{advice}"):
        module.submit_array(abs, [(1,)], TWO, tmp_path, name="x")


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


def test_closing_the_iterator_cancels_the_jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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


def fake_command(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def test_the_queue_lists_elements_of_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    fake_command(tmp_path, "squeue", '[[ "$*" == *--array* && "$*" == *--me* ]] && printf "7\\n8_0\\n8_1\\n"')
    assert module.queued_jobs() == {"7", "8_0", "8_1"}
    fake_command(tmp_path, "squeue", "echo unable to contact slurm controller >&2; exit 1")
    assert module.queued_jobs() is None
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert module.queued_jobs() is None


SLOW_KILL = 'kill() { builtin kill "$@"; local status=$?; [ "$1" = -0 ] || sleep 1; return $status; }'
"""The task has ended when the script goes on after passing a signal on."""


@pytest.mark.parametrize("before", ["", SLOW_KILL], ids=["at once", "after the task has ended"])
def test_a_signal_to_the_batch_script_reaches_its_tasks(tmp_path: Path, before: str) -> None:
    # A loop over $(seq 300) is read when the signal comes, and bash then finds its end missing.
    task = "trap 'echo told; exit 5' USR2; echo ready; for i in {1..300}; do sleep 0.1; done"
    fake_command(tmp_path, "srun", task)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        ["bash", "-c", f"{before}\n{module._FORWARD_WARNING}\nsrun --some python -m job\necho status $?"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(12)
    output, _ = process.communicate(timeout=30)
    assert output.split("\n")[:2] == ["told", "status 5"]


def test_a_piece_is_lost_when_its_job_is_missing_from_several_answers_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    queues: list[frozenset[str] | None] = [frozenset(), None, frozenset(), frozenset({"1"}), *[frozenset()] * 3]
    monkeypatch.setattr(module, "queued_jobs", lambda: queues.pop(0))
    watch = module.Watch(lambda piece: False)
    watch.add({"piece": "1"})
    assert list(watch.follow(0.0)) == [("piece", False)] and not queues


@pytest.mark.parametrize(("minutes", "requeued"), [(10, True), (2, False)])
def test_a_short_job_that_is_preempted_is_requeued_and_one_whose_time_is_up_ends(
    tmp_path: Path, minutes: int, requeued: bool
) -> None:
    fake_command(tmp_path, "scontrol", 'echo "$@"')
    code = (
        "import os, signal; from memobert_plugin.core.slurm import SlurmResources, requeued_when_preempted\n"
        f"with requeued_when_preempted(SlurmResources(minutes={minutes})):\n"
        "    try: os.kill(os.getpid(), signal.SIGUSR2)\n"
        "    except Exception: print('taken for a fault of the item')\n"
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == ("requeue 7\n" if requeued else "")
    assert requeued or "UserError: --slurm-minutes 2: the job needs longer" in done.stderr


def test_a_machine_without_slurm_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="--executor slurm: no srun here"):
        list(slurm_map(abs, [1], TWO, tmp_path))


def write_sounds(folder: Path, count: int) -> Path:
    """Clips of half a second and less, and two that are none."""
    from memobert_plugin.data.manifest import ManifestRow, write_manifest

    random, rows = np.random.default_rng(1), []
    for index in range(count):
        soundfile.write(folder / f"{index}.wav", random.uniform(-0.5, 0.5, 8000 - 800 * (index % 3)), 16_000)
        rows.append(ManifestRow(0, f"u{index}", audio=f"{index}.wav"))
    for index in (3, count - 2):
        (folder / f"{index}.wav").write_bytes(b"no sound")
    write_manifest(folder / "m.tsv", rows)
    return folder / "m.tsv"


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize("name", ["logmel", "wav2vec2"])
def test_sound_encoded_window_by_window_in_jobs_is_that_encoded_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    from memobert_plugin.features.encoders.base import ENCODERS, SpeechOptions
    from memobert_plugin.features.extraction.acoustic import AcousticJob
    from memobert_plugin.features.extraction.job import extract

    if name == "wav2vec2":
        pytest.importorskip("fairseq")
        pytest.importorskip("transformers")
        from tests.features.encoders.test_wav2vec2 import save_hugging_face

        save_hugging_face(tmp_path / "weights", "base")
    own = ENCODERS.get(name).Options(**({"weights": tmp_path / "weights"} if name == "wav2vec2" else {}))
    manifest, job = write_sounds(tmp_path, 40), AcousticJob(SpeechOptions(name, own), batch_size=1)
    cluster = Cluster(monkeypatch)
    cluster.last_first = True
    here = extract(manifest, tmp_path / "here", job)
    (tmp_path / "jobs").mkdir()
    for kept in ("u0", "u17"):
        (tmp_path / "jobs" / f"{kept}.npz").write_bytes((tmp_path / "here" / f"{kept}.npz").read_bytes())
    (tmp_path / "jobs" / "extractor.json").write_bytes((tmp_path / "here" / "extractor.json").read_bytes())
    jobs = extract(manifest, tmp_path / "jobs", job, slurm=TWO)
    assert cluster.sizes == [1, 1, 1]
    assert (jobs.finished_before, jobs.extracted, here.extracted) == (2, 36, 38)
    assert [utterance for utterance, _ in jobs.failures] == ["u3", "u38"]
    assert files_in(tmp_path / "jobs") == files_in(tmp_path / "here")


def test_jobs_may_have_the_gpu_that_their_launcher_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from memobert_plugin.cli.extract import main
    from memobert_plugin.data.manifest import ManifestRow, write_manifest

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    pytest.importorskip("av")
    (tmp_path / "talk.mp4").write_bytes(b"no film")
    (tmp_path / "tracks").mkdir()
    write_manifest(tmp_path / "m.tsv", [ManifestRow(0, "u", video="talk.mp4", audio="talk.mp4")])
    flags = ["--executor", "slurm", "--device", "cuda", "--manifest", str(tmp_path / "m.tsv")]
    faces = ["--faces", "tracker", "--tracker", str(tmp_path / "tracks"), "--voice", "energy"]
    Cluster(monkeypatch)
    with pytest.raises(UserError, match="1 of 1 jobs are without result, the first: 7_0 failed: --device cuda"):
        main(["visual", *flags, *faces, "--output", str(tmp_path / "visual")])
    assert main(["acoustic", *flags, "--output", str(tmp_path / "acoustic")]) == 1
    assert "submitted 1 jobs" in capsys.readouterr().out


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
    assert files_in(tmp_path / "here") == files_in(tmp_path / "jobs") and len(files_in(tmp_path / "here")) == 9


@pytest.mark.slow
def test_sound_encoded_by_jobs_of_a_cluster_is_that_encoded_here(tmp_path: Path) -> None:
    require_slurm()
    manifest = write_sounds(tmp_path, 200)
    code = "from memobert_plugin.cli.extract import cli_main; cli_main()"
    said = {}
    for name, more in {
        "here": (),
        "jobs": ("--executor", "slurm", "--slurm-jobs", "2", "--slurm-minutes", "10"),
    }.items():
        command = [sys.executable, "-c", code, "acoustic", "--manifest", manifest, "--output", tmp_path / name, *more]
        done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        said[name] = done.stdout
    assert "submitted 4 jobs" in said["jobs"]
    for name in said:
        assert "200 utterances, 0 without audio, 0 finished before; 198 extracted" in said[name]
    assert files_in(tmp_path / "here") == files_in(tmp_path / "jobs") and len(files_in(tmp_path / "here")) == 201
