"""Decode a film's pictures in the order in which they are shown, each with the time at which it is shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...core.errors import DefectiveClip
from .container import opened, time_origin, video_stream
from .streams import ANY_STREAMS, StreamChoice

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

_WITHOUT_SHOWN_TIMES: Final = frozenset({"avi"})
"""Formats that store no times of presentation; FFmpeg guesses them, wrongly where there are B-pictures."""
_NO_TIMESTAMPS: Final = 0x80
"""FFmpeg's flag of formats without any times, such as a bare H.264 stream."""
_SETTLING_SECONDS: Final = {"mpeg": 1.0, "mpegts": 1.0}
"""Span in which times may be wrong after seeking: FFmpeg gives the time in a packet's header to the end of a picture
that began before it. Headers have a time every 0.7 seconds at least (ISO 13818-1, 2.7.4)."""
_MOST_FAULTS: Final = 10_000
"""Packets in one film; a file that is nothing but faults ends here."""
_USUAL_RATE: Final = 25.0
"""Pictures per second where the film does not say."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture and when it is shown."""

    begin: float
    """Seconds from the film's beginning."""
    end: float
    """End of its own duration; a variable frame rate may show it for longer."""
    frame: av.VideoFrame


class FilmFrames:
    """An open film's pictures, one after the other; sought by time.

    Where the container stores times of presentation, these are taken. AVI stores only the order of decoding, at a
    steady rate: the pictures, in the order in which the decoder gives them, take its times in rising order. Streams
    without any container are counted at the rate that they state.

    Args:
        path: the film.
        streams: those that the user asked for.

    Raises:
        DefectiveClip: no media file, or one without pictures.
        UserError: PyAV is missing.
    """

    def __init__(self, path: Path, streams: StreamChoice = ANY_STREAMS) -> None:
        self._path, self._streams = path, streams
        self.faults = 0
        """Packets that could not be decoded so far."""
        self._frames: Iterator[Shown] = iter(())
        self._open()

    def _open(self) -> None:
        self._opened = opened(self._path)
        self._container = self._opened.__enter__()
        try:
            stream = video_stream(self._container, self._streams)
            if stream is None or stream.time_base is None:
                raise DefectiveClip(f"{self._path}: no video stream")
        except DefectiveClip:
            self.close()
            raise
        stream.thread_type = "AUTO"
        self._begin(self._container, stream)

    def _begin(self, container: InputContainer, stream: av.VideoStream) -> None:
        """Begin with the pictures of a container that is open."""
        assert stream.time_base is not None
        self._container, self.stream, self._time_base = container, stream, float(stream.time_base)
        self._origin = time_origin(self._container)
        self._untimed = bool(self._container.format.flags & _NO_TIMESTAMPS)
        self._counts = self._untimed or self._container.format.name in _WITHOUT_SHOWN_TIMES
        self.unsettled_seconds = _SETTLING_SECONDS.get(self._container.format.name, 0.0)
        """Times are right from so long after the picture that a seek ends at."""
        self._usual = 1.0 / float(stream.average_rate or _USUAL_RATE)
        self._frames = self._decode()

    def close(self) -> None:
        """Close the film."""
        # The iterator refers to this object: a circle, whose pictures (40 MiB and more) the collector leaves for long.
        self._frames = iter(())
        self._opened.__exit__(None, None, None)

    def next(self) -> Shown | None:
        """Return the picture that is shown next; None after the last one."""
        return next(self._frames, None)

    def restart(self) -> None:
        """Continue with the first picture.

        The file is opened again: seeking to the first key picture of a transport stream ends after it.
        """
        self.close()
        self._open()

    def seek(self, time: float) -> None:
        """Continue with a key picture before ``time``; some containers find only one after it.

        Raises:
            DefectiveClip: the film cannot be sought.
        """
        if self._untimed:
            self.restart()
            return
        self._seek_to(int((time + self._origin) / self._time_base))
        if not self._counts:
            self._frames = self._decode(sought=True)
            return
        # Pictures that follow a key picture in the file and are shown before it cannot be decoded after seeking to it,
        # and how many there are is not stored. Times are known from the next key picture on: begin one earlier.
        packet = next(self._container.demux(self.stream), None)
        if packet is None or packet.dts is None or packet.dts <= (self.stream.start_time or 0):
            self.restart()
            return
        self._seek_to(packet.dts - 1)
        self._frames = self._decode(sought=True)

    def _seek_to(self, offset: int) -> None:
        import av

        try:
            self._container.seek(offset, stream=self.stream, backward=True)
        except av.FFmpegError as error:
            raise DefectiveClip(f"{self._path}: cannot be sought ({error.strerror})") from None

    def _decode(self, sought: bool = False) -> Iterator[Shown]:
        times = _CountedTimes(settled=not sought) if self._counts else None
        latest = -float("inf")
        lasts = self._usual
        for frame in self._decoded(times):
            if times is None:
                if sought and not frame.key_frame:
                    continue
                sought = False
                begin = latest + lasts if frame.time is None else frame.time - self._origin
            else:
                tick = times.take(frame.pts)
                if tick is None:
                    continue
                begin = tick * self._usual if self._untimed else tick * self._time_base - self._origin
            if frame.is_corrupt or not latest < begin:
                continue
            latest = begin
            stated = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0
            lasts = self._usual if self._untimed else stated or self._usual
            yield Shown(begin, begin + lasts, frame)

    def _decoded(self, times: _CountedTimes | None) -> Iterator[av.VideoFrame]:
        """Yield frames in the decoder's order; packets that cannot be decoded are counted as faults."""
        import av

        packets = self._container.demux(self.stream)
        number = 0
        while True:
            try:
                packet = next(packets)
                if times is not None and packet.size:
                    tick = number if self._untimed or packet.dts is None else packet.dts
                    number = tick + 1
                    packet.pts = tick  # comes back with the frame, as the time of its decoding
                    times.add(tick, packet.is_keyframe)
                frames = packet.decode()
            except (StopIteration, av.EOFError):
                return
            except av.FFmpegError:
                self.faults += 1
                if self.faults > _MOST_FAULTS:
                    return
                if times is not None:
                    times.lose()
                continue
            yield from (frame for frame in frames if isinstance(frame, av.VideoFrame))


class _CountedTimes:
    """Times of pictures in a file that stores only the order of decoding.

    Args:
        settled: whether decoding begins with the file's first picture; else times are known from the second key
            picture on.
    """

    def __init__(self, settled: bool) -> None:
        self._waiting: deque[int] = deque()
        """Times of decoding that no picture has taken yet, rising."""
        self._keys: deque[int] = deque()
        self._passed = 2 if settled else 0

    def add(self, tick: int, is_key: bool) -> None:
        """Note that the picture of this time goes to the decoder."""
        self._waiting.append(tick)
        if is_key:
            self._keys.append(tick)

    def lose(self) -> None:
        """Note that the last packet cannot be decoded."""
        if self._waiting:
            self._waiting.pop()

    def take(self, decoded: int | None) -> int | None:
        """Return the time at which the next picture is shown, given that of its decoding; None where it is not known.

        Once a picture is shown that follows a key picture in the file, all that precede this key picture have been
        shown: times that are left of them belong to pictures that could not be decoded.
        """
        while self._keys and decoded is not None and self._keys[0] <= decoded:
            key = self._keys.popleft()
            self._passed += 1
            while self._waiting and self._waiting[0] < key:
                self._waiting.popleft()
        tick = self._waiting.popleft() if self._waiting else decoded
        return tick if self._passed >= 2 else None
