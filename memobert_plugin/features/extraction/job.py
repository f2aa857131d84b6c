"""A resumable job: frames of one modality for every utterance of a manifest, one file each."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePath
from typing import ClassVar, Final

from ...core.console import tracked
from ...core.errors import UserError
from ...core.files import replaced_when_complete
from ...core.processes import ordered_map
from ...core.slurm import SlurmResources, slurm_map
from ...data.extraction_lists import DROPPED, SOURCES, SOURCES_HEADER, listed
from ...data.frames import ExtractorInfo, frame_file
from ...data.manifest import ManifestRow, media_path, read_manifest
from ..media.streams import ANY_STREAMS, StreamChoice
from .frame_folder import (
    finished_files,
    frames_are_written,
    in_manifest_order,
    refuse_other_extractor,
    write_failures,
    write_reasons,
)

_VARYING: Final = re.compile(r"\d+(?:\.\d+)?")
_REMARKS_KEPT: Final = 100


@dataclass(frozen=True, slots=True)
class Clip:
    """One utterance's stretch of a media file, and the file for its frames."""

    utterance_id: str
    path: Path
    start: float | None
    end: float | None
    region: str
    target: Path
    index: int
    """Among the manifest's rows with such media."""
    wanted: bool
    """False where an earlier run has finished it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one clip: frames, or a reason for having none."""

    utterance_id: str
    seconds: float = 0.0
    """Of media that were read."""
    dropped: str = ""
    """Reason for leaving the clip out, which later runs keep to."""
    failure: str = ""
    """Fault of the file; later runs try the clip again."""
    work_seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    """Wall seconds by stage."""
    remark: str = ""
    """Streams that were read, where the film has several."""


@dataclass(slots=True)
class Report:
    """Counts of utterances, and the time that the work took."""

    with_media: int = 0
    without_media: int = 0
    finished_before: int = 0
    """Including utterances that an earlier run dropped."""
    changed: list[str] = field(default_factory=list)
    """Utterances whose row names another file, other times or another region than when they were finished."""
    extracted: int = 0
    dropped: dict[str, str] = field(default_factory=dict)
    """Reasons by utterance id, also of earlier runs."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """(id, reason) of every utterance whose file cannot be used."""
    media_seconds: float = 0.0
    work_seconds: float = 0.0
    stages: Counter[str] = field(default_factory=Counter)
    """Wall seconds."""
    remarks: list[str] = field(default_factory=list)
    """Streams that were read, of films that have several; each once."""

    @property
    def failed_share(self) -> float:
        """Return the share of failures among the utterances with media."""
        return len(self.failures) / self.with_media if self.with_media else 0.0


class FrameJob(ABC):
    """Turns clips of one medium into files of frames."""

    name: ClassVar[str]
    """Of the frames, on the progress bar."""
    medium: ClassVar[str]
    """Name of what an utterance needs, for messages."""
    column: ClassVar[str]
    """Of the manifest, for messages."""
    streams: StreamChoice = ANY_STREAMS
    """Of films with several: those that the user asked for."""

    @abstractmethod
    def info(self) -> ExtractorInfo:
        """Describe the frames, for ``extractor.json``."""

    @abstractmethod
    def media(self, row: ManifestRow) -> str:
        """Return the media file of a row as the manifest writes it; empty if there is none."""

    @abstractmethod
    def extract_group(self) -> Callable[[list[Clip]], list[Outcome]]:
        """Return the function that writes the frames of a group's clips. It is pickled for other processes."""

    def groups(self, clips: Iterable[Clip]) -> Iterator[list[Clip]]:
        """Divide clips into the groups that one process extracts at a time."""
        return ([clip] for clip in clips if clip.wanted)

    def extract_here(self, clips: Iterable[Clip], workers: int) -> Iterator[Outcome]:
        """Extract clips in ``workers`` processes of this machine."""
        return chain.from_iterable(ordered_map(self.extract_group(), self.groups(clips), workers))


def survey(
    manifest: Path, output: Path, job: FrameJob, *, overwrite: bool = False, look_for_files: bool = False
) -> Report:
    """Read the whole manifest and look at the output folder, without opening media or writing anything.

    With ``look_for_files`` the report's ``failures`` are the media files that do not exist.

    Raises:
        UserError: a defect of the manifest, no row with such media, or an output folder of another extractor.
    """
    if not overwrite:
        refuse_other_extractor(output, job.info(), job.streams)
    report = Report(dropped={} if overwrite else listed(output / DROPPED))

    def counted_rows() -> Iterator[ManifestRow]:
        for row in read_manifest(manifest):
            report.without_media += not job.media(row)
            yield row

    changed = [] if overwrite else report.changed
    for clip in _clips(manifest, counted_rows(), output, job, report.dropped, overwrite=overwrite, changed=changed):
        report.with_media += 1
        report.finished_before += not clip.wanted
        if look_for_files and clip.wanted and not clip.path.is_file():
            report.failures.append((clip.utterance_id, f"{clip.path}: no such file"))
    if not report.with_media:
        raise UserError(f"{manifest}: no utterance has {job.medium}; fill the column {job.column!r}")
    return report


def extract(
    manifest: Path,
    output: Path,
    job: FrameJob,
    *,
    workers: int = 1,
    slurm: SlurmResources | None = None,
    overwrite: bool = False,
) -> Report:
    """Write ``frame_file(output, id)`` for every utterance with media, here or in jobs of a cluster.

    ``extractor.json`` goes beside them, and where there are any, ``dropped.tsv`` with the utterances left out and
    ``failed.tsv`` with those whose file cannot be used. Neither of these keeps frames of an earlier run. Finished
    utterances are left as they are unless ``overwrite``, or their row names another file, other times or another
    region than before (``sources.tsv``); failures are tried again. A run that was killed and started
    again writes the same bytes as one that was not.

    Raises:
        UserError: a defect of the manifest; an output that is busy or another extractor's; a process or job that died.
    """
    report = survey(manifest, output, job, overwrite=overwrite)
    with frames_are_written(output, job.info(), overwrite=overwrite, streams=job.streams):
        for utterance_id in report.changed:
            frame_file(output, utterance_id).unlink(missing_ok=True)
            report.dropped.pop(utterance_id, None)
        _write_sources(output, manifest, job)
        clips = _clips(manifest, read_manifest(manifest), output, job, report.dropped, overwrite=overwrite)
        outcomes: Iterator[Outcome]
        if slurm:
            outcomes = chain.from_iterable(slurm_map(job.extract_group(), job.groups(clips), slurm, output))
        else:
            outcomes = job.extract_here(clips, workers)
        total = report.with_media - report.finished_before
        bar = tracked(outcomes, total, job.name)
        _write_dropped(output, manifest, report)
        with open(output / DROPPED, "a", encoding="utf-8", errors="backslashreplace") as journal:
            for outcome in bar:
                _note(outcome, report)
                if outcome.failure or outcome.dropped:  # with --overwrite an earlier run's frames may be there
                    frame_file(output, outcome.utterance_id).unlink(missing_ok=True)
                if outcome.dropped:  # at once, so that a run that is killed does not look at this clip again
                    journal.write(f"{outcome.utterance_id}\t{report.dropped[outcome.utterance_id]}\n")
                    journal.flush()
        _write_dropped(output, manifest, report)
        report.failures = in_manifest_order(report.failures, manifest)
        write_failures(output, report.failures)
    return report


def reason_kind(reason: str) -> str:
    """Return a reason without the numbers and names that differ from clip to clip, to count by."""
    return _VARYING.sub("…", reason.partition(": ")[0])


def _note(outcome: Outcome, report: Report) -> None:
    report.media_seconds += outcome.seconds
    report.work_seconds += outcome.work_seconds
    report.stages.update(outcome.stages)
    if outcome.remark and outcome.remark not in report.remarks and len(report.remarks) < _REMARKS_KEPT:
        report.remarks.append(outcome.remark)
    if outcome.failure:
        report.failures.append((outcome.utterance_id, outcome.failure))
    elif outcome.dropped:
        report.dropped[outcome.utterance_id] = " ".join(outcome.dropped.split())
    else:
        report.extracted += 1


def _clips(
    manifest: Path,
    rows: Iterable[ManifestRow],
    output: Path,
    job: FrameJob,
    dropped: dict[str, str],
    *,
    overwrite: bool,
    changed: list[str] | None = None,
) -> Iterator[Clip]:
    """Yield the clips of rows with media; ids of finished ones whose source has changed since go into ``changed``."""
    finished = set() if overwrite else finished_files(output)
    sources = {} if changed is None else listed(output / SOURCES)
    left_out = frozenset(dropped)  # the caller adds to it while clips are drawn
    for index, row in enumerate(row for row in rows if job.media(row)):
        target = frame_file(output, row.id)
        wanted = target.name not in finished and row.id not in left_out
        if changed is not None and not wanted and sources.get(row.id, source := _source(row, job)) != source:
            changed.append(row.id)
            wanted = True
        path = media_path(manifest, job.media(row))
        yield Clip(row.id, path, row.start, row.end, row.region, target, index, wanted)


def _source(row: ManifestRow, job: FrameJob) -> str:
    """Return what a row's frames come from; folders are left out, so that media may be moved."""
    name = " ".join(PurePath(job.media(row)).name.split())
    times = ("" if time is None else f"{time:.3f}" for time in (row.start, row.end))
    return "\t".join((name, *times, row.region))


def _write_sources(output: Path, manifest: Path, job: FrameJob) -> None:
    """Write the sources of a manifest's utterances, and after them those that are known of others."""
    others = listed(output / SOURCES)
    with (
        replaced_when_complete(output / SOURCES) as temporary,
        open(temporary, "w", encoding="utf-8", errors="replace") as stream,
    ):
        stream.write(f"{SOURCES_HEADER}\n")
        for row in read_manifest(manifest):
            if job.media(row):
                stream.write(f"{row.id}\t{_source(row, job)}\n")
                others.pop(row.id, None)
        stream.writelines(f"{utterance_id}\t{source}\n" for utterance_id, source in others.items())


def _write_dropped(output: Path, manifest: Path, report: Report) -> None:
    write_reasons(output / DROPPED, in_manifest_order(list(report.dropped.items()), manifest))
