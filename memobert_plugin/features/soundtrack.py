"""A film's sound, 16 kHz and mono, stretch by stretch in one pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

import numpy as np

from .audio import FILTER_MARGIN_SECONDS, RATES, SAMPLE_RATE, DefectiveClip, resample
from .media import audio_stream, opened, time_origin

if TYPE_CHECKING:
    import av

LONGEST_SECONDS: Final = 60.0
"""Clips are cut here unless told otherwise."""

_PRE_ROLL: Final = 1.0
"""Decoded and thrown away after a jump: codecs need some frames until their output is right."""
_FURTHER_AHEAD_IS_SOUGHT: Final = 10.0
_SEEK_EARLIER: Final = (_PRE_ROLL, 10.0, 60.0)
_KEPT_SECONDS: Final = 1.0
_JITTER: Final = 0.05
"""Frames' times may differ so much from the number of samples before them; more is a gap or a repetition."""
_WEIGHTS: Final = {"FC": 1.0, "FL": 0.5**0.5, "FR": 0.5**0.5, "LFE": 0.0, "LFE2": 0.0}
_OTHER_WEIGHT: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Heard:
    begin: float
    samples: np.ndarray
    """float32 (N,) at the stream's own rate."""


def sound(
    path: Path, start: float | None = None, end: float | None = None, max_seconds: float = LONGEST_SECONDS
) -> np.ndarray:
    """Read one clip of a film's sound.

    Args:
        path: any media file with sound.
        start: where the clip begins, in seconds (None: at the beginning).
        end: where it ends (None, or beyond the sound's end: at its end).
        max_seconds: longer clips are cut here.

    Returns:
        float32 ``(N,)`` in [-1, 1] at 16 kHz, N > 0.

    Raises:
        DefectiveClip: see :class:`SoundReader`.
    """
    with SoundReader(path) as reader:
        begin = start or 0.0
        return reader.between(begin, min(begin + max_seconds, float("inf") if end is None else end))


class SoundReader:
    """A film's sound, open for stretches of it, best asked for in order of time: then it is decoded once.

    Two channels are averaged; of more, the front centre, where films have their dialogue, counts most (the weights of
    ITU-R BS.775, divided by their sum). Other rates go through the same filter as sound files.

    Args:
        path: the film.

    Raises:
        DefectiveClip: no media file, or one without sound.
        UserError: PyAV is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = opened(path)
        self._container = self._opened.__enter__()
        stream = audio_stream(self._container)
        try:
            if stream is None:
                raise DefectiveClip(f"{path}: no audio stream")
            if not RATES[0] <= stream.rate <= RATES[1]:
                raise DefectiveClip(f"{path}: a sampling rate of {stream.rate} Hz")
        except DefectiveClip:
            self.close()
            raise
        self._stream, self._rate = stream, stream.rate
        self._origin = time_origin(self._container)
        self._decoded = self._decode()
        self._recent: deque[_Heard] = deque()

    def __enter__(self) -> SoundReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the film."""
        self._opened.__exit__(None, None, None)

    def between(self, start: float, end: float) -> np.ndarray:
        """The samples from ``start`` to ``end`` (seconds), float32 ``(N,)`` at 16 kHz; fewer where the sound ends.

        Raises:
            DefectiveClip: there are none, or some are NaN or infinite.
        """
        margin = min(start, FILTER_MARGIN_SECONDS)
        self._go_to(start - margin)
        waveform = self._stretch(start - margin, end + FILTER_MARGIN_SECONDS)
        if len(waveform) <= round(margin * self._rate):
            raise DefectiveClip(f"{self._path}: no sound between {start:.2f} s and {end:.2f} s")
        if not np.isfinite(waveform).all():
            raise DefectiveClip(f"{self._path}: NaN or infinite samples")
        if self._rate != SAMPLE_RATE:
            waveform = resample(waveform, self._rate)
        first, wanted = round(margin * SAMPLE_RATE), max(1, round((end - start) * SAMPLE_RATE))
        return np.ascontiguousarray(np.clip(waveform[first : first + wanted], -1.0, 1.0), dtype=np.float32)

    def _stretch(self, start: float, end: float) -> np.ndarray:
        """Own-rate samples; where they lie is counted from the first frame's time, gaps are silent."""
        wanted = round((end - start) * self._rate)
        waveform = np.zeros(wanted, np.float32)
        filled, expected, at = 0, 0.0, None
        for heard in self._from(start):
            if at is None or abs(heard.begin - expected) > _JITTER:
                at = round((heard.begin - start) * self._rate)
            if at >= wanted:
                break
            skipped = max(0, filled - at)
            piece = heard.samples[skipped : skipped + wanted - max(at, filled)]
            place = at + skipped
            if len(piece):
                waveform[place : place + len(piece)] = piece
                filled = place + len(piece)
            at += len(heard.samples)
            expected = heard.begin + len(heard.samples) / self._rate
        return waveform[:filled]

    def _from(self, start: float) -> Iterator[_Heard]:
        """Frames that end after ``start``: recent ones, then new ones, which become recent."""
        for heard in list(self._recent):
            if heard.begin + len(heard.samples) / self._rate > start:
                yield heard
        for heard in self._decoded:
            self._recent.append(heard)
            while self._recent[0].begin < heard.begin - _KEPT_SECONDS:
                self._recent.popleft()
            if heard.begin + len(heard.samples) / self._rate > start:
                yield heard

    def _go_to(self, time: float) -> None:
        if not self._recent:
            reached, back_to = 0.0, 0.0
        else:
            reached, back_to = self._recent[-1].begin, self._recent[0].begin
        if back_to <= time <= reached + _FURTHER_AHEAD_IS_SOUGHT:
            return
        for earlier in _SEEK_EARLIER:
            if time - earlier <= 0.0:
                break
            self._seek(time - earlier)
            if self._recent and self._recent[0].begin <= time - _PRE_ROLL / 2:
                self._recent.clear()
                return
        self._seek(None)

    def _seek(self, time: float | None) -> None:
        import av

        if time is None:
            offset = self._stream.start_time or 0
        else:
            assert self._stream.time_base is not None
            offset = int((time + self._origin) / self._stream.time_base)
        try:
            self._container.seek(offset, stream=self._stream, backward=True)
        except av.FFmpegError as error:
            raise DefectiveClip(f"{self._path}: cannot be sought ({error.strerror})") from None
        self._decoded = self._decode()
        first = next(self._decoded, None)
        self._recent = deque([] if first is None else [first])

    def _decode(self) -> Iterator[_Heard]:
        """Every frame from here on; one that cannot be decoded is a gap."""
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
                frames = packet.decode()
            except (StopIteration, av.EOFError):
                return
            except av.FFmpegError:
                continue
            for frame in frames:
                if isinstance(frame, av.AudioFrame) and frame.time is not None and frame.sample_rate == self._rate:
                    yield _Heard(frame.time - self._origin, _mono(frame))


def _mono(frame: av.AudioFrame) -> np.ndarray:
    samples = frame.to_ndarray()
    channels = [channel.name for channel in frame.layout.channels]
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(channels)).T
    waveform = _as_floats(samples)
    if len(channels) > 2:
        weights = np.array([_WEIGHTS.get(name, _OTHER_WEIGHT) for name in channels], np.float32)
        if weights.any():
            return (weights / weights.sum()) @ waveform
    return waveform.mean(axis=0, dtype=np.float32)


def _as_floats(samples: np.ndarray) -> np.ndarray:
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128.0) / 128.0
    if np.issubdtype(samples.dtype, np.integer):
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float32)
