"""``memobert-extract``: media files to frames. This file has ``acoustic`` and ``visual``; films have their own."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.collector import starting_up
from ..core.console import CommandParser, going_on, note, run_command, say
from ..core.names import counted
from . import extract_flags as flags
from .extract_film import add_film_commands

if TYPE_CHECKING:
    from ..features.encoders.base import PooledEncoder
    from ..features.extraction.job import FrameJob, Report

_ACOUSTIC = """\
Write one .npz of acoustic frames per utterance, extractor.json and, where audio cannot be used, failed.tsv. Finished
utterances are skipped, unless their row names another file or other times than before (sources.tsv): to go on with a
run that was stopped, start it again.
"""
_VISUAL = """\
Write one .npz of visual frames and expression distributions per utterance whose speaker's face is seen,
extractor.json, dropped.tsv with the utterances without such a face, and failed.tsv where films cannot be used. The
manifest's start and end cut clips from long films; its region ('left', 'right') chooses half of the picture. Finished
utterances are skipped, unless their row names another file, other times or another region than before (sources.tsv): to
go on with a run that was stopped, start it again.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``memobert-extract`` with these arguments (None: those of the process) and return its exit status."""
    options = build_parser().parse_args(arguments)
    with going_on("what is finished is kept; start the same command again to go on"):
        return options.run(options)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's flags."""
    parser = CommandParser(command="extract", description="Turn media files into frames, one file per utterance.")
    kinds = parser.add_subparsers(title="kinds of frames", required=True, metavar="KIND", parser_class=flags.LateParser)
    kinds.add_parser(
        "acoustic",
        help="speech of a manifest's utterances: from its sound files, else its films",
        description=_ACOUSTIC,
        add_flags=_add_acoustic_flags,
    )
    kinds.add_parser(
        "visual",
        help="faces of a manifest's utterances, from its films",
        description=_VISUAL,
        add_flags=_add_visual_flags,
    )
    add_film_commands(kinds)
    return parser


def _add_acoustic_flags(parser: argparse.ArgumentParser) -> None:
    _add_folders(parser)
    flags.add_sound_flags(parser)
    flags.add_stream_flags(parser)
    parser.add_argument(
        "--batch-size",
        type=flags.count,
        default=4,
        metavar="N",
        help="clips of equal length at once, for encoders that gain from it (default: %(default)s)",
    )
    flags.add_work_flags(parser, "the utterances with audio", threads=False)
    flags.add_slurm_flags(parser)
    parser.set_defaults(run=extract_acoustic_frames)


def _add_visual_flags(parser: argparse.ArgumentParser) -> None:
    _add_folders(parser)
    flags.add_face_flags(parser)
    flags.add_stream_flags(parser)
    flags.add_work_flags(parser, "the utterances with a film")
    flags.add_slurm_flags(parser)
    parser.set_defaults(run=extract_visual_frames)


def _add_folders(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--manifest", type=Path, required=True, metavar="TSV", help="one utterance per row (-: standard input)")
    add("--output", type=Path, required=True, metavar="FOLDER", help="folder for the frames, one extractor each")


def extract_acoustic_frames(options: argparse.Namespace) -> int:
    """Run ``memobert-extract acoustic``."""
    from ..features.extraction.acoustic import AcousticJob

    with starting_up():
        job = AcousticJob(
            flags.speech_options(options),
            options.batch_size,
            elsewhere=options.executor == "slurm",
            streams=flags.stream_choice(options),
        )
    say(describe(job.encoder))
    return _extract(job, options)


def extract_visual_frames(options: argparse.Namespace) -> int:
    """Run ``memobert-extract visual``."""
    from ..features.extraction.visual import VisualJob

    front_end = flags.front_end_options(options, sound=False)
    return _extract(VisualJob(front_end, elsewhere=options.executor == "slurm"), options)


def _extract(job: FrameJob, options: argparse.Namespace) -> int:
    from ..data.manifest import manifest_notes
    from ..features.extraction.job import extract, survey
    from .piped_manifest import piped_manifest

    options.manifest = piped_manifest(options.manifest)
    for remark in manifest_notes(options.manifest):
        note(remark)
    if options.dry_run:
        report = survey(options.manifest, options.output, job, overwrite=options.overwrite, look_for_files=True)
        say(f"{_counts(job, report)}; {report.with_media - report.finished_before} to extract, nothing written")
        for utterance_id, reason in report.failures:
            print(f"{utterance_id}: {reason}")
    else:
        began = time.perf_counter()
        report = extract(
            options.manifest,
            options.output,
            job,
            workers=options.workers,
            slurm=flags.slurm_resources(options) if options.executor == "slurm" else None,
            overwrite=options.overwrite,
        )
        say(*summarize(job, report, options.output, time.perf_counter() - began))
    return flags.exit_status(
        report.failed_share, f"{len(report.failures)} of {report.with_media} utterances", options.max_failed_share
    )


def describe(encoder: PooledEncoder) -> str:
    """Describe in one line the frames that ``encoder`` makes."""
    info = encoder.info()
    line = f"{info.name}: {info.dim} dimensions, {info.frame_rate:.4g} frames per second"
    return f"{line}; {encoder.encoder.remark}" if encoder.encoder.remark else line


def summarize(job: FrameJob, report: Report, output: Path, wall_seconds: float) -> list[str]:
    """Return lines on what a run did: counts, reasons for dropping utterances, speed, the first failure."""
    from ..core.stopwatch import speed_lines
    from ..features.extraction.job import reason_kind

    told = [
        f"{_counts(job, report)}; {report.extracted} extracted ({report.media_seconds:.0f} s of media in "
        f"{wall_seconds:.1f} s), {len(report.dropped)} dropped, {len(report.failures)} failed"
    ]
    reasons = Counter(reason_kind(reason) for reason in report.dropped.values())
    told += [f"  {count:6d}  {reason}" for reason, count in reasons.most_common()]
    told += speed_lines(report.media_seconds, report.work_seconds, report.stages)
    told += report.remarks
    if report.failures:
        utterance_id, reason = report.failures[0]
        told.append(f"the failures are in {output / 'failed.tsv'}, the first: {utterance_id}: {reason}")
    return told


def _counts(job: FrameJob, report: Report) -> str:
    utterances = report.with_media + report.without_media
    without = f"{report.without_media} without {job.medium}"
    changed = f", {len(report.changed)} with another file, other times or region than before" if report.changed else ""
    return f"{counted(utterances, 'utterance')}, {without}, {report.finished_before} finished before{changed}"


def cli_main() -> None:
    """Run the command as a process."""
    run_command(main)
