"""``memobert-predict``: predict the emotion in clips, and show what the answers relied on."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.collector import starting_up
from ..core.console import QUIET, CommandParser, detail, loudness, note, run_command, say, tracked
from ..core.errors import Interrupted, UserError
from ..core.files import is_standard_output, messages_kept_apart
from ..core.flags import add_flags, options_from
from ..core.names import counted
from ..core.version import license_of
from ..data.manifest import TRANSCRIBED
from ..features.media.streams import StreamChoice, wanted_language
from .extract_flags import add_transcribe_flag
from .predict_checks import LIVE_WINDOW, lines_file, refuse_wrong

if TYPE_CHECKING:
    from ..inference.page import Page
    from ..inference.predictor import MEmoBERT
    from ..inference.requests import Request

EPILOG = """\
JSON lines have one object per utterance: id, file, start, end, text, text_source (typed, subtitles, manifest or
transcribed), transcript (the recogniser, its language and how sure it was), label, confidence, unsure (true where the
right answer would be less than 60 % likely), probabilities, word (the most likely word at the prompt's mask),
modalities (for each, the number of frames that were read, or the reason why none were), notes, and model (digits that
tell models apart). For a clip that failed it has id, file and error. Tables have a column p_EMOTION for every emotion,
and the frames read of words, faces and voice; subtitles show the answer, the streams it was read from, and the words.
The exit status is 1 if any clip failed, 2 if the command could not run.

An answer is the emotion that the model finds most likely, of those it knows. It says nothing certain about what a
person feels.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        command="predict",
        description="Predict the emotion in video and sound clips.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "clips",
        nargs="*",
        type=Path,
        metavar="CLIP",
        help="films, sound files, pictures, or folders of films and sound files at any depth (or of faces cut "
        "out); -: their names, one a line, from standard input",
    )
    add(
        "--model",
        type=Path,
        metavar="MODEL",
        help="bundle of memobert-export, or checkpoint_best.pt (default: the shipped model)",
    )
    add(
        "--labels",
        metavar="LABELS",
        help="choose among these alone: some of the model's, as in happiness,anger, or new ones with the words that "
        "the prompt reads, as in calm=calm,anger",
    )
    _add_outputs(parser.add_argument_group("outputs"))
    _add_texts_and_times(parser.add_argument_group("texts and times").add_mutually_exclusive_group())
    add_transcribe_flag(parser.add_argument_group("words"), "clips without text")
    add_flags(parser.add_argument_group("films with several streams"), [("", StreamChoice)])
    _add_reading(parser.add_argument_group("reading"))
    return parser


def _add_texts_and_times(what: argparse._MutuallyExclusiveGroup) -> None:
    what.add_argument("--text", default="", metavar="TEXT", help="the words said in the one clip (-: standard input)")
    what.add_argument(
        "--subtitles",
        metavar="FILE",
        help="cut the one film into the lines of .srt, .ass, .vtt …, of its own subtitles (the word embedded), or into "
        "those that --transcribe hears (the word transcribed)",
    )
    what.add_argument(
        "--every", type=float, metavar="SECONDS", help="cut the one clip into stretches of about this length"
    )
    what.add_argument(
        "--live",
        metavar="SOURCE",
        help="answer once a second while a film comes: a file, - (standard input), a camera such as /dev/video0, or "
        "FORMAT:DEVICE; JSON lines with the lag in seconds",
    )
    what.add_argument(
        "--manifest", type=Path, metavar="TSV", help="one utterance per row, instead of clips (-: standard input)"
    )


def _add_reading(how: argparse._ArgumentGroup) -> None:
    add = how.add_argument
    add("--modalities", metavar="LETTERS", help="any of l (text), v (faces), a (voice); default: as trained")
    add("--faces", type=Path, metavar="PATH", help="a tracker's CSV file or folder (default: faces are detected)")
    for flag, kind in (("--visual", "face"), ("--acoustic", "speech")):
        ready = f"with --manifest: ready {kind} frames of the rows, made as those that the model was trained on"
        add(flag, type=Path, metavar="FOLDER", help=ready)
    add(
        "--same-speaker",
        action="store_true",
        help="all clips or stretches are of one speaker: a model of frames less their speaker's mean then knows the "
        "voice (rows of a --manifest name their speakers)",
    )
    add("--voice", choices=("silero", "energy"), help="detector of speech (default: as trained)")
    add("--weights", type=Path, metavar="PATH", help="the speech encoder's, for a model trained on its frames")
    add(
        "--face-weights",
        type=Path,
        metavar="FILE",
        help="another DenseFace or ONNX file, for a model trained on its frames",
    )
    add("--data-bin", type=Path, metavar="FOLDER", help="data-bin of an older checkpoint without its tokenizer")
    add(
        "--zero-frames",
        action="store_true",
        help="one zero frame for faces or speech that a clip lacks, as in the authors' code; for imported weights (a "
        "training's own --zero-frames is kept)",
    )
    add("--window", type=int, metavar="S", help=f"whole seconds that --live looks back (default: {LIVE_WINDOW})")
    add("--device", default="cpu", help="cpu (default) or cuda")
    add("--dtype", default="float32", choices=("float32", "bfloat16", "float16"), help="default: float32")
    add("--batch-size", type=int, default=16, metavar="N", help="utterances at a time (default: %(default)s)")


def _add_outputs(outputs: argparse._ArgumentGroup) -> None:
    add = outputs.add_argument
    add(
        "--output",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="write the answers: a table (.csv, .tsv), subtitles (.srt, .vtt, .ass), else JSON lines; may be repeated "
        "(-: standard output)",
    )
    add("--json", nargs="?", const="-", metavar="FILE", help="write JSON lines to FILE, or to standard output")
    add("--report", type=Path, metavar="HTML", help="write a page with the words and moments that answers relied on")
    add("--overlay", type=Path, metavar="MP4", help="write the one film with the answers drawn into its pictures")
    add("--overwrite", action="store_true", help="replace outputs that exist")
    add("--resume", action="store_true", help="keep the answers in the JSON lines of --output and give those that lack")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = build_parser().parse_args(argv)
    _read_standard_input(options)
    refuse_wrong(options)
    from ..checkpoints.bundle import model_digest
    from ..inference.outputs import Answers, as_text, earlier_answers, write_answers
    from ..inference.overlay import check_overlay
    from ..inference.requests import run

    streams = options_from(options, StreamChoice, "memobert-predict")
    if streams.language is not None:
        wanted_language(streams.language)
    if options.live is not None:
        return _follow(options, streams)
    request = _request(options, streams)
    for remark in request.remarks:
        note(remark)
    if options.overlay is not None:
        check_overlay(options.clips[0], options.overlay)
    explained = options.report is not None
    with starting_up():
        model = _model(options, streams)
    detail(f"{options.model}\n{model}")
    digest = model_digest(options.model)
    earlier = earlier_answers(lines_file(options), model.labels, digest) if options.resume else {}
    if waiting := Answers(request.utterances, earlier).waiting:
        request = _with_voices(request, model, options)
    _say_what_is_kept(options, len(request.utterances) - len(waiting), len(waiting))
    page = _page(options, model, request) if explained else None
    answers = Answers(request.utterances, earlier)
    outcomes = run(
        model,
        tracked(answers.waiting, len(answers.waiting), "predict"),
        modalities=options.modalities,
        batch_size=options.batch_size,
        explained=explained,
    )
    interrupted = False
    try:
        for outcome in outcomes:
            if page is not None:
                page.add(outcome)
            answers.add({**outcome.to_dict(), "model": digest})
            detail(outcome.error or str(outcome.prediction))
    except KeyboardInterrupt:
        interrupted = True
    lines = answers.lines()
    with messages_kept_apart(*options.output, options.report, options.overlay):
        if lines and not (loudness() == QUIET and any(map(is_standard_output, options.output))):
            print(as_text(lines, request.timeline, notes=loudness() > QUIET))
        for path in options.output:
            write_answers(path, lines, model.labels)
        shown = [] if interrupted else _write_shown(options, lines, model.labels, streams, page)
        say(*(f"written: {path}" for path in [*options.output, *shown] if not is_standard_output(path)))
    if interrupted:
        raise Interrupted(_way_on(options, len(lines), len(request.utterances)))
    return int(any("error" in line for line in lines))


def _say_what_is_kept(options: argparse.Namespace, kept: int, waiting: int) -> None:
    if not kept:
        return
    rest = f"{counted(waiting, 'answer')} to come" if waiting else "nothing is left"
    note(f"{counted(kept, 'answer')} kept from {lines_file(options)}; {rest}")


def _with_voices(request: Request, model: MEmoBERT, options: argparse.Namespace) -> Request:
    """Return the request with the mean of each speaker's voice, where the model reads frames less that mean."""
    utterances = request.utterances
    if options.same_speaker:
        utterances = [replace(one, speaker="one") for one in utterances]
    unknown = [one for one in utterances if not one.speaker and one.voice_mean is None]
    nameless = sum(one.has_sound or one.acoustic is not None for one in unknown)
    if nameless > 1 and model.reader.takes_voice_means(options.modalities):
        note(
            f"{counted(nameless, 'voice')} without a speaker's name, read as an average speaker's; --same-speaker "
            "(or the manifest's column speaker) where one person speaks in all of them"
        )
    return replace(request, utterances=model.with_voice_means(utterances, options.modalities, progress=True))


def _page(options: argparse.Namespace, model: MEmoBERT, request: Request) -> Page:
    """Return the empty page of --report."""
    from ..inference.page import Page, details_folder

    beside = details_folder(options.report, len(request.utterances), overwrite=options.overwrite)
    return Page(model.description, request.timeline, license_of(options.model), beside=beside)


def _write_shown(
    options: argparse.Namespace,
    lines: Sequence[dict[str, Any]],
    labels: Sequence[str],
    streams: StreamChoice,
    page: Page | None,
) -> list[Path]:
    """Write the page and the film with the answers drawn in, where they were asked for; return their paths."""
    from ..inference.overlay import write_overlay

    if page is not None:
        page.write(options.report)
    if options.overlay is not None:
        write_overlay(options.clips[0], lines, options.overlay, labels, streams)
    return [path for path in (options.report, options.overlay) if path is not None]


def _model(options: argparse.Namespace, streams: StreamChoice) -> MEmoBERT:
    """Load the model that the flags describe; refuse ready frames of another making than it was trained on."""
    from ..inference.predictor import MEmoBERT
    from ..inference.requests import refuse_other_frames

    model = MEmoBERT.from_pretrained(
        options.model,
        device=options.device,
        dtype=options.dtype,
        data_bin=options.data_bin,
        zero_frames=options.zero_frames,
        weights=options.weights,
        tracker=options.faces,
        face_weights=options.face_weights,
        voice=options.voice,
        streams=streams,
        transcribe=options.transcribe,
        preview=options.report is not None,
        labels=options.labels,
    )
    for flag in ("visual", "acoustic"):
        if (folder := getattr(options, flag)) is not None:
            refuse_other_frames(f"--{flag}", folder, getattr(model.description, f"{flag}_extractor"))
    return model


def _follow(options: argparse.Namespace, streams: StreamChoice) -> int:
    """Answer along a film that comes, a line as soon as it is there."""
    from ..core.errors import DefectiveClip
    from ..inference.live import follow

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the work of one second is too small to share among threads
    with starting_up():
        model = _model(options, streams)
    path = options.output[0] if options.output else Path("-")
    lags: list[float] = []
    with ExitStack() as stack:
        stream = sys.stdout if is_standard_output(path) else stack.enter_context(open(path, "w", encoding="utf-8"))
        try:
            for moment in follow(
                model, options.live, window=options.window, modalities=options.modalities, streams=streams
            ):
                print(json.dumps(moment.to_dict(), ensure_ascii=False), file=stream, flush=True)
                lags.append(moment.lag)
        except DefectiveClip as defect:
            raise UserError(str(defect)) from None
        except KeyboardInterrupt:
            raise Interrupted(f"{counted(len(lags), 'answer')} written") from None
    if lags:
        detail(
            f"{counted(len(lags), 'answer')}; lag {sum(lags) / len(lags):.2f} s on average, {max(lags):.2f} s at most"
        )
    return 0


def _way_on(options: argparse.Namespace, done: int, asked: int) -> str:
    kept = lines_file(options)
    if kept is None:
        return f"{done} of {asked} are answered; with --output answers.jsonl they are kept, and --resume goes on"
    return f"{done} of {asked} are answered and in {kept}; start the same command with --resume to go on"


def cli_main() -> None:
    """Run the command and leave the process."""
    run_command(main)


def _read_standard_input(options: argparse.Namespace) -> None:
    """Take clips, words or the manifest from standard input where ``-`` stands for them."""
    if options.manifest is not None:
        from .piped_manifest import piped_manifest

        options.manifest = piped_manifest(options.manifest)
    elif options.text == "-":
        options.text = " ".join(sys.stdin.read().split())
    elif Path("-") in options.clips:
        given = sys.stdin.read()
        names = given.split("\0") if "\0" in given else given.splitlines()
        at = options.clips.index(Path("-"))
        options.clips[at : at + 1] = [Path(name) for name in names if name]


def _request(options: argparse.Namespace, streams: StreamChoice) -> Request:
    """Return the utterances that are asked about.

    Raises:
        UserError: the flags do not go together, or the film to cut cannot be read.
    """
    from ..core.errors import DefectiveClip

    try:
        return _utterances(options, streams)
    except DefectiveClip as defect:
        raise UserError(str(defect)) from None


def _utterances(options: argparse.Namespace, streams: StreamChoice) -> Request:
    from ..inference.requests import (
        EMBEDDED,
        of_clips,
        of_manifest,
        of_subtitles,
        of_subtitles_or_transcript,
        of_transcript,
        of_windows,
    )

    if options.manifest is not None:
        return of_manifest(options.manifest, options.visual, options.acoustic)
    if options.transcribe is not None and options.subtitles in (TRANSCRIBED, EMBEDDED):
        from ..inference.speech import transcribe_options

        words = transcribe_options(options.transcribe, streams, options.device, options.voice)
        if options.subtitles == EMBEDDED and streams.subtitle_stream is None:
            return of_subtitles_or_transcript(options.clips[0], words, streams)
        if options.subtitles == TRANSCRIBED:
            return of_transcript(options.clips[0], words, streams)
    if options.subtitles is not None:
        return of_subtitles(options.clips[0], options.subtitles, streams)
    if options.every is not None:
        return of_windows(options.clips[0], options.every, streams)
    return of_clips(options.clips, options.text)
