"""Jobs of a SLURM cluster: submit arrays of them, and follow their work until it is finished or its job is gone.

The files that jobs write tell what is finished. The queue only tells which jobs still exist: accounting (``sacct``) may
be switched off, and it reports a requeued job as finished.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar

from .errors import UserError
from .files import replaced_when_complete
from .signals import STOP_SIGNAL

FOLDER: Final = "slurm"
"""Folder of submitit's files and of the jobs' logs inside an output."""


@dataclass(frozen=True)
class SlurmResources:
    """Resources of each job of an array; one task per GPU, or ``tasks_per_node`` tasks on CPUs."""

    jobs: int = 32
    """Largest number of jobs that run at a time."""
    minutes: int = 240
    """Time limit of a job."""
    cpus: int = 1
    """Of each task."""
    partition: str | None = None
    """None: the cluster's default."""
    gpus: int = 0
    """Of each node."""
    nodes: int = 1
    tasks_per_node: int = 1
    stop_seconds: int = 90
    """Time between the cluster's warning (SIGUSR2) and the end of a job."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further options of sbatch, such as ``account``."""


def submit_array(
    function: Callable[..., object],
    calls: Sequence[tuple[Any, ...]],
    resources: SlurmResources,
    folder: Path,
    *,
    name: str = "memobert-extract",
    setup: Sequence[str] = (),
    source: str = "--slurm flags",
) -> list[Any]:
    """Submit one job for each tuple of arguments.

    Args:
        function: called in each job.
        calls: its arguments; at least one tuple.
        resources: of each job.
        folder: for submitit's files and the jobs' logs.
        name: of the jobs, as the queue shows it.
        setup: lines of the batch script before the job starts.
        source: origin of the resources, for messages.

    Returns:
        submitit's jobs, in the order of ``calls``.

    Raises:
        UserError: there is no SLURM on this machine, or sbatch refuses the jobs.
    """
    import submitit

    folder.mkdir(parents=True, exist_ok=True)
    try:
        executor = submitit.SlurmExecutor(folder)
    except RuntimeError:
        raise UserError("--executor slurm: no srun here; start the same command on the cluster") from None
    parameters: dict[str, Any] = {
        "job_name": name,
        "time": resources.minutes,
        "nodes": resources.nodes,
        "ntasks_per_node": resources.tasks_per_node,
        "cpus_per_task": resources.cpus,
        "signal_delay_s": resources.stop_seconds,
        "array_parallelism": resources.jobs,
        "stderr_to_stdout": True,
        "srun_args": ["--kill-on-bad-exit=1"],
        "additional_parameters": {"requeue": True, **resources.options},
        "setup": [f"export OMP_NUM_THREADS={resources.cpus}", *setup, _FORWARD_WARNING],
    }
    if resources.partition:
        parameters["partition"] = resources.partition
    if resources.gpus:
        parameters["gpus_per_node"] = resources.gpus
    executor.update_parameters(**parameters)
    try:
        with executor.batch():
            return [executor.submit(function, *arguments) for arguments in calls]
    except Exception as error:  # submitit's own errors and whatever sbatch says
        said = " ".join(str(error).split())
        down = any(words in said for words in _UNANSWERED)
        advice = "start the same command again when the controller answers (sinfo)" if down else f"correct the {source}"
        raise UserError(f"sbatch: {said}; {advice}") from None


_UNANSWERED: Final = ("Unable to contact slurm controller", "Socket timed out")
"""Words of sbatch where the controller, and no option, is the reason."""
_FORWARD_WARNING: Final = """\
srun() {
  local srun_pid= asked=
  trap 'asked=1; [ -z "$srun_pid" ] || kill -s USR2 "$srun_pid"' USR2
  trap : TERM
  command srun "$@" &
  srun_pid=$!
  [ -z "$asked" ] || kill -s USR2 "$srun_pid"
  while :; do
    wait $srun_pid
    kill -0 $srun_pid 2>/dev/null || break
  done
  wait $srun_pid
}"""
"""Lines of the batch script that pass a signal on to the job's tasks. ``scancel --batch`` signals only the script, and
a shell that waits for a command in the foreground would not pass it on. The traps are set before the command starts, so
that no signal is lost. A signal ends a wait with a status of its own, also where the command has ended meanwhile; the
last wait gives the command's, which bash remembers."""


def job_number() -> str:
    """Return the number of the job that this process belongs to, as squeue shows it."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


def requeue_job() -> None:
    """Put the job that this process belongs to back into the queue, where it keeps its number."""
    subprocess.run(["scontrol", "requeue", job_number()], check=True, timeout=60)


def queued_jobs() -> frozenset[str] | None:
    """Return the numbers of this user's jobs that wait or run, each element of an array; None if SLURM is silent."""
    try:
        answer = subprocess.run(
            ["squeue", "--me", "--noheader", "--array", "--format=%i"], capture_output=True, text=True, timeout=60
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return frozenset(answer.stdout.split()) if answer.returncode == 0 else None


_LOOKS_UNTIL_LOST: Final = 3
"""A job leaves the queue a moment before or after its last files can be seen on this machine."""


class Watch:
    """Pieces of work in jobs, each watched until it is finished or its job has left the queue.

    Args:
        is_finished: tells from a piece's files whether nothing is left to do for it.
    """

    def __init__(self, is_finished: Callable[[str], bool]) -> None:
        self._is_finished = is_finished
        self.jobs: dict[str, str] = {}
        """Number of the job of each piece that is still watched."""
        self._missing: Counter[str] = Counter()

    def add(self, jobs: Mapping[str, str]) -> None:
        """Watch pieces, given with the numbers of their jobs."""
        self.jobs.update(jobs)

    def look(self) -> list[tuple[str, bool]]:
        """Look once; return the pieces that have ended, each with True if finished and False if lost."""
        queued = queued_jobs()
        ended = []
        for piece, job in list(self.jobs.items()):
            gone = queued is not None and job not in queued
            self._missing[piece] = self._missing[piece] + 1 if gone else 0
            finished = self._is_finished(piece)
            if finished or self._missing[piece] >= _LOOKS_UNTIL_LOST:
                del self.jobs[piece]
                ended.append((piece, finished))
        return ended

    def follow(self, poll_seconds: float) -> Iterator[tuple[str, bool]]:
        """Look until no piece is left, every ``poll_seconds``; yield as :meth:`look` returns."""
        while self.jobs:
            yield from self.look()
            if self.jobs:
                time.sleep(poll_seconds)


_SUBMITTED: Final = "submitted.json"


def note_submission(folder: Path, jobs: Mapping[str, str]) -> None:
    """Write down the job of each piece, for a launcher that is started after this one was killed."""
    pieces: dict[str, list[str]] = {}
    for piece, job in jobs.items():
        pieces.setdefault(job, []).append(piece)
    with replaced_when_complete(folder / _SUBMITTED) as temporary:
        temporary.write_text(json.dumps(pieces), encoding="utf-8")


def still_queued(folder: Path) -> dict[str, str]:
    """Return the noted pieces whose jobs are still in the queue, with the numbers of these jobs."""
    try:
        noted = json.loads((folder / _SUBMITTED).read_text(encoding="utf-8"))
        jobs = {str(piece): str(job) for job, pieces in noted.items() for piece in pieces}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
    queued = queued_jobs() or frozenset()
    return {piece: job for piece, job in jobs.items() if job in queued}


Item = TypeVar("Item")
Result = TypeVar("Result")

_JOBS_PER_PLACE: Final = 4
"""Several short jobs per place show progress, and the last one does not keep all others waiting."""


def slurm_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    resources: SlurmResources,
    output: Path,
    poll_seconds: float = 5.0,
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, job by job as the jobs of an array end.

    Closing the iterator, or an interrupt, takes the jobs out of the queue. :func:`.processes.ordered_map` does the same
    in processes of this machine.

    Args:
        function: called in the jobs; it and the items are pickled.
        items: all are drawn at once.
        resources: of each job.
        output: the jobs' logs go to the folder ``slurm`` in it.
        poll_seconds: time between two looks at the jobs.

    Raises:
        UserError: there is no SLURM on this machine, sbatch refuses the jobs, jobs of an earlier call that was killed
            are still queued, or (after all others have ended) jobs of this call ended without a result.
    """
    folder = output.absolute() / FOLDER
    _refuse_beside_earlier(folder)
    groups = _groups(list(items), resources.jobs * _JOBS_PER_PLACE)
    if not groups:
        return
    calls = [(function, group, resources) for group in groups]
    jobs = {str(job.job_id): job for job in submit_array(_apply, calls, resources, folder)}
    numbers = dict(zip(jobs, jobs, strict=True))
    note_submission(folder, numbers)
    print(f"submitted {len(jobs)} jobs: {next(iter(jobs))} …", flush=True)
    watch = Watch(lambda number: jobs[number].paths.result_pickle.exists())
    watch.add(numbers)
    lost: list[tuple[Any, str]] = []
    try:
        for number, finished in watch.follow(poll_seconds):
            if finished:
                yield from _result(jobs[number], lost)
            else:
                lost.append((jobs[number], "ended early"))
    finally:
        for number in watch.jobs:
            with suppress(Exception):  # scancel's errors; the jobs are noted
                jobs[number].cancel(check=False)
    note_submission(folder, {})
    if lost:
        job, reason = lost[0]
        raise UserError(
            f"{len(lost)} of {len(jobs)} jobs are without result, the first: {job.job_id} {reason} "
            f"(log: {job.paths.stdout}); start again, finished work is kept"
        )


def _apply(function: Callable[[Item], Result], items: list[Item], resources: SlurmResources) -> list[Result]:
    """Do the work of one job."""
    with requeued_when_preempted(resources):
        return [function(item) for item in items]


class _TimeIsUp(BaseException):
    """The time limit; no Exception, so that work on one item cannot take it for a fault of that item."""


@contextmanager
def requeued_when_preempted(resources: SlurmResources) -> Iterator[None]:
    """Inside a job, put it back into the queue when the cluster warns it (SIGUSR2) before its time is up.

    submitit 1.5.4 does this too, but takes every job of ten minutes or less for one whose time is up, and never
    requeues it.

    Raises:
        UserError: the warning came because the time is up.
    """
    begin = time.monotonic()

    def warned(number: int, frame: FrameType | None) -> None:
        # The warning comes stop_seconds before the end, or up to a minute earlier.
        if time.monotonic() - begin < resources.minutes * 60 - resources.stop_seconds - 60:
            requeue_job()
            os._exit(0)
        raise _TimeIsUp

    before = signal.signal(STOP_SIGNAL, warned)
    try:
        yield
    except _TimeIsUp:
        raise UserError(f"--slurm-minutes {resources.minutes}: the job needs longer; give more minutes") from None
    finally:
        signal.signal(STOP_SIGNAL, before)


def _groups(items: list[Item], most: int) -> list[list[Item]]:
    """Divide items among at most so many jobs, neighbours together: they are often clips of one film."""
    count = min(most, len(items))
    limits = [round(number * len(items) / count) for number in range(count + 1)] if count else []
    return [items[first:last] for first, last in pairwise(limits)]


def _result(job: Any, lost: list[tuple[Any, str]]) -> list[Any]:
    try:
        return list(job.result())
    except Exception as error:  # submitit wraps whatever the job raised
        lost.append((job, f"failed: {str(error).strip().splitlines()[-1]}"))
        return []


def _refuse_beside_earlier(folder: Path) -> None:
    still = sorted(still_queued(folder).values())
    if still:
        array = still[0].partition("_")[0]
        raise UserError(
            f"{folder.parent}: {len(still)} jobs of an earlier run are still in the queue, the first {still[0]}; wait "
            f"for them, or take them out with: scancel {array}"
        )
