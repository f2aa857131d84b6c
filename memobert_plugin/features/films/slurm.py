"""Parts of films as an array of SLURM jobs. What counts is which parts are there; the queue is only a hint."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...data.atomic import replaced_when_complete
from ...errors import UserError
from ...launch.slurm_executor import queued_jobs
from ..frame_folder import write_failures
from ..front_end_options import FrontEndOptions
from .job import FilmJob
from .parts import PartReport, extract_part, is_finished, read_report
from .plan import FilmPart

FOLDER: Final = "slurm"

_SUBMITTED: Final = "submitted.json"
_LOOKS_UNTIL_GONE: Final = 2
"""A job leaves the queue a moment before or after its last part can be seen."""


@dataclass(frozen=True, slots=True)
class SlurmResources:
    """What the jobs of an array get."""

    jobs: int = 32
    """At most so many, each with its share of the parts."""
    minutes: int = 240
    """Time limit of a job."""
    cpus: int = 1
    partition: str | None = None
    """None: the cluster's default."""
    gpus: int = 0


def run_on_slurm(job: FilmJob, resources: SlurmResources, poll_seconds: float = 5.0, progress: bool = True) -> None:
    """Submit the waiting parts as one array and watch until its jobs have ended.

    Parts in jobs that an earlier launcher submitted and that are still queued are not submitted again; a launcher that
    is ended leaves its jobs in the queue. A job that its time limit ends loses the part it was at: start again.

    Raises:
        UserError: no SLURM here, or it does not take the jobs.
    """
    from tqdm import tqdm

    folder = job.output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    under_way = _still_queued(folder)
    waiting = [part for part in job.waiting if not any(part.key in keys for keys in under_way.values())]
    under_way.update(_submit(job, waiting, resources, folder))
    _note(folder, under_way)
    began = time.time()
    with tqdm(
        total=round(sum(part.seconds for part in job.waiting)),
        desc="films",
        unit="s",
        unit_scale=True,
        disable=None if progress else True,
    ) as bar:
        unseen = list(job.waiting)
        looks = 0
        while True:
            ended = [part for part in unseen if _ended(part, job.output, began)]
            for part in ended:
                unseen.remove(part)
                bar.update(part.seconds)
            queued = queued_jobs()
            gone = queued is not None and not queued & under_way.keys()
            looks = looks + 1 if gone else 0
            if not unseen or looks > _LOOKS_UNTIL_GONE:
                break
            time.sleep(poll_seconds)
    job.reports += [_report(part, job.output, began, folder) for part in job.waiting]
    _note(folder, {})
    write_failures(job.output, job.failures)


def extract_parts(parts: Sequence[FilmPart], output: Path, options: FrontEndOptions, preview: bool) -> None:
    """What one job of the array does: its parts, one after the other."""
    for part in parts:
        if not is_finished(part, output):
            extract_part(part, output, options, preview=preview)


def _submit(job: FilmJob, parts: Sequence[FilmPart], resources: SlurmResources, folder: Path) -> dict[str, list[str]]:
    """Number of every job submitted, with the keys of its parts."""
    if not parts:
        return {}
    executor = _executor(resources, folder)
    count = min(resources.jobs, len(parts))
    groups = [list(parts[first::count]) for first in range(count)]
    output = job.output.absolute()
    try:
        with executor.batch():
            jobs = [executor.submit(extract_parts, group, output, job.options, job.preview) for group in groups]
    except Exception as error:  # submitit's own and whatever sbatch says
        raise UserError(f"sbatch: {' '.join(str(error).split())}; mend the --slurm flags") from None
    print(f"submitted {len(parts)} parts in {len(groups)} jobs: {jobs[0].job_id} …", flush=True)
    return {str(one.job_id): [part.key for part in group] for one, group in zip(jobs, groups, strict=True)}


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


def _still_queued(folder: Path) -> dict[str, list[str]]:
    try:
        noted = json.loads((folder / _SUBMITTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    queued = queued_jobs() or frozenset()
    return {number: keys for number, keys in noted.items() if number in queued}


def _note(folder: Path, under_way: dict[str, list[str]]) -> None:
    with replaced_when_complete(folder / _SUBMITTED) as temporary:
        temporary.write_text(json.dumps(under_way), encoding="utf-8")


def _ended(part: FilmPart, output: Path, began: float) -> bool:
    """Whether a part is there, or its job has said since ``began`` why it is not."""
    if is_finished(part, output):
        return True
    report = read_report(part, output, began)
    return report is not None and bool(report.failure)


def _report(part: FilmPart, output: Path, began: float, folder: Path) -> PartReport:
    report = read_report(part, output, began)
    if report is not None and (report.failure or is_finished(part, output)):
        return report
    if is_finished(part, output):
        return PartReport(part.film, part.index, part.seconds)
    reason = f"part {part.index}: its job ended early (logs in {folder}); start again"
    return PartReport(part.film, part.index, part.seconds, failure=reason)
