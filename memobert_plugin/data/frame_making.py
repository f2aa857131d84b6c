"""Tell frames apart that were made in different ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .frames import ExtractorInfo


def says_centered(described: Mapping[str, Any] | None) -> bool:
    """Return whether a description as a checkpoint holds it is of frames less their speaker's mean."""
    return "speaker_mean" in (described or {})


def otherwise_centered(info: ExtractorInfo | None, read: Mapping[str, Any] | None) -> str:
    """Return why a model does not fit a data-bin, and the way on, where one's speech frames alone are centred.

    Args:
        info: of the data-bin's speech frames; None where it has none.
        read: the description of the model's, as a checkpoint holds it.
    """
    if info is None or read is None or info.is_centered == says_centered(read):
        return ""
    if info.is_centered:
        return "it reads speech frames as they are, the data-bin's are centered; binarize without --center-speakers"
    return "it reads speech frames less their speaker's mean, the data-bin's are not; binarize with --center-speakers"


_OF_READING = frozenset({"faces", "choice", "voice", "speaker", "max_seconds", "pool"})
"""Options that say which media are read; the rate tells of the pooling."""


def made_otherwise(found: ExtractorInfo | None, read: ExtractorInfo | None) -> str:
    """Return how some frames differ in their making from those that a model reads; empty where nothing known differs.

    Other faces or lengths of the media that are read count as the same making.

    Args:
        found: of the frames.
        read: of the frames that the model was trained on.
    """
    if found is None or read is None or ExtractorInfo().name in (found.name, read.name):
        return ""
    pairs = [
        (what, getattr(found, what), getattr(read, what)) for what in ("name", "weights_sha256", "frame_rate", "dim")
    ]
    pairs = [(what, own, models) for what, own, models in pairs if None not in (own, models)]
    if found.name == read.name:
        common = sorted((found.options.keys() & read.options.keys()) - _OF_READING)
        pairs += [(what, found.options[what], read.options[what]) for what in common]
    return "; ".join(f"{what} {own}, not {models}" for what, own, models in pairs if own != models)
