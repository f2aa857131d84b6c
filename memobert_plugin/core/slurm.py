"""The same function over many items in SLURM jobs; :mod:`.workers` does it in processes of this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeVar

from ..sweep.slurm import queued_jobs
from .errors import UserError
from .files import replaced_when_complete


@dataclass(frozen=True, slots=True)
class SlurmResources:
    """What the jobs of an array get."""

    jobs: int = 32
    """At most so many run at a time."""
    minutes: int = 240
    """Time limit of a job."""
    cpus: int = 1
    partition: str | None = None
    """None: the cluster's default."""
    gpus: int = 0


def submit_array(
    function: Callable[..., object], calls: Sequence[tuple[Any, ...]], resources: SlurmResources, folder: Path
) -> list[Any]:
    """Submit one job for each tuple of arguments; submitit's jobs, in that order.

    Args:
        function: what each job calls.
        calls: its arguments; at least one tuple.
        resources: of each job.
        folder: for submitit's files and the jobs' logs.

    Raises:
        UserError: no SLURM here, or it does not take the jobs.
    """
    executor = _executor(resources, folder)
    try:
        with executor.batch():
            return [executor.submit(function, *arguments) for arguments in calls]
    except Exception as error:  # submitit's own and whatever sbatch says
        raise UserError(f"sbatch: {' '.join(str(error).split())}; mend the --slurm flags") from None


def _executor(resources: SlurmResources, folder: Path) -> Any:
    import submitit

    try:
        executor = submitit.SlurmExecutor(folder)
    except RuntimeError:
        raise UserError("--executor slurm: no srun here; start memobert-extract on the cluster") from None
    parameters: dict[str, Any] = {
        "job_name": "memobert-extract",
        "time": resources.minutes,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": resources.cpus,
        "array_parallelism": resources.jobs,
        "stderr_to_stdout": True,
        "setup": [f"export OMP_NUM_THREADS={resources.cpus}"],
    }
    if resources.partition:
        parameters["partition"] = resources.partition
    if resources.gpus:
        parameters["gpus_per_node"] = resources.gpus
    executor.update_parameters(**parameters)
    return executor


Item = TypeVar("Item")
Result = TypeVar("Result")

FOLDER: Final = "slurm"
_SUBMITTED: Final = "submitted.json"
_JOBS_PER_PLACE: Final = 4
"""So that progress shows, and no place waits long for the last."""
_LOOKS_UNTIL_GONE: Final = 3
"""A job leaves the queue a moment before or after its results can be seen."""


def slurm_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    resources: SlurmResources,
    output: Path,
    poll_seconds: float = 5.0,
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, job by job as the jobs of an array end.

    Whoever stops drawing results, or is interrupted, takes the jobs out of the queue.

    Args:
        function: called in the jobs; it and the items are pickled.
        items: all are drawn at once.
        resources: of each job.
        output: jobs' logs go to ``slurm`` in it.
        poll_seconds: between two looks.

    Raises:
        UserError: no SLURM here, it does not take the jobs, jobs of an earlier call that was killed are still queued,
            or (when the others have ended) jobs of this one ended early.
    """
    folder = output.absolute() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_beside_earlier(folder)
    groups = _groups(list(items), resources.jobs * _JOBS_PER_PLACE)
    if not groups:
        return
    jobs = submit_array(_apply, [(function, group) for group in groups], resources, folder)
    _note(folder, [str(job.job_id) for job in jobs])
    print(f"submitted {len(jobs)} jobs: {jobs[0].job_id} …", flush=True)
    waiting, lost = list(jobs), list[tuple[Any, str]]()
    missed = dict.fromkeys((job.job_id for job in jobs), 0)
    try:
        while waiting:
            queued = queued_jobs()
            for job in list(waiting):
                if job.paths.result_pickle.exists():
                    waiting.remove(job)
                    yield from _result(job, lost)
                elif queued is not None and job.job_id not in queued:
                    missed[job.job_id] += 1
                    if missed[job.job_id] >= _LOOKS_UNTIL_GONE:
                        waiting.remove(job)
                        lost.append((job, "ended early"))
            if waiting:
                time.sleep(poll_seconds)
    finally:
        for job in waiting:
            with suppress(Exception):  # whatever scancel says; the jobs are noted
                job.cancel(check=False)
    _note(folder, [])
    if lost:
        job, reason = lost[0]
        raise UserError(
            f"{len(lost)} of {len(jobs)} jobs are without result, the first: {job.job_id} {reason} "
            f"(log: {job.paths.stdout}); start again, what is finished is kept"
        )


def _apply(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    """What one job does."""
    return [function(item) for item in items]


def _groups(items: list[Item], most: int) -> list[list[Item]]:
    """Neighbours together: they are often clips of one film."""
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
    try:
        noted = json.loads((folder / _SUBMITTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    still = sorted((queued_jobs() or frozenset()) & frozenset(map(str, noted)))
    if still:
        array = still[0].partition("_")[0]
        raise UserError(
            f"{folder.parent}: {len(still)} jobs of an earlier run are still in the queue, the first {still[0]}; wait "
            f"for them, or take them out with: scancel {array}"
        )


def _note(folder: Path, numbers: list[str]) -> None:
    with replaced_when_complete(folder / _SUBMITTED) as temporary:
        temporary.write_text(json.dumps(numbers), encoding="utf-8")
