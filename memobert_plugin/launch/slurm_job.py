"""What a SLURM job of a sweep does, in each of its tasks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .graceful_stop import STOP_SIGNAL, passed_on_to_children, received_signals, stop_requested
from .ranks import train_with_first_rank
from .run_folder import DONE, FAILED, RunFolder
from .run_process import RunOptions, import_host, start_process, start_run


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
