"""Draw the answers along a film into its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.console import progress
from ..core.errors import DefectiveClip, UserError, pip_install
from ..core.files import replaced_when_complete
from ..features.media.container import FILM_SUFFIXES, audio_stream, media_facts, opened, time_origin
from ..features.media.pictures import PictureReader
from ..features.media.streams import ANY_STREAMS, StreamChoice
from ..pages.drawings import emotion_colors, rgb_of
from .outputs import Line, streams_read
from .prediction import bars

if TYPE_CHECKING:
    import av
    from PIL.ImageFont import FreeTypeFont, ImageFont

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffixes of films that can be written, and FFmpeg's names of them."""
_MOST_RATE = 60.0
_USUAL_RATE = 25.0
_USUAL_SOUND_RATE = 48_000
_PANEL_SHARE = 0.6
"""Opacity of the panel behind the words."""
_ROWS_PER_PICTURE = 22
"""Rows of text that fill a picture's height."""


def check_overlay(film: Path, target: Path) -> None:
    """Refuse what cannot be written, before any work.

    Raises:
        UserError: no film, a suffix of no known container, or Pillow or PyAV is missing.
    """
    if film.suffix.lower() not in FILM_SUFFIXES:
        raise UserError(f"--overlay: {film} has no pictures; give a film")
    if target.suffix.lower() not in CONTAINERS:
        raise UserError(f"--overlay {target}: name a file that ends in {', '.join(CONTAINERS)}")
    try:
        import av
        import PIL.ImageFont  # noqa: F401
    except ImportError as missing:
        raise UserError(f"--overlay: {missing.name} is not installed; {pip_install('video')}") from None
    assert av


def write_overlay(
    film: Path, lines: Sequence[Line], target: Path, labels: Sequence[str], streams: StreamChoice = ANY_STREAMS
) -> None:
    """Write the film with a panel on each picture: the answer of the moment, every emotion's probability (of
    other targets each number or label), and the streams that were read.

    Pictures are those that players show, at the film's average rate. The sound is that of the film.

    Args:
        film: the film.
        lines: answers with their times.
        target: named by the user.
        labels: the emotions, in the order in which they are shown.
        streams: the film's streams that the user asked for.

    Raises:
        UserError: the file cannot be written.
        DefectiveClip: the film cannot be read.
    """
    import av

    facts = media_facts(film, streams)
    rate = Fraction(min(facts.picture_rate or _USUAL_RATE, _MOST_RATE)).limit_denominator(1001)
    answers = sorted((line for line in lines if "error" not in line), key=lambda line: float(line["start"] or 0.0))
    try:
        with (
            replaced_when_complete(target, named_by_user=True) as temporary,
            av.open(str(temporary), "w", format=CONTAINERS[target.suffix.lower()]) as output,
            opened(film) as sound,
            progress(facts.duration, "overlay", "s") as advance,
        ):
            _encode(output, sound, film, answers, labels, rate, streams, advance)
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"--overlay {target}: cannot be written ({error.strerror}); name another file") from None


def _encode(
    output: Any,
    sound: Any,
    film: Path,
    answers: Sequence[Line],
    labels: Sequence[str],
    rate: Fraction,
    streams: StreamChoice,
    advance: Any,
) -> None:
    """Write pictures and sound in the order of their times."""
    painter = _Painter(labels)
    with PictureReader(film, float(rate), streams) as reader:
        shown = reader.between(0.0, None)
        first = next(shown, None)
        if first is None:
            raise DefectiveClip(f"{film}: no picture can be decoded")
        height, width = (side // 2 * 2 for side in first.rgb.shape[:2])
        video = _video_stream(output, rate, width, height)
        heard = _Sound(output, sound, streams)
        for number, picture in enumerate(chain([first], shown)):
            heard.write_until(picture.time)
            drawn = painter.painted(picture.rgb[:height, :width], _answer_at(answers, picture.time))
            output.mux(video.encode(_frame(drawn, number, rate, video)))
            advance(float(1 / rate))
    output.mux(video.encode(None))
    heard.write_until(None)


class _Sound:
    """The film's sound, on its way into the output."""

    def __init__(self, output: Any, container: Any, streams: StreamChoice) -> None:
        source = audio_stream(container, streams)
        self._output, self._stream = output, None
        if source is not None:
            self._stream = output.add_stream("aac", rate=source.rate or _USUAL_SOUND_RATE, layout="stereo")
            self._frames = _sound_frames(container, source)
            self._next = next(self._frames, None)

    def write_until(self, time: float | None) -> None:
        """Write the sound up to a time; None: all that is left."""
        if self._stream is None:
            return
        while self._next is not None and (time is None or float(self._next.pts * self._next.time_base) <= time):
            self._output.mux(self._stream.encode(self._next))
            self._next = next(self._frames, None)
        if time is None:
            self._output.mux(self._stream.encode(None))


def _video_stream(output: Any, rate: Fraction, width: int, height: int) -> Any:
    import av

    try:
        av.codec.Codec("libx264", "w")
        stream = output.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "20"})
    except av.codec.codec.UnknownCodecError:  # FFmpeg built without it
        stream = output.add_stream("mpeg4", rate=rate)
        stream.bit_rate = 4_000_000
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    return stream


def _frame(rgb: np.ndarray, number: int, rate: Fraction, stream: Any) -> av.VideoFrame:
    import av

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(format=stream.pix_fmt)
    frame.pts, frame.time_base = number, 1 / rate
    return frame


def _sound_frames(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the film's sound as the encoder wants it, timed from the film's beginning; faults are left out."""
    import av

    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=stream.rate or _USUAL_SOUND_RATE)
    origin, last = time_origin(container), -1
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        for frame in frames:
            if frame.pts is None:
                continue
            for made in resampler.resample(frame):
                ticks = round(origin * (stream.rate or _USUAL_SOUND_RATE))  # the resampler counts in samples
                made.pts = max((made.pts or 0) - ticks, last + 1)
                last = made.pts
                yield made


def _answer_at(answers: Sequence[Line], time: float) -> Line | None:
    """Return the answer of a moment, the last that began before it and has not ended."""
    for line in reversed(answers):
        if float(line["start"] or 0.0) <= time:
            return line if line["end"] is None or time < float(line["end"]) else None
    return None


class _Painter:
    """Draws panels; that of one answer is drawn once.

    Args:
        labels: the emotions in order.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = list(labels)
        self._colors = {label: rgb_of(color) for label, color in emotion_colors(labels).items()}
        self._drawn: tuple[Line | None, tuple[int, ...], np.ndarray] | None = None

    def painted(self, rgb: np.ndarray, line: Line | None) -> np.ndarray:
        """Return the picture with the answer's panel in its upper left corner."""
        if self._drawn is None or self._drawn[0] is not line or self._drawn[1] != rgb.shape:
            self._drawn = (line, rgb.shape, self._panel(rgb.shape[0], rgb.shape[1], line))
        panel = self._drawn[2]
        height, width = panel.shape[:2]
        made = rgb.copy()
        share = panel[..., 3:].astype(np.float32) / 255.0
        under = made[:height, :width].astype(np.float32)
        made[:height, :width] = (under + (panel[..., :3] - under) * share).round().astype(np.uint8)
        return made

    def _panel(self, height: int, width: int, line: Line | None) -> np.ndarray:
        """Draw a panel, uint8 (h, w, 4)."""
        from PIL import Image, ImageDraw

        size = max(9, height // _ROWS_PER_PICTURE * 3 // 4)
        row = round(size * 1.35)
        font = _font(size)
        names = max(font.getlength(label) for label in self._labels)
        bar = 6 * size
        wide = min(width, round(size + names + bar + 4 * size))
        tall = min(height, row * (len(self._labels) + 2) + size // 2)
        panel = Image.new("RGBA", (wide, tall), (0, 0, 0, round(255 * _PANEL_SHARE)))
        draw = ImageDraw.Draw(panel)
        left, top = size // 2, size // 4
        title = "no answer here"
        if line is not None:  # of numbers, which have no label, the bars tell all
            title = " ".join(filter(None, [line["label"], "(unsure)" if line["unsure"] else ""]))
        draw.text((left, top), title, (255, 255, 255), font)
        filled = {} if line is None else bars(line)
        for place, label in enumerate(self._labels, start=1):
            y, (share, value) = top + row * place, filled.get(label, (0.0, ""))
            draw.text((left, y), label, (225, 225, 225), font)
            begin = left + round(names) + size // 2
            draw.rectangle((begin, y + size // 4, begin + round(bar * share), y + size), self._colors[label])
            if line is not None:
                draw.text((begin + round(bar * share) + size // 3, y), value, (225, 225, 225), font)
        if line is not None:
            seen = f"from {', '.join(streams_read(line))}"
            draw.text((left, top + row * (len(self._labels) + 1)), seen, (225, 225, 225), font)
        return np.asarray(panel)


def _font(size: int) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)
