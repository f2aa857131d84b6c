"""A manifest's clips to visual frames, one file each: the speaker's face, or the one seen most often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Final, cast

from ...core.errors import DefectiveClip, UserError
from ...core.files import replaced_when_complete
from ...core.processes import ordered_map
from ...core.slurm import SlurmResources, slurm_map
from ...core.stopwatch import Stopwatch
from ...data.frames import frame_file, write_frames
from ...data.manifest import media_path, read_manifest
from .clip import Region
from .frame_folder import finished_files, frames_are_written, in_manifest_order, refuse_other_extractor, write_failures
from .options import FrontEndOptions, build_front_end

DROPPED: Final = "dropped.tsv"

_HEADER: Final = "id\treason\n"


@dataclass(slots=True)
class VisualReport:
    """What a run found and did; counts of utterances."""

    with_video: int = 0
    without_video: int = 0
    finished_before: int = 0
    """Of them some may have been left out."""
    extracted: int = 0
    dropped: dict[str, str] = field(default_factory=dict)
    """Why no face of an utterance was taken, by id; also of earlier runs."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """(id, reason) of every utterance whose film cannot be used."""
    film_seconds: float = 0.0
    work_seconds: float = 0.0
    stages: Counter[str] = field(default_factory=Counter)
    """Wall seconds."""

    @property
    def failed_share(self) -> float:
        """Failures among the utterances that have a film."""
        return len(self.failures) / self.with_video if self.with_video else 0.0


@dataclass(frozen=True, slots=True)
class _Clip:
    utterance_id: str
    path: Path
    start: float | None
    end: float | None
    region: Region | None
    target: Path


@dataclass(frozen=True, slots=True)
class _Outcome:
    utterance_id: str
    reason: str
    defective: bool
    film_seconds: float
    work_seconds: float
    stages: dict[str, float]


def survey_visual(manifest: Path, output: Path, *, overwrite: bool = False) -> VisualReport:
    """Read the whole manifest and look at the output folder, without opening films; ``failures`` are missing files.

    Raises:
        UserError: a defect of the manifest, or no row with a film.
    """
    report = VisualReport(dropped={} if overwrite else _read_journal(output / DROPPED))
    finished = set() if overwrite else finished_files(output)
    for row in read_manifest(manifest):
        report.with_video += bool(row.video)
        report.without_video += not row.video
        if not row.video:
            continue
        if frame_file(output, row.id).name in finished or row.id in report.dropped:
            report.finished_before += 1
        elif not media_path(manifest, row.video).is_file():
            report.failures.append((row.id, f"{media_path(manifest, row.video)}: no such file"))
    if not report.with_video:
        raise UserError(f"{manifest}: no row names a film; fill the column 'video'")
    return report


def extract_visual(
    manifest: Path,
    output: Path,
    options: FrontEndOptions,
    *,
    workers: int = 1,
    slurm: SlurmResources | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> VisualReport:
    """Write ``frame_file(output, id)`` for every utterance of whose speaker a face is seen; in ``workers`` processes
    here or, with ``slurm``, in jobs of a cluster that sees the same files.

    Beside them ``extractor.json``, ``dropped.tsv`` with those without such a face, and ``failed.tsv`` with those whose
    film cannot be used. A run that was killed and started again ends in the same bytes; failures are tried again.

    Raises:
        UserError: a defect of the manifest, missing packages, an output folder that is busy or holds another
            extractor's frames, or a worker process or job that died.
    """
    from tqdm import tqdm

    here = replace(options, device="cpu") if slurm else options  # where jobs are submitted there is often no GPU
    info = build_front_end(here).visual_info()
    if not overwrite:
        refuse_other_extractor(output, info)
    report = survey_visual(manifest, output, overwrite=overwrite)
    report.failures = []
    with frames_are_written(output, info, overwrite=overwrite):
        clips = _clips(manifest, output, report.dropped, overwrite=overwrite)
        look = partial(_look, options=options)
        outcomes = slurm_map(look, clips, slurm, output) if slurm else ordered_map(look, clips, workers)
        total = report.with_video - report.finished_before
        bar = tqdm(outcomes, total=total, desc="faces", unit="utterance", disable=None if progress else True)
        _write_dropped(output / DROPPED, manifest, report.dropped)
        with open(output / DROPPED, "a", encoding="utf-8") as journal:
            for outcome in bar:
                report.film_seconds += outcome.film_seconds
                report.work_seconds += outcome.work_seconds
                report.stages.update(outcome.stages)
                if outcome.defective:
                    report.failures.append((outcome.utterance_id, outcome.reason))
                elif outcome.reason:
                    report.dropped[outcome.utterance_id] = outcome.reason
                    journal.write(f"{outcome.utterance_id}\t{' '.join(outcome.reason.split())}\n")
                    journal.flush()
                else:
                    report.extracted += 1
        _write_dropped(output / DROPPED, manifest, report.dropped)
        report.failures = in_manifest_order(report.failures, manifest)
        write_failures(output, report.failures)
    return report


def _clips(manifest: Path, output: Path, dropped: dict[str, str], *, overwrite: bool) -> Iterator[_Clip]:
    finished = set() if overwrite else finished_files(output)
    for row in read_manifest(manifest):
        target = frame_file(output, row.id)
        if row.video and target.name not in finished and row.id not in dropped:
            region = cast("Region | None", row.region or None)
            yield _Clip(row.id, media_path(manifest, row.video), row.start, row.end, region, target)


def _look(clip: _Clip, options: FrontEndOptions) -> _Outcome:
    front_end = build_front_end(options)
    front_end.stopwatch = Stopwatch()
    began = perf_counter()
    reason, defective, seconds = "", False, 0.0
    try:
        found = front_end.clip(clip.path, clip.start, clip.end, clip.region)
    except DefectiveClip as defect:
        reason, defective = str(defect), True
    else:
        seconds = found.seconds
        if found.visual is not None:
            with front_end.stopwatch.stage("writing"):
                write_frames(clip.target, found.visual, found.expression)
        else:
            clip.target.unlink(missing_ok=True)
            reason, defective = found.dropped, found.defective
    work = perf_counter() - began
    return _Outcome(clip.utterance_id, reason, defective, seconds, work, dict(front_end.stopwatch.seconds))


def _read_journal(path: Path) -> dict[str, str]:
    """What earlier runs noted; a last line that a kill cut off does not count."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    except OSError:
        return {}
    pairs = [line.partition("\t") for line in lines if line + "\n" != _HEADER]
    return {utterance_id: reason for utterance_id, tab, reason in pairs if tab}


def _write_dropped(path: Path, manifest: Path, dropped: dict[str, str]) -> None:
    """In the manifest's order."""
    if not dropped:
        path.unlink(missing_ok=True)
        return
    with replaced_when_complete(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(_HEADER)
        pairs = in_manifest_order(list(dropped.items()), manifest)
        file.writelines(f"{utterance_id}\t{' '.join(reason.split())}\n" for utterance_id, reason in pairs)
