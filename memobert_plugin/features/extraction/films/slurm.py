"""Parts of films as an array of SLURM jobs. What counts is which parts are there; the queue is only a hint."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ....core.files import replaced_when_complete
from ....core.slurm import SlurmResources, submit_array
from ....sweep.slurm import queued_jobs
from ..frame_folder import write_failures
from ..options import FrontEndOptions
from .job import SLURM, FilmJob
from .parts import PartReport, extract_part, is_finished, read_report
from .plan import FilmPart

_SUBMITTED: Final = "submitted.json"
_LOOKS_UNTIL_GONE: Final = 2
"""A job leaves the queue a moment before or after its last part can be seen."""


def run_on_slurm(job: FilmJob, resources: SlurmResources, poll_seconds: float = 5.0, progress: bool = True) -> None:
    """Submit the waiting parts as one array and watch until its jobs have ended.

    Parts in jobs that an earlier launcher submitted and that are still queued are not submitted again; a launcher that
    is ended leaves its jobs in the queue. A job that its time limit ends loses the part it was at: start again.

    Raises:
        UserError: no SLURM here, or it does not take the jobs.
    """
    from tqdm import tqdm

    folder = job.output / SLURM
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
    count = min(resources.jobs, len(parts))
    groups = [list(parts[first::count]) for first in range(count)]
    output = job.output.absolute()
    jobs = submit_array(
        extract_parts, [(group, output, job.options, job.preview) for group in groups], resources, folder
    )
    print(f"submitted {len(parts)} parts in {len(groups)} jobs: {jobs[0].job_id} …", flush=True)
    return {str(one.job_id): [part.key for part in group] for one, group in zip(jobs, groups, strict=True)}


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
