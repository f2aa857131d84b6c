"""Runs of a sweep as SLURM jobs: submitted in arrays when what they depend on is done, watched in their folders.

What a run's ``state.json`` says counts. The queue is only asked whether a job that has not said its last word still
exists: accounting (``sacct``) may be off, and takes a requeued job for a finished one.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.signals import STOP_SIGNAL, passed_on_to_children, received_signals, stop_requested
from .expansion import Run
from .plan import Resources
from .ranks import train_with_first_rank
from .records import DONE, FAILED, STOPPED, RunFolder, RunState
from .run_process import RunOptions, import_host, start_process, start_run
from .schedule import Schedule


def run_job(sweep: Path, names: Sequence[str], options: RunOptions) -> None:
    """Carry out these runs one after the other.

    On the cluster's warning (SIGUSR2) and on SIGTERM the current run saves and stops. After the warning the job puts
    itself back into the queue, where it keeps its number; a SIGTERM comes from somebody who ends or requeues the job.
    """
    rank, ranks = int(os.environ.get("SLURM_PROCID", 0)), int(os.environ.get("SLURM_NTASKS", 1))
    options = replace(options, job=job_number(), key=_start_key() if ranks > 1 else "")
    status = 0
    with passed_on_to_children(STOP_SIGNAL, signal.SIGTERM):
        import_host()
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
            subprocess.run(["scontrol", "requeue", options.job or ""], check=True, timeout=60)
    if ranks > 1 and status:
        sys.exit(1)  # SLURM then ends the other ranks, which would wait for this one


def job_number() -> str:
    """The job's number as squeue shows it."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


def _start_key() -> str:
    return f"{job_number()}.{os.environ.get('SLURM_RESTART_COUNT', '0')}"


def _unfinished(sweep: Path, names: Sequence[str]) -> bool:
    return any(RunFolder(sweep / name).read_state().status not in (DONE, FAILED) for name in names)


def _follow(folder: RunFolder, rank: int, options: RunOptions) -> None:
    with passed_on_to_children(STOP_SIGNAL):
        status = train_with_first_rank(folder, rank, options.key, options.threads)
    sys.exit(0 if stop_requested() else int(bool(status)))


FORWARD_STOP = """\
srun() {
  local srun_pid= asked= status
  trap 'asked=1; [ -z "$srun_pid" ] || kill -s USR2 "$srun_pid"' USR2
  trap : TERM
  command srun "$@" &
  srun_pid=$!
  [ -z "$asked" ] || kill -s USR2 "$srun_pid"
  while :; do
    wait $srun_pid; status=$?
    kill -0 $srun_pid 2>/dev/null || return $status
  done
}"""
"""In the batch script: a signal that reaches only the script (``scancel --batch``) is passed on to its tasks, which a
shell that waits for a command in the foreground would not do. The traps stand before the command starts, so that no
signal finds the script without them."""


class SlurmExecutor:
    """Submits and watches.

    Args:
        schedule: what there is to do.
        resources: of a job, by the kind of its runs.
        code: the folder with the package's snapshot.
        keep_checkpoints: see :class:`RunOptions`.
        announce: is called with a run's name and state when it has ended.
    """

    def __init__(
        self,
        schedule: Schedule,
        resources: dict[str, Resources],
        code: Path,
        keep_checkpoints: str,
        announce: Callable[[str, RunState], None],
    ) -> None:
        self.schedule, self.resources, self.code, self.announce = schedule, resources, code, announce
        self.keep_checkpoints = keep_checkpoints
        self.folder = schedule.sweep.path / "slurm"
        self._jobs: dict[str, str] = {}
        self._missing: dict[str, int] = {}

    def run(self, poll_seconds: float) -> int:
        """Submit what can be submitted, until everything has ended; returns 0.

        A launcher that is ended leaves its jobs in the queue; the next one finds them there.
        """
        self._adopt()
        while True:
            for kind in self.resources:
                ready = [run for run in self.schedule.ready() if run.kind == kind]
                if ready:
                    self._submit(kind, ready)
            if not self._jobs:
                return 0
            time.sleep(poll_seconds)
            self._look()

    def _adopt(self) -> None:
        """Take over the jobs that an earlier launcher submitted and that are still queued."""
        queued = queued_jobs() or frozenset()
        for run in list(self.schedule.runs.values()):
            job = self.schedule.folder(run.name).submitted_job()
            if self.schedule.statuses[run.name] not in (DONE, FAILED) and job in queued:
                self._jobs[run.name] = str(job)
                self.schedule.started(run.name)

    def _submit(self, kind: str, runs: Sequence[Run]) -> None:
        resources = self.resources[kind]
        groups = job_groups(runs, resources.runs_per_job)
        options = RunOptions(resources.cpus_per_task, self.keep_checkpoints)
        executor = self._executor(kind, resources)
        try:
            with executor.batch():
                jobs = [
                    executor.submit(run_job, self.schedule.sweep.path, [run.name for run in group], options)
                    for group in groups
                ]
        except Exception as error:  # submitit's own and whatever sbatch says
            raise UserError(f"sbatch: {' '.join(str(error).split())}; mend the plan's section slurm") from None
        for group, job in zip(groups, jobs, strict=True):
            for run in group:
                self.schedule.folder(run.name).note_submission(job.job_id)
                self._jobs[run.name] = job.job_id
                self.schedule.started(run.name)
        print(f"submitted {len(runs)} {kind} runs in {len(groups)} jobs: {jobs[0].job_id} …", flush=True)

    def _executor(self, kind: str, resources: Resources) -> Any:
        import submitit

        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            executor = submitit.SlurmExecutor(self.folder)
        except RuntimeError:
            raise UserError("--executor slurm: no srun here; start memobert-sweep on the cluster") from None
        parameters: dict[str, Any] = {
            "job_name": f"{self.schedule.sweep.path.name}-{kind}",
            "time": resources.minutes,
            "nodes": resources.nodes,
            "ntasks_per_node": resources.tasks_per_node,
            "cpus_per_task": resources.cpus_per_task,
            "signal_delay_s": resources.stop_seconds,
            "array_parallelism": resources.jobs_at_a_time,
            "stderr_to_stdout": True,
            "srun_args": ["--kill-on-bad-exit=1"],
            "additional_parameters": {"requeue": True, **resources.options},
            "setup": [
                f"export PYTHONPATH={shlex.quote(str(self.code))}${{PYTHONPATH:+:$PYTHONPATH}}",
                f"export OMP_NUM_THREADS={resources.cpus_per_task}",
                # Python looks for modules in the working directory first: it must not be the one with the sources.
                f"cd {shlex.quote(str(self.folder))}",
                FORWARD_STOP,
            ],
        }
        if resources.partition:
            parameters["partition"] = resources.partition
        if resources.gpus_per_node:
            parameters["gpus_per_node"] = resources.gpus_per_node
        executor.update_parameters(**parameters)
        return executor

    def _look(self) -> None:
        """Notice runs that have ended, by their own word or because their job is gone."""
        queued = queued_jobs()
        for name, job in list(self._jobs.items()):
            status = self.schedule.folder(name).read_state().status
            gone = queued is not None and job not in queued
            # A job leaves the queue a moment before or after the last word of its runs can be read.
            self._missing[name] = self._missing.get(name, 0) + 1 if gone else 0
            if status in (DONE, FAILED) or self._missing[name] > 1:
                del self._jobs[name]
                state = self.schedule.ended(name)
                if state.status not in (DONE, FAILED):
                    self.schedule.statuses[name] = STOPPED
                self.announce(name, state)


def job_groups(runs: Sequence[Run], runs_per_job: int) -> list[list[Run]]:
    """So many runs for each job, in order."""
    return [list(runs[start : start + runs_per_job]) for start in range(0, len(runs), runs_per_job)]


def queued_jobs() -> frozenset[str] | None:
    """Numbers of this user's jobs that wait or run, elements of arrays one by one; None where SLURM does not answer."""
    try:
        answer = subprocess.run(
            ["squeue", "--me", "--noheader", "--array", "--format=%i"], capture_output=True, text=True, timeout=60
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return frozenset(answer.stdout.split()) if answer.returncode == 0 else None
