"""One utterance's sound: 16 kHz, mono, cut out of a file without reading the rest of it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

import numpy as np

from ...core.errors import DefectiveClip
from ...core.names import SAMPLE_RATE
from .container import FILM_SUFFIXES, audio_stream, opened, time_origin
from .streams import ANY_STREAMS, StreamChoice

if TYPE_CHECKING:
    import av
    import soundfile

RATES: Final = (1_000, 768_000)
"""Sampling rates that are taken for real."""
FILTER_MARGIN_SECONDS: Final = 0.1
"""Read beyond a clip, so that the resampling filter does not see its edge."""


def read_clip(
    path: Path,
    *,
    max_seconds: float,
    start: float | None = None,
    end: float | None = None,
    streams: StreamChoice = ANY_STREAMS,
) -> np.ndarray:
    """Read one clip of a wav, flac or ogg file, or of a film's sound (see :mod:`.soundtrack`).

    Channels are averaged. Other sampling rates go through ``scipy.signal.resample_poly``: a linear-phase polyphase
    filter that gives the same samples on every run, from a library that is already required.

    Args:
        path: the sound file.
        max_seconds: longer clips are cut here.
        start: where the clip begins in the file, in seconds (None: at its beginning).
        end: where the clip ends in the file, in seconds (None, or beyond the file's end: at its end).
        streams: those of a film that the user asked for.

    Returns:
        float32 ``(N,)`` in [-1, 1] at :data:`SAMPLE_RATE`, N > 0.

    Raises:
        DefectiveClip: the file is missing or unreadable, the clip has no samples, or some are NaN or infinite.
        UserError: a film, and PyAV is missing.
    """
    import soundfile

    if not path.is_file():
        raise DefectiveClip(f"{path}: no such file")
    if path.suffix.lower() in FILM_SUFFIXES:
        return sound(path, start, end, max_seconds, streams)
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            if not RATES[0] <= rate <= RATES[1]:
                raise DefectiveClip(f"{path}: a sampling rate of {rate} Hz")
            samples = _read_stretch(file, start or 0.0, end, max_seconds + FILTER_MARGIN_SECONDS)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise DefectiveClip(f"{path}: cannot be read as sound ({error})") from None
    waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(waveform).all():
        raise DefectiveClip(f"{path}: NaN or infinite samples")
    if rate != SAMPLE_RATE:
        waveform = resample(waveform, rate)
    return np.ascontiguousarray(waveform[: max(1, round(max_seconds * SAMPLE_RATE))], dtype=np.float32)


def _read_stretch(file: soundfile.SoundFile, start: float, end: float | None, max_seconds: float) -> np.ndarray:
    """Samples float32 (N, channels) from ``start`` on, at most up to ``end``."""
    first = round(start * file.samplerate)
    last = file.frames if end is None else min(file.frames, round(end * file.samplerate))
    if file.frames and first >= file.frames:
        raise DefectiveClip(
            f"{file.name}: the clip starts at {start:g} s, the file ends at {file.frames / file.samplerate:g} s"
        )
    if last <= first:
        raise DefectiveClip(f"{file.name}: no samples")
    if first:
        file.seek(first)
    samples = file.read(min(last - first, math.ceil(max_seconds * file.samplerate)), dtype="float32", always_2d=True)
    if not len(samples):
        raise DefectiveClip(f"{file.name}: no samples, the file is cut short")
    return samples


def resample(waveform: np.ndarray, rate: int) -> np.ndarray:
    """``(N,)`` samples at ``rate`` per second to :data:`SAMPLE_RATE`."""
    from scipy.signal import resample_poly

    divisor = math.gcd(rate, SAMPLE_RATE)
    return resample_poly(waveform, SAMPLE_RATE // divisor, rate // divisor)


LONGEST_SECONDS: Final = 60.0
"""Clips are cut here unless told otherwise."""

_PRE_ROLL: Final = 1.0
"""Decoded before a clip and thrown away: codecs need some packets until their output is right."""
_KEPT_SECONDS: Final = 2.5
_FURTHER_AHEAD_IS_SOUGHT: Final = 10.0
_SEEK_EARLIER: Final = (0.0, 2.0, 10.0, 60.0)
_JITTER: Final = 0.05
"""Frames' times may differ so much from the number of samples before them; more is a gap or a repetition."""
_STARTED_ANEW: Final = frozenset(
    {"aac", "ac3", "eac3", "dca", "mp1", "mp2", "mp3", "mp1float", "mp2float", "mp3float", "opus", "libopus", "vorbis"}
)
"""Decoders with a memory, some of them with random noise in it: they begin anew for every clip, so that its samples do
not depend on what was decoded before. They need nothing but the stream's extra data."""
_WEIGHTS: Final = {"FC": 1.0, "FL": 0.5**0.5, "FR": 0.5**0.5, "LFE": 0.0, "LFE2": 0.0}
_OTHER_WEIGHT: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Timed:
    begin: float
    packet: av.Packet


@dataclass(slots=True)
class _Run:
    """Frames that follow each other without a gap."""

    begins: list[float] = field(default_factory=list)
    """Where the run begins by each frame's time and the samples before it; containers round times."""
    frames: list[np.ndarray] = field(default_factory=list)
    """float32 (N,) at the stream's own rate."""
    length: int = 0

    def add(self, begin: float, samples: np.ndarray, rate: int) -> None:
        self.begins.append(begin - self.length / rate)
        self.frames.append(samples)
        self.length += len(samples)


def sound(
    path: Path,
    start: float | None = None,
    end: float | None = None,
    max_seconds: float = LONGEST_SECONDS,
    streams: StreamChoice = ANY_STREAMS,
) -> np.ndarray:
    """Read one clip of a film's sound.

    Args:
        path: any media file with sound.
        start: where the clip begins, in seconds (None: at the beginning).
        end: where it ends (None, or beyond the sound's end: at its end).
        max_seconds: longer clips are cut here.
        streams: those that the user asked for.

    Returns:
        float32 ``(N,)`` in [-1, 1] at 16 kHz, N > 0.

    Raises:
        DefectiveClip: see :class:`SoundReader`.
    """
    with SoundReader(path, streams) as reader:
        begin = start or 0.0
        return reader.between(begin, min(begin + max_seconds, float("inf") if end is None else end))


class SoundReader:
    """A film's sound, open for stretches of it, best asked for in order of time: then it is read once.

    Two channels are averaged; of more, the front centre, where films have their dialogue, counts most (the weights of
    ITU-R BS.775, divided by their sum). Other rates go through the same filter as sound files.

    Args:
        path: the film.
        streams: those that the user asked for.

    Raises:
        DefectiveClip: no media file, or one without sound.
        UserError: PyAV is missing.
    """

    def __init__(self, path: Path, streams: StreamChoice = ANY_STREAMS) -> None:
        self._path = path
        self._opened = opened(path)
        self._container = self._opened.__enter__()
        try:
            stream = audio_stream(self._container, streams)
            if stream is None:
                raise DefectiveClip(f"{path}: no audio stream")
            if not RATES[0] <= stream.rate <= RATES[1]:
                raise DefectiveClip(f"{path}: a sampling rate of {stream.rate} Hz")
        except DefectiveClip:
            self.close()
            raise
        self._stream, self._rate = stream, stream.rate
        self._origin = time_origin(self._container)
        assert stream.time_base is not None
        self._time_base = stream.time_base
        self._packets = self._demux()
        self._recent: deque[_Timed] = deque()
        self._from_the_first = True

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
        """Own-rate samples up to where the sound ends; gaps are silent."""
        waveform = np.zeros(round((end - start) * self._rate), np.float32)
        filled = 0
        for run in self._runs(start - _PRE_ROLL if start > _PRE_ROLL else -float("inf"), end):
            first = round((float(np.median(run.begins)) - start) * self._rate)
            samples = np.concatenate(run.frames)[max(0, -first) :]
            place = max(0, first)
            piece = samples[: max(0, len(waveform) - place)]
            waveform[place : place + len(piece)] = piece
            filled = max(filled, place + len(piece)) if len(piece) else filled
        return waveform[:filled]

    def _runs(self, start: float, end: float) -> list[_Run]:
        """Everything that is heard from ``start`` to ``end``, and a little more."""
        runs: list[_Run] = []
        expected = 0.0
        decoder = self._decoder()
        for timed in self._from(start):
            for begin, samples in self._decode(decoder, timed):
                if not runs or abs(begin - expected) > _JITTER:
                    runs.append(_Run())
                runs[-1].add(begin, samples, self._rate)
                expected = begin + len(samples) / self._rate
            if timed.begin > end + _JITTER:
                break
        return runs

    def _decoder(self) -> av.AudioCodecContext:
        import av

        used = self._stream.codec_context
        if used.name not in _STARTED_ANEW:
            used.flush_buffers()
            return used
        fresh = av.CodecContext.create(used.name, "r")
        assert isinstance(fresh, av.AudioCodecContext)
        fresh.extradata = used.extradata
        return fresh

    def _decode(self, decoder: av.AudioCodecContext, timed: _Timed) -> Iterator[tuple[float, np.ndarray]]:
        """Times and samples of a packet's frames; what cannot be decoded is a gap."""
        import av

        try:
            frames = decoder.decode(timed.packet)
        except av.FFmpegError:
            return
        for frame in frames:
            if isinstance(frame, av.AudioFrame) and frame.sample_rate == self._rate:
                begin = timed.begin if frame.pts is None else float(frame.pts * self._time_base) - self._origin
                yield begin, _mono(frame)

    def _from(self, time: float) -> Iterator[_Timed]:
        """Packets that begin at ``time`` or later: recent ones, then new ones, which become recent."""
        self._go_to(time)
        yield from [timed for timed in self._recent if timed.begin >= time]
        for timed in self._packets:
            self._recent.append(timed)
            while self._recent[0].begin < timed.begin - _KEPT_SECONDS:
                self._recent.popleft()
                self._from_the_first = False
            if timed.begin >= time:
                yield timed

    def _go_to(self, time: float) -> None:
        back_to = -float("inf") if self._from_the_first else self._recent[0].begin
        reached = self._recent[-1].begin if self._recent else 0.0
        if back_to <= time <= reached + _FURTHER_AHEAD_IS_SOUGHT:
            return
        for earlier in _SEEK_EARLIER:
            if time - earlier <= 0.0:
                break
            self._seek(time - earlier)
            if self._recent and self._recent[0].begin <= time:
                return
        self._seek(None)

    def _seek(self, time: float | None) -> None:
        import av

        offset = self._stream.start_time or 0 if time is None else int((time + self._origin) / self._time_base)
        try:
            self._container.seek(offset, stream=self._stream, backward=True)
        except av.FFmpegError as error:
            raise DefectiveClip(f"{self._path}: cannot be sought ({error.strerror})") from None
        self._packets = self._demux()
        self._from_the_first = time is None
        self._recent = deque(islice(self._packets, 1))

    def _demux(self) -> Iterator[_Timed]:
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):
                return
            time = packet.dts if packet.pts is None else packet.pts
            if time is not None:
                yield _Timed(float(time * self._time_base) - self._origin, packet)


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
