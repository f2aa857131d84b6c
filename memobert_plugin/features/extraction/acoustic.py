"""A manifest's utterances to acoustic frames, one file each: read, encode, average over consecutive frames, write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Final

import numpy as np

from ...core.errors import DefectiveClip, UserError
from ...core.processes import ordered_map
from ...core.slurm import SlurmResources, slurm_map
from ...data.frames import ExtractorInfo, frame_file, write_frames
from ...data.manifest import ManifestRow, media_path, read_manifest
from ..encoders.base import AcousticEncoder, EncoderOptions, build_encoder
from ..media.container import FILM_SUFFIXES
from ..media.sound import SAMPLE_RATE, read_clip
from .frame_folder import finished_files, frames_are_written, in_manifest_order, refuse_other_extractor, write_failures

_BATCHES_PER_WINDOW: Final = 16


@dataclass(frozen=True, slots=True)
class AcousticSettings:
    """How clips are cut, pooled and worked through."""

    pool: int = 3
    """Consecutive frames that are averaged; the last group may be shorter."""
    max_seconds: float = 10.0
    """Longer clips are cut here."""
    batch_size: int = 4
    """Clips at once, all of one length (batched encoders)."""
    workers: int = 1
    """Processes that read, and that encode for an encoder that is not batched."""

    def info(self, encoder: AcousticEncoder) -> ExtractorInfo:
        """Describe frames made by ``encoder`` with these settings."""
        options = {**encoder.options, "sample_rate": SAMPLE_RATE, "max_seconds": self.max_seconds, "pool": self.pool}
        return ExtractorInfo(
            name=encoder.name,
            options=options,
            weights_sha256=encoder.weights_sha256,
            frame_rate=encoder.frame_rate / self.pool,
            dim=encoder.dim,
            version=encoder.version,
        )


@dataclass(frozen=True, slots=True)
class AcousticJobs:
    """SLURM jobs of one process each, and the encoder that each of them builds."""

    encoder: EncoderOptions
    resources: SlurmResources


@dataclass(slots=True)
class ExtractionReport:
    """What a run found and did; counts of utterances."""

    with_audio: int = 0
    without_audio: int = 0
    finished_before: int = 0
    extracted: int = 0
    frames: int = 0
    """Written, after pooling."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """(id, reason) of every utterance whose audio cannot be used."""

    @property
    def failed_share(self) -> float:
        """Failures among the utterances that have audio."""
        return len(self.failures) / self.with_audio if self.with_audio else 0.0


@dataclass(frozen=True, slots=True)
class _Clip:
    utterance_id: str
    path: Path
    start: float | None
    end: float | None
    target: Path
    window: int
    wanted: bool


@dataclass(frozen=True, slots=True)
class _Waveform:
    clip: _Clip
    samples: np.ndarray | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Outcome:
    utterance_id: str
    frames: int
    reason: str = ""


def survey(
    manifest: Path,
    output: Path,
    encoder: AcousticEncoder,
    settings: AcousticSettings,
    *,
    overwrite: bool = False,
    look_for_files: bool = False,
) -> ExtractionReport:
    """Read the whole manifest and look at the output folder, without opening audio or writing anything.

    With ``look_for_files`` the report's ``failures`` name the files that are not there.

    Raises:
        UserError: a defect of the manifest, no row with audio, or an output folder of another extractor.
    """
    if not overwrite:
        refuse_other_extractor(output, settings.info(encoder))
    report = ExtractionReport()

    def counted_rows() -> Iterator[ManifestRow]:
        for row in read_manifest(manifest):
            report.without_audio += not _sound_of(row)
            yield row

    for clip in _clips(manifest, counted_rows(), output, settings, overwrite=overwrite):
        report.with_audio += 1
        report.finished_before += not clip.wanted
        if look_for_files and clip.wanted and not clip.path.is_file():
            report.failures.append((clip.utterance_id, f"{clip.path}: no such file"))
    if not report.with_audio:
        raise UserError(f"{manifest}: no row names a file with sound; fill the column 'audio'")
    return report


def extract_acoustic(
    manifest: Path,
    output: Path,
    encoder: AcousticEncoder,
    settings: AcousticSettings,
    *,
    jobs: AcousticJobs | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> ExtractionReport:
    """Write ``frame_file(output, id)`` for every utterance with audio; ``extractor.json``, ``failed.tsv`` beside them.

    ``settings.workers`` processes here do it or, with ``jobs``, those of a cluster that sees the same files.

    Finished utterances are left as they are unless ``overwrite``. A run that was killed and started again writes the
    same bytes as one that was not (same machine, same batch size); defective clips are recorded and tried again.

    Raises:
        UserError: a defect of the manifest; an output that is busy or another extractor's; a process or job that died.
    """
    from tqdm import tqdm

    planned = survey(manifest, output, encoder, settings, overwrite=overwrite)
    report = ExtractionReport(planned.with_audio, planned.without_audio, planned.finished_before)
    with frames_are_written(output, settings.info(encoder), overwrite=overwrite):
        clips = _clips(manifest, read_manifest(manifest), output, settings, overwrite=overwrite)
        outcomes = _in_jobs(clips, jobs, settings, output) if jobs else _encoded(clips, encoder, settings)
        bar = tqdm(
            outcomes,
            total=report.with_audio - report.finished_before,
            desc=encoder.name,
            unit="utterance",
            disable=None if progress else True,
        )
        for outcome in bar:
            if outcome.reason:
                report.failures.append((outcome.utterance_id, outcome.reason))
            else:
                report.extracted += 1
                report.frames += outcome.frames
        report.failures = in_manifest_order(report.failures, manifest)
        write_failures(output, report.failures)
    return report


def pool_frames(frames: np.ndarray, size: int) -> np.ndarray:
    """Average ``size`` consecutive frames: ``(T, D)`` to ``(ceil(T / size), D)``; the last group may be shorter."""
    starts = np.arange(0, len(frames), size)
    counts = np.diff(starts, append=len(frames))
    sums = np.add.reduceat(frames, starts, axis=0, dtype=np.float64)
    return (sums / counts[:, None]).astype(np.float32)


def _clips(
    manifest: Path, rows: Iterable[ManifestRow], output: Path, settings: AcousticSettings, *, overwrite: bool
) -> Iterator[_Clip]:
    finished = set() if overwrite else finished_files(output)
    for index, row in enumerate(row for row in rows if _sound_of(row)):
        target = frame_file(output, row.id)
        yield _Clip(
            row.id,
            media_path(manifest, _sound_of(row)),
            row.start,
            row.end,
            target,
            window=index // (settings.batch_size * _BATCHES_PER_WINDOW),
            wanted=target.name not in finished,
        )


def _sound_of(row: ManifestRow) -> str:
    """The file with a row's sound: its sound file, else its film."""
    if not row.audio and Path(row.video).suffix.lower() in FILM_SUFFIXES:
        return row.video
    return row.audio


def _in_jobs(
    clips: Iterable[_Clip], jobs: AcousticJobs, settings: AcousticSettings, output: Path
) -> Iterator[_Outcome]:
    """By windows of the manifest, so that a batch holds the same clips as it does here."""
    encode = partial(_encode_window, encoder=jobs.encoder, settings=replace(settings, workers=1))
    return chain.from_iterable(slurm_map(encode, _unfinished_windows(clips), jobs.resources, output))


def _encode_window(window: list[_Clip], encoder: EncoderOptions, settings: AcousticSettings) -> list[_Outcome]:
    return list(_encoded(window, build_encoder(encoder), settings))


def _encoded(clips: Iterable[_Clip], encoder: AcousticEncoder, settings: AcousticSettings) -> Iterator[_Outcome]:
    return (_in_batches if encoder.batched else _one_by_one)(clips, encoder, settings)


def _unfinished_windows(clips: Iterable[_Clip]) -> Iterator[list[_Clip]]:
    windows = (list(group) for _, group in groupby(clips, key=lambda clip: clip.window))
    return (window for window in windows if any(clip.wanted for clip in window))


def _one_by_one(clips: Iterable[_Clip], encoder: AcousticEncoder, settings: AcousticSettings) -> Iterator[_Outcome]:
    wanted = (clip for clip in clips if clip.wanted)
    yield from ordered_map(partial(_encode_alone, encoder=encoder, settings=settings), wanted, settings.workers)


def _encode_alone(clip: _Clip, encoder: AcousticEncoder, settings: AcousticSettings) -> _Outcome:
    waveform = _read(clip, settings.max_seconds, encoder.shortest)
    if waveform.samples is None:
        return _Outcome(clip.utterance_id, 0, waveform.reason)
    return _write(clip, encoder.encode(waveform.samples[None])[0], settings)


def _in_batches(clips: Iterable[_Clip], encoder: AcousticEncoder, settings: AcousticSettings) -> Iterator[_Outcome]:
    """Encode window by window of the manifest, clips of one length together.

    An unfinished window is read whole, so that a batch holds the same clips in a run that goes on after a kill.
    """
    needed = chain.from_iterable(_unfinished_windows(clips))
    read = partial(_read, max_seconds=settings.max_seconds, shortest=encoder.shortest)
    waveforms = ordered_map(read, needed, settings.workers)
    for _, group in groupby(waveforms, key=lambda waveform: waveform.clip.window):
        by_length: dict[int, list[tuple[_Clip, np.ndarray]]] = defaultdict(list)
        for waveform in group:
            if waveform.samples is not None:
                by_length[len(waveform.samples)].append((waveform.clip, waveform.samples))
            elif waveform.clip.wanted:
                yield _Outcome(waveform.clip.utterance_id, 0, waveform.reason)
        for equally_long in by_length.values():
            for first in range(0, len(equally_long), settings.batch_size):
                yield from _encode_batch(equally_long[first : first + settings.batch_size], encoder, settings)


def _encode_batch(
    batch: Sequence[tuple[_Clip, np.ndarray]], encoder: AcousticEncoder, settings: AcousticSettings
) -> Iterator[_Outcome]:
    if not any(clip.wanted for clip, _ in batch):
        return
    encoded = encoder.encode(np.stack([samples for _, samples in batch]))
    for (clip, _), frames in zip(batch, encoded, strict=True):
        if clip.wanted:
            yield _write(clip, frames, settings)


def _read(clip: _Clip, max_seconds: float, shortest: int) -> _Waveform:
    try:
        samples = read_clip(clip.path, start=clip.start, end=clip.end, max_seconds=max_seconds)
    except DefectiveClip as defect:
        return _Waveform(clip, None, str(defect))
    if len(samples) < shortest:
        lasts, needed = (f"{1000 * count / SAMPLE_RATE:.4g} ms" for count in (len(samples), shortest))
        return _Waveform(clip, None, f"{clip.path}: the clip lasts {lasts}, shorter than one frame ({needed})")
    return _Waveform(clip, samples)


def _write(clip: _Clip, frames: np.ndarray, settings: AcousticSettings) -> _Outcome:
    if not np.isfinite(frames).all():
        return _Outcome(clip.utterance_id, 0, f"{clip.path}: the encoder gave NaN or infinite frames")
    pooled = pool_frames(frames, settings.pool)
    write_frames(clip.target, pooled)
    return _Outcome(clip.utterance_id, len(pooled))
