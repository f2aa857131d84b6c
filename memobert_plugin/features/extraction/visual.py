"""Visual frames of a manifest's utterances: the face of the person who speaks, or the face seen most often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, cast

from ...core.errors import DefectiveClip
from ...core.stopwatch import Stopwatch
from ...data.frames import ExtractorInfo, write_frames
from ...data.manifest import ManifestRow
from .clip import FrontEndOptions, build_front_end
from .job import Clip, FrameJob, Outcome

if TYPE_CHECKING:
    from .clip import Region


class VisualJob(FrameJob):
    """Visual frames and expression distributions from the column ``video``.

    Args:
        options: the front end that every process builds.
        elsewhere: other machines will do the work, so this one need not have the device of ``options``.
    """

    name = "faces"
    medium = "a film"
    column = "video"

    def __init__(self, options: FrontEndOptions, elsewhere: bool = False) -> None:
        self._options, self.streams = options, options.streams
        self._info = build_front_end(replace(options, device="cpu") if elsewhere else options).visual_info()

    def info(self) -> ExtractorInfo:
        """Describe the frames, for ``extractor.json``."""
        return self._info

    def media(self, row: ManifestRow) -> str:
        """Return a row's film."""
        return row.video

    def extract_group(self) -> Callable[[list[Clip]], list[Outcome]]:
        """Return the function that writes the frames of clips."""
        return partial(_extract_clips, options=self._options)


def _extract_clips(clips: list[Clip], options: FrontEndOptions) -> list[Outcome]:
    return [_extract_clip(clip, options) for clip in clips]


def _extract_clip(clip: Clip, options: FrontEndOptions) -> Outcome:
    front_end = build_front_end(options)
    front_end.stopwatch = Stopwatch()
    began = perf_counter()
    dropped, failure, seconds, remark = "", "", 0.0, ""
    try:
        found = front_end.clip(clip.path, clip.start, clip.end, cast("Region | None", clip.region or None))
    except DefectiveClip as defect:
        failure = str(defect)
    else:
        seconds, remark = found.seconds, f"{clip.path}: {found.streams}" if found.streams else ""
        if found.visual is not None:
            with front_end.stopwatch.stage("writing"):
                write_frames(clip.target, found.visual, found.expression)
        else:
            dropped, failure = ("", found.dropped) if found.defective else (found.dropped, "")
    work = perf_counter() - began
    return Outcome(clip.utterance_id, seconds, dropped, failure, work, dict(front_end.stopwatch.seconds), remark)
