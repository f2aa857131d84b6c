"""Read stretches of a media file's audio stream at its own sampling rate, through PyAV."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ...core.errors import DefectiveClip
from .container import audio_stream, opened, time_origin
from .streams import ANY_STREAMS, StreamChoice

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

RATES: Final = (1_000, 768_000)
"""Lowest and highest sampling rate that is believed."""

_PRE_ROLL: Final = 1.0
"""Seconds decoded before a stretch and thrown away: codecs need some packets until their output is right."""
_KEPT_SECONDS: Final = 2.5
_FURTHER_AHEAD_IS_SOUGHT: Final = 10.0
_SEEK_EARLIER: Final = (0.0, 2.0, 10.0, 60.0)
"""Seconds: some containers are sought inexactly and end up after the wanted time."""
_JITTER: Final = 0.05
"""Largest difference in seconds between a frame's time and the samples before it; a larger one is a gap."""
_NEW_DECODERS: Final = frozenset(
    {
        "aac", "ac3", "eac3", "dca", "mp1", "mp2", "mp3", "mp1float", "mp2float", "mp3float", "opus", "libopus",
        "vorbis", "amrnb", "amrwb",
    }
)  # fmt: skip
"""Decoders that need only the stream's extra data: each stretch gets a new one."""
_STATELESS: Final = frozenset({"flac", "alac"})
"""Decoders that carry nothing from packet to packet, as those of PCM do not."""
_PLANES: Final = 8
"""Pointers to planes that an FFmpeg frame has room for without further memory."""

_WEIGHTS: Final = {"FC": 1.0, "FL": 0.5**0.5, "FR": 0.5**0.5, "LFE": 0.0, "LFE2": 0.0}
_OTHER_WEIGHT: Final = 0.5
_CANCELLED: Final = 1e-3
"""Energy of the mean of two channels over that of the louder one: 30 dB below it nearly all is lost."""


def mix_down(samples: np.ndarray, places: tuple[str, ...]) -> np.ndarray:
    """Mix channels to one.

    One channel stays as it is and two are averaged, but where they cancel each other (a microphone of the wrong
    polarity) the first is taken. More are weighted as ITU-R BS.775 does it, divided by the sum of
    the weights: front centre 1, front left and right 0.71, low-frequency effects 0, all others 0.5; dialogue is in the
    centre. Where the file does not say which channel is which (a microphone array in a plain WAV), they are averaged.

    Args:
        samples: float32 ``(N, channels)``.
        places: FFmpeg's name of each channel's place, such as ``FC``; empty where unknown.

    Returns:
        float32 ``(N,)``.
    """
    channels = samples.shape[1]
    if channels == 1:
        return samples[:, 0]
    if channels == 2:
        mean = samples.mean(axis=1, dtype=np.float32)
        loudest = max(float(np.vdot(channel, channel)) for channel in samples.T)
        return samples[:, 0].copy() if float(np.vdot(mean, mean)) < _CANCELLED * loudest else mean
    weights = [_WEIGHTS.get(place, _OTHER_WEIGHT) for place in places]
    if len(places) != channels or "NONE" in places or not any(weights):
        return samples.mean(axis=1, dtype=np.float32)
    mixed = np.zeros(len(samples), np.float32)
    for channel, weight in enumerate(weights):
        if weight:
            mixed += np.float32(weight / sum(weights)) * samples[:, channel]
    return mixed


@dataclass(frozen=True, slots=True)
class _Timed:
    begin: float
    packet: av.Packet


@dataclass(slots=True)
class _Run:
    """Frames that follow each other without a gap."""

    begins: list[float] = field(default_factory=list)
    """Begin of the run by each frame's time minus the samples before it; containers round times."""
    frames: list[np.ndarray] = field(default_factory=list)
    """float32 (N,) at the stream's own rate."""
    length: int = 0

    def add(self, begin: float, samples: np.ndarray, rate: int) -> None:
        self.begins.append(begin - self.length / rate)
        self.frames.append(samples)
        self.length += len(samples)


class Soundtrack:
    """The audio stream of an open media file; reading stretches in order of time decodes it once.

    Args:
        path: the media file.
        streams: those that the user asked for.

    Raises:
        DefectiveClip: not a media file, or one without sound, or without the stream asked for.
        UserError: PyAV is missing.
    """

    def __init__(self, path: Path, streams: StreamChoice = ANY_STREAMS) -> None:
        self._path, self._streams = path, streams
        self._packets: Iterator[_Timed] = iter(())
        self._open()
        rate = self._stream.rate
        if not RATES[0] <= rate <= RATES[1]:
            self.close()
            raise DefectiveClip(f"{path}: a sampling rate of {rate} Hz")
        self.rate: int = rate
        self.seconds: float | None = None

    def _open(self) -> None:
        self._opened = opened(self._path)
        self._container: InputContainer = self._opened.__enter__()
        try:
            stream = audio_stream(self._container, self._streams)
            if stream is None or stream.time_base is None:
                raise DefectiveClip(f"{self._path}: no audio stream")
        except DefectiveClip:
            self.close()
            raise
        self._stream, self._time_base = stream, stream.time_base
        self._origin = time_origin(self._container)
        self._packets = self._demux()
        self._recent: deque[_Timed] = deque()
        self._from_the_first = True
        self._decoded = False

    def _reopen(self) -> None:
        self.close()
        self._open()

    def close(self) -> None:
        """Close the file."""
        self._packets = iter(())  # which refers to this object
        self._opened.__exit__(None, None, None)

    def samples(self, first: int, last: int) -> np.ndarray:
        """Return samples ``first`` to ``last`` of the file's time, mixed to one channel.

        Gaps are silent. The array is shorter where the sound ends earlier.
        """
        waveform = np.zeros(last - first, np.float32)
        filled = 0
        start, end = first / self.rate, last / self.rate
        for run in self._runs(start - _PRE_ROLL if start > _PRE_ROLL else -float("inf"), end):
            place = round(float(np.median(run.begins)) * self.rate) - first
            samples = np.concatenate(run.frames)[max(0, -place) :]
            place = max(0, place)
            piece = samples[: max(0, len(waveform) - place)]
            waveform[place : place + len(piece)] = piece
            filled = max(filled, place + len(piece)) if len(piece) else filled
        return waveform[:filled]

    def _runs(self, start: float, end: float) -> list[_Run]:
        """Decode everything that is heard from ``start`` to ``end``, and a little more."""
        runs: list[_Run] = []
        expected = 0.0
        decoder = self._decoder()
        for timed in self._from(start):
            for begin, samples in self._decode(decoder, timed):
                if not runs or abs(begin - expected) > _JITTER:
                    runs.append(_Run())
                runs[-1].add(begin, samples, self.rate)
                expected = begin + len(samples) / self.rate
            if timed.begin > end + _JITTER:
                break
        return runs

    def _decoder(self) -> av.AudioCodecContext:
        """Return a decoder in its initial state, so that samples do not depend on what was read before."""
        import av

        name = self._stream.codec_context.name
        if name in _NEW_DECODERS:
            decoder = av.CodecContext.create(name, "r")
            assert isinstance(decoder, av.AudioCodecContext)
            decoder.extradata = self._stream.codec_context.extradata
            return decoder
        if self._decoded:
            if name in _STATELESS or name.startswith("pcm_"):
                self._stream.codec_context.flush_buffers()
            else:
                self._reopen()  # flushing WMA's decoder, for one, leaves the state of its noise generator
        self._decoded = True
        return self._stream.codec_context

    def _decode(self, decoder: av.AudioCodecContext, timed: _Timed) -> Iterator[tuple[float, np.ndarray]]:
        """Yield times and samples of a packet's frames; a packet that cannot be decoded leaves a gap."""
        import av

        try:
            frames = decoder.decode(timed.packet)
        except av.FFmpegError:
            return
        for frame in frames:
            if isinstance(frame, av.AudioFrame) and frame.sample_rate == self.rate:
                begin = timed.begin if frame.pts is None else float(frame.pts * self._time_base) - self._origin
                yield begin, mono(frame)

    def _from(self, time: float) -> Iterator[_Timed]:
        """Yield packets that begin at ``time`` or later: recent ones, then new ones, which become recent."""
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
        # Seeking to the first packet misses it in some transport streams; opening the file again does not.
        self._reopen()

    def _seek(self, time: float) -> None:
        import av

        try:
            offset = int((time + self._origin) / self._time_base)
            self._container.seek(offset, stream=self._stream, backward=True)
        except av.FFmpegError as error:
            raise DefectiveClip(f"{self._path}: cannot be sought ({error.strerror})") from None
        self._packets = self._demux()
        self._from_the_first = False
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


def mono(frame: av.AudioFrame) -> np.ndarray:
    """Return a frame's samples (N,), its channels mixed by :func:`mix_down`."""
    import av

    places = tuple(channel.name for channel in frame.layout.channels)
    if frame.format.is_planar and len(places) >= _PLANES:
        # PyAV 18.1 counts one plane too many from 8 planes on, and to_ndarray() reads it.
        packed = av.AudioResampler(frame.format.packed.name, frame.layout, frame.sample_rate)
        samples = np.concatenate([each.to_ndarray() for each in (*packed.resample(frame), *packed.resample(None))], 1)
    else:
        samples = frame.to_ndarray()
    if samples.shape[0] == len(places):
        samples = samples.T
    return mix_down(np.ascontiguousarray(_as_floats(samples.reshape(-1, len(places)))), places)


def _as_floats(samples: np.ndarray) -> np.ndarray:
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128.0) / 128.0
    if np.issubdtype(samples.dtype, np.integer):
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float32)
