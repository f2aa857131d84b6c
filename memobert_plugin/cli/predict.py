"""``memobert-predict``: the emotion in clips, and why."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import UserError, run_command
from ..core.files import messages_kept_apart, replaced_when_complete
from ..core.flags import add_flags, options_from
from ..features.media.streams import StreamChoice, wanted_language

if TYPE_CHECKING:
    from ..inference.requests import Request
    from ..inference.run import Outcome

EPILOG = """\
A file of results has one JSON object per utterance: id, start, end, text, label, probabilities, word (what the model
itself would say), modalities (what was read, how much of it, why not) and notes; where a clip failed, id and error.
The exit status is 1 if any clip failed, 2 if the command could not run.

What the answer means: which of its emotions the model finds most likely from what is said, seen and heard. It says
nothing certain about what a person feels.
"""
MEDIAPIPE = "mediapipe"
LONGEST_TEXT = 40
"""Letters of a text in the table."""
UNITS = {"text": "word piece", "visual": "face", "acoustic": "sound frame"}
MOST_ROWS = 200
"""Rows of the table."""


def build_parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = argparse.ArgumentParser(
        prog="memobert-predict",
        description="Tell the emotion in video and sound clips.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("clips", nargs="*", type=Path, metavar="CLIP", help="films, sound files, or folders of them (or of faces)")
    add("--model", type=Path, required=True, metavar="BUNDLE", help="of memobert-export, or a checkpoint_best.pt")
    add("--output", type=Path, metavar="JSONL", help="write the results here (-: standard output)")
    add("--report", type=Path, metavar="HTML", help="write a page that shows what each answer relied on")
    what = parser.add_argument_group("what is said, and when").add_mutually_exclusive_group()
    what.add_argument("--text", default="", metavar="TEXT", help="what is said in the one clip")
    what.add_argument(
        "--subtitles", metavar="FILE", help="cut the one film into its lines: .srt, .ass, .vtt, or the word embedded"
    )
    what.add_argument("--every", type=float, metavar="SECONDS", help="cut the one clip into stretches of this length")
    what.add_argument("--manifest", type=Path, metavar="TSV", help="one utterance per row, instead of clips")
    add_flags(parser.add_argument_group("films with several streams"), [("", StreamChoice)])
    how = parser.add_argument_group("how it is read")
    add = how.add_argument
    add("--modalities", metavar="LETTERS", help="any of l (text), v (faces), a (voice); default: as trained")
    add("--faces", metavar="SOURCE", default=MEDIAPIPE, help="mediapipe (default), or a tracker's CSV file or folder")
    add("--voice", choices=("silero", "energy"), help="what tells speech from silence (default: as trained)")
    add("--weights", type=Path, metavar="PATH", help="wav2vec 2.0, for a model trained on its frames")
    add("--face-weights", type=Path, metavar="FILE", help="another DenseFace than the shipped one, likewise")
    add("--data-bin", type=Path, metavar="FOLDER", help="of an older checkpoint that does not carry its tokenizer")
    add("--device", default="cpu", help="cpu (default) or cuda")
    add("--dtype", default="float32", choices=("float32", "bfloat16", "float16"), help="default: float32")
    add("--batch-size", type=int, default=16, metavar="N", help="utterances at a time (default: %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = build_parser().parse_args(argv)
    _refuse_wrong(options)
    from ..core.errors import DefectiveClip
    from ..inference.page import Page
    from ..inference.predictor import MEmoBERT
    from ..inference.run import run

    streams = options_from(options, StreamChoice, "")
    if streams.language is not None:
        wanted_language(streams.language)
    try:
        request = _request(options, streams)
    except DefectiveClip as defect:
        raise UserError(str(defect)) from None
    for remark in request.remarks:
        print(f"memobert-predict: {remark}", file=sys.stderr)
    explained = options.report is not None
    model = MEmoBERT.from_pretrained(
        options.model,
        device=options.device,
        dtype=options.dtype,
        data_bin=options.data_bin,
        weights=options.weights,
        tracker=None if options.faces == MEDIAPIPE else options.faces,
        face_weights=options.face_weights,
        voice=options.voice,
        preview=explained,
        streams=streams,
    )
    page = Page(model.description, request.timeline) if explained else None
    outcomes = run(
        model, request.utterances, modalities=options.modalities, batch_size=options.batch_size, explained=explained
    )
    lines = []
    for outcome in _with_progress(outcomes, len(request.utterances)):
        if page is not None:
            page.add(outcome)
        lines.append(outcome.to_dict())
    with messages_kept_apart(options.output, options.report):
        print(as_text(lines, request.timeline))
        if options.output is not None:
            _write_lines(options.output, lines)
            print(f"written: {options.output}")
        if page is not None:
            page.write(options.report)
            print(f"written: {options.report}")
    return int(any("error" in line for line in lines))


def cli_main() -> None:
    """Entry point of the command; the host's remarks on optional packages are kept out of its output."""
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    run_command(main)


def as_text(lines: Sequence[dict[str, Any]], timeline: bool) -> str:
    """A table of the answers, what to know about them, and the clips that failed."""
    from tabulate import tabulate

    answered = [line for line in lines if "error" not in line]
    failed = [line for line in lines if "error" in line]
    parts = []
    if answered:
        rows = [_row(line, timeline) for line in answered[:MOST_ROWS]]
        header = ["time" if timeline else "clip", "text", "answer", "", "read", "word"]
        parts.append(tabulate(rows, headers=header, disable_numparse=True))
    if len(answered) > MOST_ROWS:
        parts.append(f"… and {len(answered) - MOST_ROWS} more (--output holds all)")
    parts += _notes(answered)
    parts += [f"failed: {line['id']}: {line['error']}" for line in failed]
    if failed:
        parts.append(f"{len(failed)} of {len(lines)} clips failed")
    return "\n".join(parts)


def _notes(answered: Sequence[dict[str, Any]]) -> list[str]:
    """What to know about the answers, one line for all notes that begin alike."""
    alike: dict[str, list[str]] = defaultdict(list)
    for line in answered:
        uses = {"faces": line["modalities"]["visual"], "sound": line["modalities"]["acoustic"]}
        unread = [f"no {name} read: {use['reason']}" for name, use in uses.items() if use["reason"]]
        for note in [*unread, *line["notes"]]:
            alike[note.partition(":")[0]].append(note)
    if len(answered) == 1:
        return [f"note: {note}" for notes in alike.values() for note in notes]
    return [
        f"note ({len(notes)} of {len(answered)}): {notes[0]}{' …' if len(set(notes)) > 1 else ''}"
        for notes in alike.values()
    ]


def _row(line: dict[str, Any], timeline: bool) -> list[str]:
    where = f"{line['start']:.1f} – {line['end']:.1f} s" if timeline else line["id"]
    text = line["text"]
    shown = text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
    counts = {what: line["modalities"][name]["frames"] for name, what in UNITS.items()}
    read = ", ".join(f"{count} {what}{'s' if count > 1 else ''}" for what, count in counts.items() if count)
    return [where, shown, line["label"], f"{line['probabilities'][line['label']]:.0%}", read, line["word"] or ""]


def _refuse_wrong(options: argparse.Namespace) -> None:
    """Mistakes that can be told before anything is imported."""
    if options.subtitle_stream is not None:
        if options.subtitles not in (None, "embedded") or options.text or options.every or options.manifest:
            raise UserError("--subtitle-stream: cuts one film by a stream inside it; leave the other cuts out")
        options.subtitles = "embedded"
    if options.manifest is not None and options.clips:
        raise UserError("--manifest: names the clips itself; leave the others out")
    if options.manifest is None and not options.clips and not options.text:
        raise UserError("no clip given; name films, sound files or folders, or give --manifest or --text")
    for flag in ("subtitles", "every"):
        if getattr(options, flag) is not None and (len(options.clips) != 1 or options.clips[0].is_dir()):
            raise UserError(f"--{flag}: cuts one file; name exactly one film or sound file")
    if options.every is not None and not 0.5 <= options.every <= 60.0:
        raise UserError(f"--every {options.every:g}: give 0.5 to 60 seconds")
    if options.batch_size < 1:
        raise UserError(f"--batch-size {options.batch_size}: give a number from 1 on")
    for path in (options.output, options.report):
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise UserError(f"{path}: is a folder, or its folder does not exist; name a file")


def _request(options: argparse.Namespace, streams: StreamChoice) -> Request:
    from ..inference.requests import of_clips, of_manifest, of_subtitles, of_windows

    if options.manifest is not None:
        return of_manifest(options.manifest)
    if options.subtitles is not None:
        return of_subtitles(options.clips[0], options.subtitles, streams)
    if options.every is not None:
        return of_windows(options.clips[0], options.every)
    return of_clips(options.clips, options.text)


def _with_progress(outcomes: Iterable[Outcome], total: int) -> Iterator[Outcome]:
    from tqdm import tqdm

    yield from tqdm(outcomes, total=total, unit="utterance", disable=None)


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    try:
        with replaced_when_complete(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another file") from None
