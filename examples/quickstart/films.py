"""A film of one speaker: pictures and sound in an .mp4, subtitles beside it, where the faces are in a tracker's CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import pysubs2
from av.video.reformatter import VideoReformatter
from drawn_faces import SIZE, Drawing
from voices import SAMPLE_RATE

PICTURES_PER_SECOND = 10
SAMPLES_PER_PICTURE = SAMPLE_RATE // PICTURES_PER_SECOND
COLUMNS = (
    "time", "track", "left", "top", "right", "bottom", "confidence",
    "left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y",
    "mouth_left_x", "mouth_left_y", "mouth_right_x", "mouth_right_y",
    "upper_lip_x", "upper_lip_y", "lower_lip_x", "lower_lip_y",
)  # fmt: skip


class Film:
    """Writes ``NAME.mp4``, ``NAME.srt`` and ``NAME.csv``; the same calls give the same bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._subtitles = pysubs2.SSAFile()
        self._faces: list[tuple[float | int | str, ...]] = []
        self._pictures = 0
        self._container = av.open(str(path), "w")
        # One thread, since the encoder's output depends on their number; lossless sound.
        self._video = self._container.add_stream(
            "libx264", rate=PICTURES_PER_SECOND, options={"crf": "23", "preset": "ultrafast", "threads": "1"}
        )
        self._video.width = self._video.height = SIZE
        self._video.pix_fmt = "yuv420p"
        self._reformatter = VideoReformatter()  # prepared once, where a frame's own reformat() prepares one each time
        self._audio = self._container.add_stream("alac", rate=SAMPLE_RATE, layout="mono")

    def __enter__(self) -> Film:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._container.mux([*self._video.encode(), *self._audio.encode()])
        self._container.close()
        if kind is None:
            self._subtitles.save(str(self._path.with_suffix(".srt")))
            with open(self._path.with_suffix(".csv"), "w", encoding="utf-8", newline="") as stream:
                csv.writer(stream).writerows([COLUMNS, *self._faces])

    @property
    def seconds(self) -> float:
        """What has been written so far."""
        return self._pictures / PICTURES_PER_SECOND

    def show(self, drawings: Sequence[Drawing], sound: np.ndarray) -> None:
        """Append pictures of the speaker and the sound that goes with them.

        Args:
            drawings: T of them.
            sound: ``T * SAMPLES_PER_PICTURE`` samples in -1..1.
        """
        samples = np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16)
        for drawing, heard in zip(drawings, samples.reshape(len(drawings), -1), strict=True):
            grey = np.clip(np.round(drawing.picture), 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="gray")
            picture = self._reformatter.reformat(frame, format="yuv420p")
            picture.pts, picture.time_base = self._pictures, Fraction(1, PICTURES_PER_SECOND)
            self._container.mux(self._video.encode(picture))
            audio = av.AudioFrame.from_ndarray(heard[None], format="s16p", layout="mono")
            audio.sample_rate, audio.pts = SAMPLE_RATE, self._pictures * SAMPLES_PER_PICTURE
            self._container.mux(self._audio.encode(audio))
            places = np.concatenate([drawing.box, [1.0], drawing.eyes.ravel(), drawing.mouth.ravel()]).round(2).tolist()
            self._faces.append((round(self.seconds, 3), 0, *places))
            self._pictures += 1

    def subtitle(self, start: float, end: float, text: str) -> None:
        """Add a line; times in seconds."""
        self._subtitles.append(pysubs2.SSAEvent(start=round(1000 * start), end=round(1000 * end), text=text))
