"""Parts of films as an array of SLURM jobs, followed until each part is there or its job is gone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from ....core.console import progress as progress_of
from ....core.slurm import (
    SlurmResources,
    Watch,
    note_submission,
    requeued_when_preempted,
    still_queued,
    submit_array,
)
from ..clip import FrontEndOptions
from ..frame_folder import write_failures
from .job import SLURM, FilmJob
from .parts import PartReport, extract_part, is_finished, read_report
from .plan import FilmPart


def run_on_slurm(job: FilmJob, resources: SlurmResources, poll_seconds: float = 5.0, progress: bool = True) -> None:
    """Submit the waiting parts as one array and watch until its jobs have ended.

    Parts in jobs that an earlier launcher submitted and that are still queued are not submitted again; a launcher that
    is ended leaves its jobs in the queue. A job that reaches its time limit loses the part it was working on: the same
    command extracts it.

    Raises:
        UserError: there is no SLURM on this machine, or sbatch refuses the jobs.
    """
    folder = job.output / SLURM
    folder.mkdir(parents=True, exist_ok=True)
    parts = {part.key: part for part in job.waiting}
    began = time.time()
    watch = Watch(lambda key: _ended(parts[key], job.output, began))
    watch.add({key: number for key, number in still_queued(folder).items() if key in parts})
    watch.add(_submit(job, [part for part in job.waiting if part.key not in watch.jobs], resources, folder))
    note_submission(folder, watch.jobs)
    with progress_of(sum(part.seconds for part in job.waiting), "films", "s", shown=progress) as advance:
        for key, finished in watch.follow(poll_seconds):
            advance(parts[key].seconds if finished else 0)
    job.reports += [_report(part, job.output, began, folder) for part in job.waiting]
    note_submission(folder, {})
    write_failures(job.output, job.failures)


def extract_parts(
    parts: Sequence[FilmPart], output: Path, options: FrontEndOptions, preview: bool, resources: SlurmResources
) -> None:
    """Extract the parts of one job of the array, one after the other."""
    with requeued_when_preempted(resources):
        for part in parts:
            if not is_finished(part, output):
                extract_part(part, output, options, preview=preview)


def _submit(job: FilmJob, parts: Sequence[FilmPart], resources: SlurmResources, folder: Path) -> dict[str, str]:
    """Submit parts; return the number of the job of each part's key."""
    if not parts:
        return {}
    count = min(resources.jobs, len(parts))
    groups = [list(parts[first::count]) for first in range(count)]
    output = job.output.absolute()
    calls = [(group, output, job.options, job.preview, resources) for group in groups]
    jobs = submit_array(extract_parts, calls, resources, folder)
    print(f"submitted {len(parts)} parts in {len(groups)} jobs: {jobs[0].job_id} …", flush=True)
    return {part.key: str(one.job_id) for one, group in zip(jobs, groups, strict=True) for part in group}


def _ended(part: FilmPart, output: Path, began: float) -> bool:
    """Tell whether a part is there, or its job has noted since ``began`` why it is not."""
    report = read_report(part, output, began)
    return is_finished(part, output) or (report is not None and bool(report.failure))


def _report(part: FilmPart, output: Path, began: float, folder: Path) -> PartReport:
    report = read_report(part, output, began)
    if report is not None and (report.failure or is_finished(part, output)):
        return report
    if is_finished(part, output):
        return PartReport(part.film, part.index, part.seconds)
    reason = f"part {part.index}: its job ended early (logs in {folder}); start again"
    return PartReport(part.film, part.index, part.seconds, failure=reason)
