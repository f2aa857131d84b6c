"""``memobert-extract``: media files to frames."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import run_command
from . import extract_values
from .extract_film import add_film_commands
from .extract_flags import add_slurm_flags, add_sound_flags, slurm_resources
from .extract_visual import add_visual_command

if TYPE_CHECKING:
    from ..features.encoders.base import AcousticEncoder
    from ..features.extraction.acoustic import AcousticSettings, ExtractionReport


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``memobert-extract`` on these arguments (the process's own when None)."""
    options = build_parser().parse_args(arguments)
    return options.run(options)


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = argparse.ArgumentParser(
        prog="memobert-extract", description="Turn media files into frames, one file per utterance."
    )
    kinds = parser.add_subparsers(title="kinds of frames", required=True, metavar="KIND")
    acoustic = kinds.add_parser(
        "acoustic",
        help="speech of a manifest's utterances: from its sound files, else its films",
        description="Write one .npz of acoustic frames per utterance, extractor.json and, where audio cannot be used, "
        "failed.tsv. Finished utterances are skipped, so a run that was stopped is simply started again.",
    )
    _add_acoustic_flags(acoustic)
    acoustic.set_defaults(run=extract_acoustic_frames)
    add_visual_command(kinds)
    add_film_commands(kinds)
    return parser


def _add_acoustic_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--manifest", type=Path, required=True, metavar="TSV", help="one utterance per row; times cut from long files")
    add("--output", type=Path, required=True, metavar="FOLDER", help="folder for the frames, one extractor each")
    add_sound_flags(parser)
    add(
        "--batch-size",
        type=extract_values.count,
        default=4,
        metavar="N",
        help="wav2vec2: clips of equal length at once (default: %(default)s)",
    )
    add("--device", choices=("cpu", "cuda"), default="cpu", help="where wav2vec2 runs (default: %(default)s)")
    add(
        "--workers",
        type=extract_values.count,
        default=1,
        metavar="N",
        help="processes that read, and that compute log-mel frames (default: %(default)s)",
    )
    add(
        "--max-failed-share",
        type=extract_values.share,
        default=0.01,
        metavar="SHARE",
        help="exit with status 1 if more than this share of the utterances with audio failed (default: %(default)s)",
    )
    add("--overwrite", action="store_true", help="extract again; another extractor's frames are removed first")
    add("--dry-run", action="store_true", help="check manifest, weights and files; write nothing")
    add_slurm_flags(parser)


def extract_acoustic_frames(options: argparse.Namespace) -> int:
    """``memobert-extract acoustic``."""
    from dataclasses import replace

    from ..features.encoders.base import EncoderOptions, build_encoder
    from ..features.extraction.acoustic import AcousticJobs, AcousticSettings, extract_acoustic, survey

    described = EncoderOptions(options.encoder, options.weights, options.normalize, options.device)
    jobs = AcousticJobs(described, slurm_resources(options)) if options.executor == "slurm" else None
    encoder = build_encoder(replace(described, device="cpu") if jobs else described)  # jobs may run where the GPU is
    settings = AcousticSettings(options.pool, options.max_seconds, options.batch_size, options.workers)
    print(describe(encoder, settings))
    job = (options.manifest, options.output, encoder, settings)
    if options.dry_run:
        report = survey(*job, overwrite=options.overwrite, look_for_files=True)
        print(f"{_counts(report)}; {report.with_audio - report.finished_before} to extract, nothing written")
        for utterance_id, reason in report.failures:
            print(f"{utterance_id}: {reason}")
    else:
        started = time.perf_counter()
        report = extract_acoustic(*job, jobs=jobs, overwrite=options.overwrite)
        sound = report.frames * settings.pool / encoder.frame_rate
        print(summarize(report, options.output, sound, time.perf_counter() - started))
    if report.failed_share > options.max_failed_share:
        counts = f"{len(report.failures)} of {report.with_audio} utterances"
        share = f"--max-failed-share {options.max_failed_share:g}"
        print(f"memobert-extract: {counts} failed, more than {share}", file=sys.stderr)
        return 1
    return 0


def describe(encoder: AcousticEncoder, settings: AcousticSettings) -> str:
    """One line on what the frames will be."""
    info = settings.info(encoder)
    line = f"{info.name}: {info.dim} dimensions, {info.frame_rate:.4g} frames per second"
    trained = getattr(encoder, "wants_normalized", None)
    if trained is None:
        return line
    wanted, done = ("" if trained else "not "), ("" if info.options["normalized"] else "not ")
    return f"{line}; the weights were trained on clips {wanted}normalised, and these clips are {done}normalised"


def summarize(report: ExtractionReport, output: Path, sound_seconds: float, wall_seconds: float) -> str:
    """What a run did, in one line or two."""
    lines = [
        f"{_counts(report)}; {report.extracted} extracted ({sound_seconds:.0f} s of sound in {wall_seconds:.1f} s), "
        f"{len(report.failures)} failed"
    ]
    if report.failures:
        utterance_id, reason = report.failures[0]
        lines.append(f"the failures are in {output / 'failed.tsv'}, the first: {utterance_id}: {reason}")
    return "\n".join(lines)


def _counts(report: ExtractionReport) -> str:
    utterances = report.with_audio + report.without_audio
    return f"{utterances} utterances, {report.without_audio} without audio, {report.finished_before} finished before"


def cli_main() -> None:
    """Entry point of the command."""
    run_command(main)
