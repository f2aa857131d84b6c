"""Limits on the frames that are read of an utterance: in frames or in seconds, and the share that lies beyond."""

from __future__ import annotations

from typing import Final

import numpy as np

from ..core.errors import UserError
from .corpus import Corpus
from .frames import ExtractorInfo

DEFAULT_FRAMES: Final = {"visual": 36, "acoustic": 64}
"""Frames read by default, as in the paper: 3.6 s of faces at 10 per second, 3.84 s of speech at one per 60 ms."""


def limit_in_frames(stream: str, frames: int, seconds: float | None, info: ExtractorInfo | None) -> int:
    """Return the number of frames that are read: ``frames``, or those of ``seconds`` where these are given.

    Args:
        stream: ``visual`` or ``acoustic``, for messages.
        frames: the limit in frames.
        seconds: the limit in seconds, which takes precedence; None for none.
        info: the extractor of the frames; None where there are no frames of this kind.

    Raises:
        UserError: seconds that are no positive number, or frames whose rate is unknown.
    """
    if seconds is None or info is None:
        return frames
    flag = f"--max-{stream}-seconds"
    if not 0.0 < seconds < float("inf"):
        raise UserError(f"{flag} {seconds:g}: give a number of seconds above 0")
    if info.frame_rate is None:
        raise UserError(
            f"{flag}: the data-bin does not say how many {stream} frames a second has; give --max-{stream}-frames, or "
            "binarize again with frame_rate in extractor.json"
        )
    return max(1, round(seconds * info.frame_rate))


def share_beyond(lengths: np.ndarray, limit: int) -> float:
    """Return the share of all frames of utterances with these ``lengths`` that lies beyond the first ``limit``."""
    total = int(lengths.sum(dtype=np.int64))
    return float(np.maximum(lengths - limit, 0).sum(dtype=np.int64)) / total if total else 0.0


def describe_beyond(stream: str, share: float, limit: int, info: ExtractorInfo | None) -> str:
    """Say which share of the frames, or ``text`` pieces, lies beyond the first ``limit``."""
    unit = "pieces" if stream == "text" else "frames"
    seconds = f" ({limit / info.frame_rate:.4g} s)" if info is not None and info.frame_rate else ""
    return f"{100 * share:.1f} % of the {stream} {unit} lie beyond the first {limit}{seconds}"


def notes_on_limits(corpus: Corpus) -> list[str]:
    """Return one line for each stream of which training reads only a part by default."""
    notes = []
    for stream, lengths in (("visual", corpus.visual_lengths), ("acoustic", corpus.acoustic_lengths)):
        limit = DEFAULT_FRAMES[stream]
        if share := share_beyond(lengths, limit):
            told = describe_beyond(stream, share, limit, corpus.meta.extractors[stream])
            notes.append(f"{told}, which training reads by default; --max-{stream}-seconds reads more")
    return notes
