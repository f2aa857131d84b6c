"""Flags that the sub-commands of ``memobert-extract`` share, and the options they stand for."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..core.console import CommandParser
from ..core.flags import add_flags, options_from
from ..core.names import PICTURE_RATE, FaceChoice

if TYPE_CHECKING:
    from ..core.registry import Registry
    from ..core.slurm import SlurmResources
    from ..features.encoders.base import SpeechOptions
    from ..features.extraction.clip import FrontEndOptions
    from ..features.extraction.transcription import TranscribeOptions
    from ..features.media.streams import StreamChoice


class LateParser(CommandParser):
    """A sub-command's parser that adds its flags when it is used: plug-ins of other sub-commands stay unimported."""

    def __init__(self, *, add_flags: Callable[[argparse.ArgumentParser], None], **settings: Any) -> None:
        super().__init__(**settings)
        self._add_flags: Callable[[argparse.ArgumentParser], None] | None = add_flags

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Add the flags once, then parse."""
        self.complete()
        return super().parse_known_args(args, namespace)

    def complete(self) -> None:
        """Add the flags, unless they are there."""
        if self._add_flags is not None:
            self._add_flags(self)
            self._add_flags = None


def count(text: str) -> int:
    """Parse a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _between(smallest: float, largest: float, kind: str) -> Callable[[str], float]:
    """Return a parser of numbers in a range; 0 is in it only if it is the smallest and ``kind`` is a share."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not smallest <= value <= largest:
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind}")
        return value

    return parse


seconds = _between(1e-9, 3600.0, "a number of seconds up to 3600")
minutes = _between(1e-9, 1440.0, "a number of minutes up to 1440")
rate = _between(1e-9, 100.0, "a rate up to 100 per second")
share = _between(0.0, 1.0, "a share from 0 to 1")


def add_sound_flags(parser: argparse._ActionsContainer, *, optional: bool = False) -> None:
    """Add the flags that say how sound becomes acoustic frames; ``optional`` offers to leave them out."""
    from ..features.encoders.base import DEFAULT_ENCODER, ENCODERS, MAX_SECONDS, STEP_SECONDS

    _add_plugin_flags(parser, "--encoder", "speech encoder", ENCODERS, DEFAULT_ENCODER, ("none",) if optional else ())
    add = parser.add_argument
    add(
        "--pool",
        type=count,
        metavar="N",
        help=f"consecutive frames that are averaged (default: as many as make {1000 * STEP_SECONDS:.0f} ms)",
    )
    add(
        "--max-seconds",
        type=seconds,
        default=MAX_SECONDS,
        metavar="S",
        help="the sound of longer clips is cut here (default: %(default)s)",
    )


def speech_options(options: argparse.Namespace) -> SpeechOptions:
    """Return the values of :func:`add_sound_flags`.

    Raises:
        UserError: a flag that the encoder does not take, or one that it needs is not there.
    """
    from ..features.encoders.base import ENCODERS, SpeechOptions

    own = _plugin_options(options, "--encoder", options.encoder, ENCODERS)
    return SpeechOptions(options.encoder, own, options.pool, options.max_seconds, options.device)


def add_face_flags(parser: argparse._ActionsContainer) -> None:
    """Add the flags that say how pictures become visual frames."""
    from ..features.denseface.encoder import FACE_ENCODERS
    from ..features.speakers.face_sources import FACE_SOURCES
    from ..features.speakers.voice_detectors import VOICE_DETECTORS

    add = parser.add_argument
    _add_plugin_flags(parser, "--faces", "face detector", FACE_SOURCES, "litert")
    _add_plugin_flags(parser, "--voice", "voice detector", VOICE_DETECTORS, "silero")
    _add_plugin_flags(parser, "--face-encoder", "encoder of faces", FACE_ENCODERS, "denseface")
    add(
        "--choice",
        choices=get_args(FaceChoice),
        default="speaker",
        help="the face whose mouth moves with the voice, or the one seen most often (default: %(default)s)",
    )
    add(
        "--picture-rate",
        type=rate,
        default=PICTURE_RATE,
        metavar="N",
        help="pictures per second that are looked at (default: %(default)s)",
    )


def _add_plugin_flags(
    parser: argparse._ActionsContainer,
    flag: str,
    kind: str,
    registry: Registry[Any],
    default: str,
    more_choices: Sequence[str] = (),
) -> None:
    """Add a flag that chooses a plug-in, and the flags of all plug-ins' ``Options``."""
    plugins = dict(registry.items())
    helps = "; ".join(f"{name}: {plugin.summary}" for name, plugin in plugins.items()).replace("%", "%%")
    parser.add_argument(
        flag, choices=(*registry.names(), *more_choices), default=default, help=f"{kind}: {helps} (default: {default})"
    )
    add_flags(parser, [(f"{flag} {name}", plugin.Options) for name, plugin in plugins.items()])


def _plugin_options(options: argparse.Namespace, flag: str, name: str, registry: Registry[Any]) -> Any:
    """Return the options of the chosen plug-in; flags of the others are refused."""
    others = [plugin.Options for _, plugin in registry.items()]
    return options_from(options, registry.get(name).Options, f"{flag} {name}", others)


def add_stream_flags(parser: argparse._ActionsContainer) -> None:
    """Add the flags that choose among a film's streams."""
    from ..features.media.streams import StreamChoice

    add_flags(parser, [("", StreamChoice)])


def stream_choice(options: argparse.Namespace) -> StreamChoice:
    """Return the values of :func:`add_stream_flags`.

    Raises:
        UserError: --language names no language.
    """
    from ..features.media.streams import StreamChoice, wanted_language

    choice = options_from(options, StreamChoice, "")
    if choice.language is not None:
        wanted_language(choice.language)
    return choice


def add_transcribe_flag(parser: argparse._ActionsContainer, what: str) -> None:
    """Add ``--transcribe``; ``what`` has no words otherwise."""
    parser.add_argument(
        "--transcribe",
        type=Path,
        metavar="FOLDER",
        help=f"for {what}: recognise the words with the Whisper in this folder (CTranslate2's format, any size; extra "
        "'transcribe')",
    )


def transcribe_options(options: argparse.Namespace, front_end: FrontEndOptions) -> TranscribeOptions | None:
    """Return the values of :func:`add_transcribe_flag`, checked; None where it is not given.

    Raises:
        UserError: no Whisper in the folder, a missing package, or a language that the model does not know.
    """
    if options.transcribe is None:
        return None
    from ..features.extraction.transcription import TranscribeOptions

    # Where jobs do the rest of the work, the lines are still made by the machine that submits them.
    device = "cpu" if options.executor == "slurm" else options.device
    found = TranscribeOptions(
        options.transcribe, options.language, front_end.voice, front_end.voice_options, device, options.threads
    )
    found.check()
    return found


def add_work_flags(parser: argparse._ActionsContainer, what_fails: str, threads: bool = True) -> None:
    """Add the flags that say where the work is done, and by how many processes."""
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu", help="where networks run (default: %(default)s)")
    add("--workers", type=count, default=1, metavar="N", help="worker processes (default: %(default)s)")
    if threads:
        add(
            "--threads",
            type=count,
            default=1,
            metavar="N",
            help="threads of each process; another number may change a frame's last digits (default: %(default)s)",
        )
    add(
        "--max-failed-share",
        type=share,
        default=0.01,
        metavar="SHARE",
        help=f"exit with status 1 if more than this share of {what_fails} fail (default: %(default)s)",
    )
    add("--overwrite", action="store_true", help="extract again, also where the output was made with other options")
    add("--dry-run", action="store_true", help="check the input and count the work; write nothing")


def add_slurm_flags(parser: argparse._ActionsContainer) -> None:
    """Add the flags that hand the work to SLURM."""
    add = parser.add_argument
    add(
        "--executor",
        choices=("local", "slurm"),
        default="local",
        help="here in --workers processes, or in SLURM jobs of one process each (default: %(default)s)",
    )
    add(
        "--slurm-jobs",
        type=count,
        default=32,
        metavar="N",
        help="most jobs that run at a time (default: %(default)s)",
    )
    add(
        "--slurm-minutes",
        type=count,
        default=240,
        metavar="M",
        help="time limit of a job (default: %(default)s)",
    )
    add("--slurm-cpus", type=count, default=1, metavar="N", help="cores of a job (default: %(default)s)")
    add("--slurm-partition", metavar="NAME", help="partition (default: the cluster's)")


def slurm_resources(options: argparse.Namespace) -> SlurmResources:
    """Return the values of :func:`add_slurm_flags`."""
    from ..core.slurm import SlurmResources

    return SlurmResources(
        options.slurm_jobs,
        options.slurm_minutes,
        options.slurm_cpus,
        options.slurm_partition,
        gpus=1 if options.device == "cuda" else 0,
    )


def front_end_options(options: argparse.Namespace, *, sound: bool, thumbnails: int = 0) -> FrontEndOptions:
    """Return the front end that the flags describe; with ``sound`` also for acoustic frames."""
    from ..features.denseface.encoder import FACE_ENCODERS
    from ..features.extraction.clip import FrontEndOptions
    from ..features.speakers.face_sources import FACE_SOURCES
    from ..features.speakers.voice_detectors import VOICE_DETECTORS

    speech = None if not sound or options.encoder == "none" else speech_options(options)
    return FrontEndOptions(
        faces=options.faces,
        face_options=_plugin_options(options, "--faces", options.faces, FACE_SOURCES),
        face_encoder=options.face_encoder,
        face_encoder_options=_plugin_options(options, "--face-encoder", options.face_encoder, FACE_ENCODERS),
        voice=options.voice,
        voice_options=_plugin_options(options, "--voice", options.voice, VOICE_DETECTORS),
        choice=options.choice,
        picture_rate=options.picture_rate,
        speech=speech,
        device=options.device,
        threads=options.threads,
        thumbnails=thumbnails,
        streams=stream_choice(options),
    )


def exit_status(failed_share: float, failed: str, allowed: float) -> int:
    """Return 0, or 1 with a message on stderr where more than the allowed share failed."""
    if failed_share <= allowed:
        return 0
    print(f"memobert-extract: {failed} failed, more than --max-failed-share {allowed:g}", file=sys.stderr)
    return 1
