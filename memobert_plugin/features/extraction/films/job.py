"""Extract films: find the work that is left, do it on this machine or as SLURM jobs, summarize it."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from ....core.console import progress as progress_of
from ....core.console import tracked
from ....core.errors import UserError
from ....core.files import replaced_when_complete
from ....core.names import counted
from ....core.processes import ordered_map
from ....core.slurm import SlurmResources, Watch, note_submission, requeued_when_preempted, still_queued, submit_array
from ....core.stopwatch import speed_lines
from ...media.movies import Movies
from ...media.streams import respelled
from ..clip import FrontEndOptions, build_front_end
from ..frame_folder import write_failures
from .parts import PARTS, REPORTS, PartReport, extract_part, is_finished, note_parts, read_report
from .plan import PLANS, FilmPart, FilmPlan, PlanSettings, parts_of, plan_film
from .sheet import SHEETS

SETTINGS_FILE: Final = "extraction.json"
SLURM: Final = "slurm"
"""Folder of jobs' logs."""

_FAILURES_SHOWN: Final = 20
_REMARKS_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Share:
    """The share of the work that this machine does: every ``of``-th part."""

    number: int = 1
    """From 1."""
    of: int = 1


@dataclass(slots=True)
class FilmJob:
    """An extraction of films.

    Attributes:
        output: the job's folder.
        options: the front end.
        plans: plans of all films.
        parts: parts of this run's share.
        waiting: the parts that are not finished.
        preview: also write notes for the contact sheets.
    """

    output: Path
    options: FrontEndOptions
    plans: list[FilmPlan]
    parts: list[FilmPart]
    waiting: list[FilmPart]
    preview: bool = False
    reports: list[PartReport] = field(default_factory=list)
    """Reports on the parts that this run did."""

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Return (film, reason) of films and parts that could not be extracted."""
        failed = [(plan.name, plan.failure) for plan in self.plans if plan.failure]
        failed += [(report.film, report.failure) for report in self.reports if report.failure]
        return sorted(failed)

    @property
    def anything_finished(self) -> bool:
        """Tell whether any part is finished."""
        return len(self.waiting) < len(self.parts) or any(not report.failure for report in self.reports)

    @property
    def failed_share(self) -> float:
        """Return the larger of two shares: films with a failure, and lines that could not be read."""
        films = len({film for film, _ in self.failures}) / max(1, len(self.plans))
        known = [report for part in self.parts if (report := read_report(part, self.output)) is not None]
        lines = sum(report.lines for report in known)
        return max(films, sum(report.defective for report in known) / lines if lines else 0.0)


def plan_job(
    movies: Movies,
    output: Path,
    options: FrontEndOptions,
    settings: PlanSettings,
    *,
    share: Share | None = None,
    preview: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    workers: int = 1,
    elsewhere: bool = False,
) -> FilmJob:
    """Read the subtitles of all films and find the parts that are not finished.

    ``elsewhere``: other machines will do the work, so this one need not have the device of ``options``.

    Raises:
        UserError: options that do not go together, missing packages, or an output that was made with other options.
    """
    share = share or Share()
    made_with = _made_with(replace(options, device="cpu") if elsewhere else options)
    if not dry_run:
        _begin(output, {**made_with, "lines": settings.to_dict()}, overwrite)
    plans = [FilmPlan(Path(defect.place).stem, Path(defect.place), failure=str(defect)) for defect in movies.defects]
    planned = ordered_map(
        partial(plan_film, output=None if dry_run else output, settings=settings), movies.movies, workers
    )
    bar = tracked(planned, len(movies.movies), "subtitles", "film")
    plans = sorted([*plans, *bar], key=lambda plan: plan.name)
    all_parts = [part for plan in plans for part in parts_of(plan, settings, made_with)]
    parts = all_parts[share.number - 1 :: share.of]
    if not dry_run:
        note_parts(all_parts, output)
    finished = (lambda part: False) if dry_run and overwrite else partial(is_finished, output=output)
    return FilmJob(output, options, plans, parts, [part for part in parts if not finished(part)], preview)


def run_job(job: FilmJob, workers: int) -> None:
    """Extract the waiting parts on this machine and write ``failed.tsv``.

    Raises:
        UserError: a worker process died.
    """
    seconds = sum(part.seconds for part in job.waiting)
    with progress_of(seconds, "films", "s") as advance:
        for report in _reports(job, workers, advance):
            job.reports.append(report)
    write_failures(job.output, job.failures)


def _reports(job: FilmJob, workers: int, advance: Any) -> Iterator[PartReport]:
    if workers == 1:
        for part in job.waiting:
            yield extract_part(part, job.output, job.options, preview=job.preview, advance=advance)
        return
    extract = partial(extract_part, output=job.output, options=job.options, preview=job.preview)
    for report in ordered_map(extract, job.waiting, workers):
        advance(report.film_seconds)
        yield report


def run_on_slurm(job: FilmJob, resources: SlurmResources, poll_seconds: float = 5.0) -> None:
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
    with progress_of(sum(part.seconds for part in job.waiting), "films", "s") as advance:
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


def describe_job(job: FilmJob) -> list[str]:
    """Return lines on the films, their subtitles and parts."""
    films = [plan for plan in job.plans if not plan.failure]
    lines = sum(len(plan.lines) for plan in films)
    dropped = sum(len(plan.dropped) for plan in films)
    kinds = "subtitles and transcripts" if any(plan.text_source for plan in films) else "subtitles"
    hours = sum(plan.duration or 0.0 for plan in films) / 3600
    told = [
        f"{counted(len(films), 'film')}, {hours:.2f} h; {counted(lines + dropped, 'line')} of {kinds}, "
        f"{lines} usable; {counted(len(job.parts), 'part')}, {len(job.parts) - len(job.waiting)} finished before"
    ]
    remarks = [line for plan in films if plan.remark for line in plan.remark.split("\n")]
    rest = len(remarks) - _REMARKS_SHOWN
    return told + remarks[:_REMARKS_SHOWN] + ([f"and {rest} more such remarks (plans/*.json)"] if rest > 0 else [])


def summarize_job(job: FilmJob) -> list[str]:
    """Return lines on the utterances kept and dropped, the speed and the failures."""
    known = [report for part in job.parts if (report := read_report(part, job.output)) is not None]
    reasons: Counter[str] = Counter()
    for report in known:
        reasons.update(report.dropped)
    lines, kept = sum(report.lines for report in known), sum(report.kept for report in known)
    seconds = sum(report.kept_seconds for report in known)
    told = [
        f"{counted(lines, 'line')}: {counted(kept, 'utterance')} ({seconds:.0f} s) kept, "
        f"{sum(reasons.values())} dropped"
    ]
    told += [f"  {count:6d}  {reason}" for reason, count in reasons.most_common()]
    told += _speed([report for report in job.reports if not report.failure])
    failed = job.failures
    if failed:
        told.append(f"{len({film for film, _ in failed})} of {counted(len(job.plans), 'film')} failed (failed.tsv):")
        told += [f"  {film}: {reason}" for film, reason in failed[:_FAILURES_SHOWN]]
        if len(failed) > _FAILURES_SHOWN:
            told.append(f"  and {len(failed) - _FAILURES_SHOWN} more")
    return told


def _speed(reports: Sequence[PartReport]) -> list[str]:
    stages: Counter[str] = Counter()
    for report in reports:
        stages.update(report.stages)
    film, work = (sum(getattr(report, name) for report in reports) for name in ("film_seconds", "wall_seconds"))
    return speed_lines(film, work, stages)


def _made_with(options: FrontEndOptions) -> dict[str, Any]:
    """Describe the extractors without versions of libraries, which may differ from machine to machine."""
    front_end = build_front_end(options)
    infos = {"visual": front_end.visual_info(), "acoustic": front_end.acoustic_info()}
    return {name: info and {**info.to_dict(), "version": None} for name, info in infos.items()}


def _begin(output: Path, settings: dict[str, Any], overwrite: bool) -> None:
    """Check that a job's folder is empty or was made with the same options, and write the options.

    Where no part has been started and no job submitted, other options replace them.
    """
    path = output / SETTINGS_FILE
    settings = json.loads(json.dumps(settings))
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except NotADirectoryError as error:
        raise UserError(f"{output}: cannot be written to ({error.strerror}); give another --output") from None
    except FileNotFoundError:
        if output.is_dir() and any(output.iterdir()):
            raise UserError(f"{output}: holds something else (no {SETTINGS_FILE}); give another --output") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give another --output") from None
    else:
        if isinstance(found, dict) and isinstance(found.get("lines"), dict):
            found["lines"] = respelled(found["lines"], settings["lines"])
        if overwrite:
            for name in (PARTS, PLANS, REPORTS, SHEETS):
                shutil.rmtree(output / name, ignore_errors=True)
        elif found != settings and any((output / name).exists() for name in (PARTS, SLURM)):
            differing = ", ".join(sorted(_differences(found, settings)))
            raise UserError(
                f"{output}: was made with other options ({differing}); give another --output, or --overwrite"
            )
    try:
        output.mkdir(parents=True, exist_ok=True)
        with replaced_when_complete(path) as temporary:
            temporary.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output}: cannot be written to ({error.strerror}); give another --output") from None


def _differences(found: Any, wanted: Any, name: str = "") -> Iterator[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in found.keys() | wanted.keys():
            yield from _differences(found.get(key), wanted.get(key), f"{name}.{key}" if name else key)
    elif found != wanted:
        yield f"{name} {found!r}, now {wanted!r}"
