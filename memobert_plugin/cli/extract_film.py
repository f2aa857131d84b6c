"""``memobert-extract film`` and ``merge``: turn films with subtitles into a manifest and frames."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ..core.console import say
from ..core.names import ValidBy
from . import extract_flags as flags

if TYPE_CHECKING:
    from ..features.extraction.films.job import FilmJob, Share
    from ..features.extraction.films.merge import MergeReport

_FILM = """\
Make one utterance of every line of the subtitles, or of the words that --transcribe hears: its text, its sound, and the
face of the person who speaks, ten times a second. Lines without a speaker's face are dropped; dropped.tsv gives the
reasons. The output folder holds manifest.tsv, visual/ and acoustic/, from which memobert-binarize makes a data-bin.

Films are extracted in parts of some minutes. Each part has a folder under parts/, which appears when it is complete.
To go on with a run that was stopped, start it again; with more films it extracts the new ones.

Exit status: 0 done; 1 done, but more failed than --max-failed-share allows; 2 a mistake in the input.
"""


def add_film_commands(kinds: argparse._SubParsersAction[flags.LateParser]) -> None:
    """Add ``film`` and ``merge``."""
    kinds.add_parser(
        "film",
        help="films with subtitles: text, speakers' faces and speech",
        description=_FILM,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_flags=_add_film_flags,
    )
    kinds.add_parser(
        "merge",
        help="join the films that several machines extracted",
        description="Write manifest.tsv, visual/, acoustic/ and dropped.tsv of all parts that 'film' finished in these "
        "folders, as if one machine had done them all. Exit status 1: done, but parts are missing.",
        add_flags=_add_merge_flags,
    )


def _add_film_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("films", nargs="+", type=Path, metavar="FILM", help="a film, or a folder of films")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="folder of this extraction")
    _add_subtitle_flags(parser.add_argument_group("subtitles"))
    flags.add_stream_flags(parser.add_argument_group("films with several streams"))
    flags.add_face_flags(parser.add_argument_group("faces"))
    flags.add_sound_flags(parser.add_argument_group("sound"), optional=True)
    _add_valid_flags(parser.add_argument_group("validation"))
    work = parser.add_argument_group("work")
    flags.add_work_flags(work, "the films, or of their lines,")
    _add_scale_flags(work)
    parser.set_defaults(run=extract_films)


def _add_merge_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="an --output of 'film'")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="for the merged corpus")
    _add_valid_flags(parser)
    parser.set_defaults(run=merge_films)


def extract_films(options: argparse.Namespace) -> int:
    """Run ``memobert-extract film``."""
    from ..core.errors import room_is_needed
    from ..core.files import written_by_one

    if options.dry_run:
        return _extract(options)
    if options.preview is not None:
        from ..features.extraction.films.sheet import check_sheet_page

        check_sheet_page(options.preview)
    with room_is_needed(options.output), written_by_one(options.output):
        return _extract(options)


def _extract(options: argparse.Namespace) -> int:
    from ..features.extraction.films.job import describe_job, plan_job, run_job, summarize_job
    from ..features.extraction.films.plan import PlanSettings
    from ..features.media.movies import read_movies
    from ..features.media.subtitles import LineRules

    streams = flags.stream_choice(options)
    front_end = flags.front_end_options(options, sound=True, thumbnails=1 if options.preview else 0)
    transcribe = flags.transcribe_options(options, front_end)
    movies = read_movies(options.films, options.subtitles, streams)
    rules = LineRules(options.text, options.shortest)
    job = plan_job(
        movies,
        options.output,
        front_end,
        PlanSettings(rules, options.encoding, streams, options.part_minutes, transcribe),
        share=options.share,
        preview=options.preview is not None,
        overwrite=options.overwrite,
        dry_run=options.dry_run,
        workers=options.workers,
        elsewhere=options.executor == "slurm",
    )
    say(*describe_job(job))
    if options.dry_run:
        say("nothing written")
        for film, reason in job.failures:
            print(f"{film}: {reason}")
        return _status(job, options)
    if options.executor == "slurm":
        from ..features.extraction.films.job import run_on_slurm

        run_on_slurm(job, flags.slurm_resources(options))
    else:
        run_job(job, options.workers)
    say(*summarize_job(job))
    if options.preview is not None:
        _write_preview(job, options.preview)
    if job.anything_finished:
        _merge([options.output], options)
    return _status(job, options)


def merge_films(options: argparse.Namespace) -> int:
    """Run ``memobert-extract merge``."""
    from ..core.errors import room_is_needed
    from ..core.files import written_by_one

    with room_is_needed(options.output), written_by_one(options.output):
        report = _merge(options.folders, options)
    if not report.missing:
        return 0
    print(
        f"memobert-extract: {len(report.missing)} of {report.parts + len(report.missing)} parts are in none of these "
        f"folders, the first: {report.missing[0]}; extract them and merge again",
        file=sys.stderr,
    )
    return 1


def _merge(folders: Sequence[Path], options: argparse.Namespace) -> MergeReport:
    from ..features.extraction.films.job import counted
    from ..features.extraction.films.merge import ValidSettings, merge_parts

    report = merge_parts(folders, options.output, ValidSettings(options.valid_share, options.valid_by))
    where = "whole films" if report.by == "film" else "a block of each film"
    say(
        f"{options.output / 'manifest.tsv'}: {counted(report.train + report.valid, 'utterance')} "
        f"of {counted(report.films, 'film')}: "
        f"train {report.train}, valid {report.valid} ({where})"
    )
    return report


def _write_preview(job: FilmJob, target: Path) -> None:
    from ..features.extraction.films.sheet import write_sheet_pages

    pages, missing = write_sheet_pages(job.parts, job.output, target)
    for page in pages:
        say(f"{page}: contact sheet")
    if missing:
        say(f"parts that are not on it: {missing}; they failed, or were extracted without --preview (--overwrite)")


def _status(job: FilmJob, options: argparse.Namespace) -> int:
    return flags.exit_status(job.failed_share, f"{job.failed_share:.1%}", options.max_failed_share)


def _add_subtitle_flags(parser: argparse._ActionsContainer) -> None:
    add = parser.add_argument
    add(
        "--subtitles",
        type=Path,
        metavar="PATH",
        help="the file of the only film, or a folder of files (default: beside each film, else inside it)",
    )
    flags.add_transcribe_flag(parser, "films without subtitles")
    add(
        "--encoding",
        metavar="NAME",
        help="encoding of subtitle files (default: detected; in doubt Windows-1252, with a note)",
    )
    add(
        "--text",
        choices=("english", "markup"),
        default="english",
        help="english: remove tags, sound descriptions, songs, names and all that is not ASCII; markup: remove tags "
        "only, for other languages (default: %(default)s)",
    )
    add(
        "--shortest",
        type=flags.seconds,
        default=1.0,
        metavar="S",
        help="drop lines that are shorter, in seconds (default: %(default)s)",
    )


def _add_valid_flags(parser: argparse._ActionsContainer) -> None:
    add = parser.add_argument
    add(
        "--valid-share",
        type=flags.share,
        default=0.05,
        metavar="SHARE",
        help="share of the films, or of each film, in the split 'valid' (default: %(default)s)",
    )
    add(
        "--valid-by",
        choices=get_args(ValidBy),
        default="auto",
        help="film: whole films; block: a contiguous block of each; auto: films, if the share is at least one film",
    )


def _add_scale_flags(parser: argparse._ActionsContainer) -> None:
    add = parser.add_argument
    add("--preview", type=Path, metavar="HTML", help="write a page for each film that shows its lines, kept or dropped")
    add(
        "--part-minutes",
        type=flags.minutes,
        default=10.0,
        metavar="M",
        help="length of a part (default: %(default)s)",
    )
    add(
        "--share",
        type=_share_of_work,
        metavar="I/N",
        help="extract only every N-th part, from the I-th on: for N machines; join them with 'merge'",
    )
    flags.add_slurm_flags(parser)


def _share_of_work(text: str) -> Share:
    from ..features.extraction.films.job import Share

    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N such as 1/2")
    return Share(int(number), int(of))
