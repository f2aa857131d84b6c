"""Refuse wrong flags of ``memobert-predict`` before anything is imported."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import UserError
from ..core.files import is_stream, refuse_existing_file, refuse_input
from ..core.version import shipped_model
from ..data.manifest import TRANSCRIBED

LIVE_WINDOW = 4
"""Seconds."""
DETECTORS = ("litert", "mediapipe")


def refuse_wrong(options: argparse.Namespace) -> None:
    """Refuse mistakes before anything is imported, and take the shipped model where none is named."""
    if options.subtitle_stream is not None:
        if options.subtitles not in (None, "embedded") or options.text or options.every or options.manifest:
            raise UserError("--subtitle-stream: cuts one film by a stream inside it; leave the other cuts out")
        options.subtitles = "embedded"
    if options.manifest is not None and options.clips:
        raise UserError("--manifest: names the clips itself; leave the others out")
    if options.manifest is None and not options.clips and not options.text and options.live is None:
        raise UserError("no clip given; name films, sound files or folders, or give --manifest or --text")
    if options.same_speaker and (options.manifest is not None or options.live is not None):
        raise UserError("--same-speaker: belongs to clips; a --manifest names its speakers, and --live is one clip")
    if options.manifest is None and (options.visual or options.acoustic):
        raise UserError("--visual, --acoustic: belong to the rows of a --manifest; name it")
    for flag in ("subtitles", "every"):
        if getattr(options, flag) is not None and not _is_one_film(options.clips):
            raise UserError(f"--{flag}: cuts one file; name exactly one film or sound file")
    if options.subtitles == TRANSCRIBED and options.transcribe is None:
        raise UserError("--subtitles transcribed: needs --transcribe FOLDER, the recogniser")
    if options.every is not None and not 0.5 <= options.every <= 60.0:
        raise UserError(f"--every {options.every:g}: give 0.5 to 60 seconds")
    if str(options.faces) in DETECTORS and not options.faces.exists():
        raise UserError(f"--faces {options.faces}: takes a tracker's file or folder; without it faces are detected")
    if options.batch_size < 1:
        raise UserError(f"--batch-size {options.batch_size}: give a number from 1 on")
    _refuse_wrong_outputs(options)
    if options.live is None and options.window is not None:
        raise UserError("--window: belongs to --live; leave it out")
    if options.live is not None:
        options.window = LIVE_WINDOW if options.window is None else options.window
        table = any(path.suffix.lower() in (".csv", ".tsv") for path in options.output)
        if options.clips or options.report or options.overlay or options.resume or len(options.output) > 1 or table:
            raise UserError("--live: takes one --output of JSON lines and no clips; leave the others out")
        if options.faces is not None:
            raise UserError("--faces: a tracker's file belongs to a film that has ended; leave it out with --live")
        if not 1 <= options.window <= 60:
            raise UserError(f"--window {options.window}: give 1 to 60 seconds")
    if options.model is None:
        options.model = shipped_model()


def _is_one_film(clips: Sequence[Path]) -> bool:
    from ..inference.faces import is_pictures

    return len(clips) == 1 and not is_pictures(clips[0])


def _refuse_wrong_outputs(options: argparse.Namespace) -> None:
    """Refuse outputs that cannot be written, that stand twice, or that would replace a file."""
    from ..features.media.container import FILM_SUFFIXES
    from ..features.media.sound import SOUND_SUFFIXES

    texts = [*(("--output", path) for path in options.output), ("--json", options.json), ("--report", options.report)]
    for flag, path in texts:
        if path is not None and Path(path).suffix.lower() in (*FILM_SUFFIXES, *SOUND_SUFFIXES):
            raise UserError(f"{flag} {path}: is the file to write, and no film; name the clips before the flag")
    if options.json is not None:
        options.output.append(Path(options.json))
    outputs = [*options.output, *(path for path in (options.report, options.overlay) if path is not None)]
    places = [str(path) if is_stream(path) else os.path.realpath(path) for path in outputs]
    if twice := [path for path, place in zip(outputs, places, strict=True) if places.count(place) > 1]:
        raise UserError(f"--output, --report, --overlay: two of them are {twice[0]}; name two files")
    cut = options.every is not None or options.subtitles is not None
    timed = [path for path in outputs if path == options.overlay or path.suffix.lower() in (".srt", ".vtt", ".ass")]
    if timed and not cut:
        raise UserError(f"{timed[0]}: needs times; add --every 4, --subtitles FILE or --subtitles embedded")
    if options.resume and (options.report is not None or lines_file(options) is None):
        raise UserError("--resume: goes on with the JSON lines of --output, without --report; name that file")
    read = [options.manifest, options.subtitles, options.live, options.model, options.faces]
    for path in outputs:
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise UserError(f"{path}: is a folder, or its folder does not exist; name a file")
        refuse_input(path, *options.clips, *read)
        refuse_existing_file(path, options.overwrite or options.resume)


def lines_file(options: argparse.Namespace) -> Path | None:
    """Return the first output that holds JSON lines in a file of its own."""
    tables = (".csv", ".tsv", ".srt", ".vtt", ".ass")
    return next((path for path in options.output if path.suffix.lower() not in tables and not is_stream(path)), None)
