"""Runs of a sweep as SLURM jobs: submitted in arrays when what they depend on is done, watched in their folders."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..core.signals import STOP_SIGNAL, passed_on_to_children, received_signals, stop_requested
from ..core.slurm import FOLDER, Watch, job_number, queued_jobs, requeue_job, submit_array
from .expansion import Run
from .plan import Resources
from .records import DONE, FAILED, STOPPED, RunFolder, RunState
from .run_process import RunOptions, import_fairseq, start_process, start_run, train_with_first_rank
from .schedule import Schedule

PACKAGE = Path(__file__).resolve().parents[1]


def run_job(sweep: Path, names: Sequence[str], options: RunOptions) -> None:
    """Carry out these runs one after the other; called in a job.

    On the cluster's warning (SIGUSR2) and on SIGTERM the current run saves and stops. After the warning the job puts
    itself back into the queue, however short it is (submitit 1.5.4 does so only with more than ten minutes). It does
    not after a SIGTERM, which comes from somebody who ends or requeues the job.
    """
    rank, ranks = int(os.environ.get("SLURM_PROCID", 0)), int(os.environ.get("SLURM_NTASKS", 1))
    options = replace(options, job=job_number(), key=_start_key() if ranks > 1 else "")
    status = 0
    with passed_on_to_children(STOP_SIGNAL, signal.SIGTERM):
        import_fairseq()
        for name in names:
            folder = RunFolder(sweep / name)
            if stop_requested():
                break
            if rank:
                process = start_process(_follow, (folder, rank, options))
            elif folder.read_state().status in (DONE, FAILED):
                continue
            else:
                process = start_run(folder, options)
            process.join()
            status = status or (process.exitcode or 0)
        if rank == 0 and STOP_SIGNAL in received_signals() and _unfinished(sweep, names):
            requeue_job()
    if ranks > 1 and status:
        sys.exit(1)  # SLURM then ends the other ranks, which would wait for this one


def _start_key() -> str:
    """Return a name of this start of the job, which differs each time the job is requeued."""
    return f"{job_number()}.{os.environ.get('SLURM_RESTART_COUNT', '0')}"


def _unfinished(sweep: Path, names: Sequence[str]) -> bool:
    return any(RunFolder(sweep / name).read_state().status not in (DONE, FAILED) for name in names)


def _follow(folder: RunFolder, rank: int, options: RunOptions) -> None:
    with passed_on_to_children(STOP_SIGNAL):
        status = train_with_first_rank(folder, rank, options.key, options.threads)
    sys.exit(0 if stop_requested() else int(bool(status)))


class SlurmExecutor:
    """Submit the runs of a sweep as jobs, each when what it depends on is done, and watch them.

    Args:
        schedule: the runs and their states.
        resources: of a job, by the kind of its runs.
        code: the folder with the package's snapshot.
        keep_checkpoints: see :class:`RunOptions`.
        announce: called with a run's name and state when it has ended.
    """

    def __init__(
        self,
        schedule: Schedule,
        resources: Mapping[str, Resources],
        code: Path,
        keep_checkpoints: str,
        announce: Callable[[str, RunState], None],
    ) -> None:
        self.schedule, self.resources, self.code, self.announce = schedule, resources, code, announce
        self.keep_checkpoints = keep_checkpoints
        self.folder = schedule.sweep.path / FOLDER
        self._watch = Watch(lambda name: schedule.folder(name).read_state().status in (DONE, FAILED))

    def run(self, poll_seconds: float) -> int:
        """Submit and watch until everything has ended; return 0.

        A launcher that is ended leaves its jobs in the queue; the next one finds them there.
        """
        self._adopt()
        while True:
            for kind in self.resources:
                ready = [run for run in self.schedule.ready() if run.kind == kind]
                if ready:
                    self._submit(kind, ready)
            if not self._watch.jobs:
                return 0
            time.sleep(poll_seconds)
            for name, _ in self._watch.look():
                state = self.schedule.ended(name)
                if state.status not in (DONE, FAILED):
                    self.schedule.statuses[name] = STOPPED
                self.announce(name, state)

    def _adopt(self) -> None:
        """Watch the jobs that an earlier launcher submitted and that are still queued."""
        queued = queued_jobs() or frozenset()
        for run in list(self.schedule.runs.values()):
            job = self.schedule.folder(run.name).submitted_job()
            if job in queued and self.schedule.statuses[run.name] not in (DONE, FAILED):
                self._watch.add({run.name: str(job)})
                self.schedule.started(run.name)

    def _submit(self, kind: str, runs: Sequence[Run]) -> None:
        resources = self.resources[kind]
        groups = job_groups(runs, resources.runs_per_job)
        options = RunOptions(resources.cpus, self.keep_checkpoints)
        jobs = submit_array(
            run_job,
            [(self.schedule.sweep.path, [run.name for run in group], options) for group in groups],
            resources,
            self.folder,
            name=f"{self.schedule.sweep.path.name}-{kind}",
            setup=[
                f"export PYTHONPATH={shlex.quote(str(self.code))}${{PYTHONPATH:+:$PYTHONPATH}}",
                # Python looks for modules in the working directory first: it must not be the one with the sources.
                f"cd {shlex.quote(str(self.folder))}",
            ],
            source="plan's section slurm",
        )
        for group, job in zip(groups, jobs, strict=True):
            for run in group:
                self.schedule.folder(run.name).note_submission(job.job_id)
                self._watch.add({run.name: job.job_id})
                self.schedule.started(run.name)
        print(f"submitted {len(runs)} {kind} runs in {len(groups)} jobs: {jobs[0].job_id} …", flush=True)


def job_groups(runs: Sequence[Run], runs_per_job: int) -> list[list[Run]]:
    """Divide runs into groups of ``runs_per_job``, in order."""
    return [list(runs[start : start + runs_per_job]) for start in range(0, len(runs), runs_per_job)]


def take_snapshot(folder: Path) -> Path:
    """Copy the package into ``folder``, under a name made of its content, unless that copy is there already.

    Jobs that start hours later run this copy, not what was edited since.

    Returns:
        The folder to put on PYTHONPATH.
    """
    files = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(PACKAGE)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    target = folder / digest.hexdigest()[:12]
    if not target.exists():
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copytree(PACKAGE, temporary / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
        os.rename(temporary, target)
    return target
