"""Flags that several sub-commands of ``memobert-extract`` share, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.flags import add_flags, options_from
from . import extract_values

if TYPE_CHECKING:
    from ..core.registry import Registry
    from ..core.slurm import SlurmResources
    from ..features.extraction.options import FrontEndOptions


def add_sound_flags(parser: argparse._ActionsContainer, *, optional: bool = False) -> None:
    """How sound becomes acoustic frames; ``optional`` offers to leave them out."""
    add = parser.add_argument
    add(
        "--encoder",
        choices=("logmel", "wav2vec2", *(("none",) if optional else ())),
        default="logmel",
        help="80 log-mel filter banks, or wav2vec 2.0 (default: %(default)s)",
    )
    add(
        "--weights",
        type=Path,
        metavar="PATH",
        help="wav2vec 2.0 as a fairseq .pt file or a Hugging Face folder (config.json beside the weights)",
    )
    add(
        "--normalize",
        choices=("always", "never", "auto"),
        help="wav2vec2: clips to zero mean and unit variance; auto: as the weights were trained (default: always)",
    )
    add(
        "--pool",
        type=extract_values.count,
        default=3,
        metavar="N",
        help="consecutive frames that are averaged (default: %(default)s)",
    )
    add(
        "--max-seconds",
        type=extract_values.seconds,
        default=10.0,
        metavar="S",
        help="the sound of longer clips is cut here (default: %(default)s)",
    )


def add_face_flags(parser: argparse._ActionsContainer) -> None:
    """How pictures become visual frames."""
    from ..features.speakers.face_sources import FACE_SOURCES
    from ..features.speakers.voice_detectors import VOICE_DETECTORS

    add = parser.add_argument
    _add_plugin_flags(parser, "--faces", "face detector", FACE_SOURCES, "mediapipe")
    _add_plugin_flags(parser, "--voice", "voice detector", VOICE_DETECTORS, "silero")
    add(
        "--face-weights",
        type=Path,
        metavar="PATH",
        help="DenseFace trained on other data (default: the weights that come with the package)",
    )
    add(
        "--choice",
        choices=("speaker", "most_frequent"),
        default="speaker",
        help="the face whose mouth moves with the voice, or the one seen most often (default: %(default)s)",
    )
    add(
        "--picture-rate",
        type=extract_values.rate,
        default=10.0,
        metavar="N",
        help="pictures per second that are looked at (default: %(default)s)",
    )


def _add_plugin_flags(
    parser: argparse._ActionsContainer, flag: str, kind: str, registry: Registry[Any], default: str
) -> None:
    """Add a flag that chooses a plug-in, and the flags of all plug-ins' options."""
    plugins = dict(registry.items())
    helps = "; ".join(f"{name}: {plugin.summary}" for name, plugin in plugins.items()).replace("%", "%%")
    parser.add_argument(flag, choices=tuple(plugins), default=default, help=f"{kind}: {helps} (default: {default})")
    add_flags(parser, [(f"{flag} {name}", plugin.Options) for name, plugin in plugins.items()])


def _plugin_options(options: argparse.Namespace, flag: str, name: str, registry: Registry[Any]) -> Any:
    """Return the options of the chosen plug-in; flags of the others are refused."""
    others = [plugin.Options for _, plugin in registry.items()]
    return options_from(options, registry.get(name).Options, f"{flag} {name}", others)


def add_work_flags(parser: argparse._ActionsContainer, what_fails: str) -> None:
    """Where and how much at a time."""
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu", help="where networks run (default: %(default)s)")
    add("--workers", type=extract_values.count, default=1, metavar="N", help="processes (default: %(default)s)")
    add(
        "--threads",
        type=extract_values.count,
        default=1,
        metavar="N",
        help="threads of each process; another number may change a frame's last digits (default: %(default)s)",
    )
    add(
        "--max-failed-share",
        type=extract_values.share,
        default=0.01,
        metavar="SHARE",
        help=f"exit with status 1 if more than this share of {what_fails} failed (default: %(default)s)",
    )
    add("--overwrite", action="store_true", help="extract again, also where the output was made with other options")
    add("--dry-run", action="store_true", help="read and check what there is to do; write nothing")


def add_slurm_flags(parser: argparse._ActionsContainer) -> None:
    """Whether SLURM does the work, and what its jobs get."""
    add = parser.add_argument
    add(
        "--executor",
        choices=("local", "slurm"),
        default="local",
        help="here in --workers processes, or in SLURM jobs of one process each (default: %(default)s)",
    )
    add(
        "--slurm-jobs",
        type=extract_values.count,
        default=32,
        metavar="N",
        help="that run at a time (default: %(default)s)",
    )
    add(
        "--slurm-minutes",
        type=extract_values.count,
        default=240,
        metavar="M",
        help="time limit of a job (default: %(default)s)",
    )
    add("--slurm-cpus", type=extract_values.count, default=1, metavar="N", help="of a job (default: %(default)s)")
    add("--slurm-partition", metavar="NAME", help="default: the cluster's")


def slurm_resources(options: argparse.Namespace) -> SlurmResources:
    """What :func:`add_slurm_flags` was told."""
    from ..core.slurm import SlurmResources

    return SlurmResources(
        options.slurm_jobs,
        options.slurm_minutes,
        options.slurm_cpus,
        options.slurm_partition,
        gpus=1 if options.device == "cuda" else 0,
    )


def front_end_options(options: argparse.Namespace, *, sound: bool, thumbnails: int = 0) -> FrontEndOptions:
    """The front end that the flags describe; with ``sound`` also acoustic frames."""
    from dataclasses import replace

    from ..features.extraction.options import FrontEndOptions
    from ..features.speakers.face_sources import FACE_SOURCES
    from ..features.speakers.voice_detectors import VOICE_DETECTORS

    described = FrontEndOptions(
        faces=options.faces,
        face_options=_plugin_options(options, "--faces", options.faces, FACE_SOURCES),
        face_weights=options.face_weights,
        voice=options.voice,
        voice_options=_plugin_options(options, "--voice", options.voice, VOICE_DETECTORS),
        choice=options.choice,
        picture_rate=options.picture_rate,
        encoder=None,
        device=options.device,
        threads=options.threads,
        thumbnails=thumbnails,
    )
    if not sound or options.encoder == "none":
        return described
    return replace(
        described,
        encoder=options.encoder,
        weights=options.weights,
        normalize=options.normalize,
        pool=options.pool,
        acoustic_seconds=options.max_seconds,
    )
