"""``memobert-extract visual``: the films that a manifest names to visual frames."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from .extract_flags import add_face_flags, add_slurm_flags, add_work_flags, front_end_options, slurm_resources

if TYPE_CHECKING:
    from ..features.extraction.visual import VisualReport


def add_visual_command(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``visual``."""
    visual = kinds.add_parser(
        "visual",
        help="faces of a manifest's utterances, from its films",
        description="Write one .npz of visual frames and expression distributions per utterance whose speaker's face "
        "is seen, extractor.json, dropped.tsv with the utterances without such a face, and failed.tsv where films "
        "cannot be used. start and end cut clips from long films, region ('left', 'right') chooses half of the "
        "picture. Finished utterances are skipped, so a run that was stopped is simply started again.",
    )
    visual.add_argument("--manifest", type=Path, required=True, metavar="TSV", help="one utterance per row")
    visual.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="folder for the frames")
    add_face_flags(visual)
    add_work_flags(visual, "the utterances with a film")
    add_slurm_flags(visual)
    visual.set_defaults(run=extract_visual_frames)


def extract_visual_frames(options: argparse.Namespace) -> int:
    """``memobert-extract visual``."""
    from ..features.extraction.visual import extract_visual, survey_visual

    described = front_end_options(options, sound=False)
    if options.dry_run:
        report = survey_visual(options.manifest, options.output, overwrite=options.overwrite)
        print(f"{_counts(report)}; {report.with_video - report.finished_before} to extract, nothing written")
        for utterance_id, reason in report.failures:
            print(f"{utterance_id}: {reason}")
    else:
        report = extract_visual(
            options.manifest,
            options.output,
            described,
            workers=options.workers,
            slurm=slurm_resources(options) if options.executor == "slurm" else None,
            overwrite=options.overwrite,
        )
        print("\n".join(summarize_visual(report, options.output)))
    if report.failed_share > options.max_failed_share:
        counts = f"{len(report.failures)} of {report.with_video} utterances"
        share = f"--max-failed-share {options.max_failed_share:g}"
        print(f"memobert-extract: {counts} failed, more than {share}", file=sys.stderr)
        return 1
    return 0


def summarize_visual(report: VisualReport, output: Path) -> list[str]:
    """What a run did, in lines."""
    from ..core.stopwatch import speed_lines
    from ..features.extraction.films.parts import reason_kind

    told = [
        f"{_counts(report)}; {report.extracted} extracted, {len(report.dropped)} without a speaker's face, "
        f"{len(report.failures)} failed"
    ]
    reasons = Counter(reason_kind(reason) for reason in report.dropped.values())
    told += [f"  {count:6d}  {reason}" for reason, count in reasons.most_common()]
    told += speed_lines(report.film_seconds, report.work_seconds, report.stages)
    if report.failures:
        utterance_id, reason = report.failures[0]
        told.append(f"the failures are in {output / 'failed.tsv'}, the first: {utterance_id}: {reason}")
    return told


def _counts(report: VisualReport) -> str:
    utterances = report.with_video + report.without_video
    return f"{utterances} utterances, {report.without_video} without a film, {report.finished_before} finished before"
