"""Read a film once, from beginning to end, as it comes: from a file, a pipe or a camera.

The last seconds of pictures and sound are kept, in the form that clips of files have: pictures at a steady rate, sound
at 16 kHz.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...core.errors import DefectiveClip
from ...core.names import PICTURE_RATE, SAMPLE_RATE
from .container import audio_stream, import_av, opened, refuse_playlist, time_origin, video_stream
from .film_frames import FilmFrames
from .pictures import Picture, PictureReader
from .soundtrack import mono
from .streams import ANY_STREAMS, StreamChoice

if TYPE_CHECKING:
    from av.container import InputContainer

STANDARD_INPUT: Final = "-"
_DEVICES: Final = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""FFmpeg's names of what reads cameras."""
_FORMATS: Final = frozenset({*_DEVICES.values(), "alsa", "pulse", "lavfi", "x11grab", "gdigrab"})
"""Formats that may stand before a colon in a source: ``v4l2:/dev/video0``."""
STREAMABLE: Final = "; a pipe must hold what can be read without seeking, such as .mkv, .ts, .webm or .wav"
"""Advice for sources that cannot be read."""
_JITTER: Final = 0.02
"""Seconds by which a frame of sound may lie beside the end of the one before."""
_PATIENCE: Final = 2.0
"""Seconds that a film which is left waits for the thread that reads it."""
_MOST_WAITING: Final = 4096
"""Packets of pictures that wait while sound is looked for; more means that there is no sound for a while."""


def open_live(source: str, stack: ExitStack) -> InputContainer:
    """Open a file, ``-`` for standard input, a camera's device, or ``FORMAT:DEVICE`` such as ``v4l2:/dev/video0``.

    Raises:
        DefectiveClip: it cannot be opened.
        UserError: PyAV is missing.
    """
    import_av()
    import av

    kind, colon, device = source.partition(":")
    try:
        if source == STANDARD_INPUT or Path(source).is_fifo():
            pipe: Any = sys.stdin.buffer
            if source != STANDARD_INPUT:
                pipe = stack.enter_context(open(source, "rb"))  # noqa: SIM115
            # What comes may be a list of other files: no address is opened, and the list is refused.
            opened_pipe = av.open(pipe, metadata_errors="replace", options={"protocol_whitelist": "file"})
            container = stack.enter_context(opened_pipe)
            refuse_playlist(source, container)
            return container
        if colon and kind in _FORMATS:
            return stack.enter_context(av.open(device, format=kind))
        if Path(source).is_char_device():
            return stack.enter_context(av.open(source, format=_DEVICES.get(sys.platform)))
        return stack.enter_context(opened(Path(source)))
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, DefectiveClip):
            raise
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise DefectiveClip(f"{source}: cannot be opened ({reason}){STREAMABLE}") from None


@dataclass(frozen=True, slots=True)
class Held:
    """The last seconds of a film at a moment; reading on does not change them.

    Attributes:
        pictures: its last pictures; None for a film without.
        sound: its last sound; None for a film without.
        came: seconds that came last.
        end: seconds that have been read.
        ended: True if nothing follows.
    """

    pictures: HeldPictures | None
    sound: HeldSound | None
    came: float
    end: float
    ended: bool


class LiveFilm:
    """A film that is read once; :meth:`advance` reads on, ``pictures`` and ``sound`` hold the last seconds.

    Args:
        source: see :func:`open_live`.
        kept: seconds that are held.
        rate: pictures per second.
        streams: those that the user asked for.

    Raises:
        DefectiveClip: it cannot be opened, or has neither pictures nor sound.
    """

    def __init__(
        self, source: str, kept: float, rate: float = PICTURE_RATE, streams: StreamChoice = ANY_STREAMS
    ) -> None:
        self._stack = ExitStack()
        self._thread: threading.Thread | None = None
        self._wanted, self._left = threading.Semaphore(0), False
        try:
            container = open_live(source, self._stack)
            video, audio = video_stream(container, streams), audio_stream(container, streams)
        except BaseException:
            self._stack.close()
            raise
        if video is None and audio is None:
            self._stack.close()
            raise DefectiveClip(f"{source}: neither pictures nor sound")
        self._packets = _Packets(container, video, audio)
        self.sound = HeldSound(source) if audio is not None else None
        self.pictures = HeldPictures(source, rate, _reader(self._packets, rate)) if video is not None else None
        self._origin, self._kept = time_origin(container), kept
        self.most_pictures = round(kept * rate) + 2
        """Pictures that are held at most."""
        self._packets.hear = self._hear
        self.end = 0.0
        """Seconds that have been read."""
        self.ended = False
        """True if nothing follows."""

    def __enter__(self) -> LiveFilm:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._thread is not None:
            self._left = True
            self._wanted.release()
            self._thread.join(_PATIENCE)
            if self._thread.is_alive():
                # It waits for a pipe or a camera. What it reads from stays open until the process ends.
                if self.sound is not None:
                    self.sound.finish()
                return
        self._stack.close()

    def advance(self, seconds: float) -> float:
        """Read the next seconds, forget what is older than is kept, and return the seconds that came."""
        begin, wanted = self.end, self.end + seconds
        reached = []
        if self.pictures is not None:
            reached.append(self.pictures.read_until(begin, wanted))
        if self.sound is not None:
            while self.sound.end < wanted:
                if not self._packets.pump():
                    if self._packets.ended:
                        self.sound.finish()
                    break
            reached.append(min(self.sound.end, wanted))
        self.end = max(begin, *reached)
        self.ended = self.end < wanted - 0.5 / SAMPLE_RATE
        oldest = self.end - self._kept
        for held in (self.pictures, self.sound):
            if held is not None:
                held.forget(oldest)
        return self.end - begin

    def seconds(self, step: float) -> Iterator[Held]:
        """Yield what is held after each ``step`` seconds; a thread reads the next ones meanwhile."""
        read: queue.SimpleQueue[Held | BaseException] = queue.SimpleQueue()

        def read_on() -> None:
            try:
                while not self.ended:
                    self._wanted.acquire()
                    if self._left:
                        return
                    came = self.advance(step)
                    read.put(Held(copy(self.pictures), copy(self.sound), came, self.end, self.ended))
            except BaseException as error:
                read.put(error)

        # Daemonic: a pipe or a camera that gives nothing more must not keep the process from ending.
        self._thread = threading.Thread(target=read_on, name="live film", daemon=True)
        self._thread.start()
        ended = False
        self._wanted.release()
        while not ended:
            held = _taken(read)
            self._wanted.release()
            if isinstance(held, BaseException):
                raise held
            ended = held.ended
            yield held

    def _hear(self, packet: Any) -> None:
        import av

        assert self.sound is not None
        try:
            frames = packet.decode()
        except av.FFmpegError:
            return
        for frame in frames:
            time = None if frame.time is None else frame.time - self._origin
            self.sound.add(time, mono(frame), frame.sample_rate)


def _taken(read: queue.SimpleQueue[Held | BaseException]) -> Held | BaseException:
    """Wait for the next item; on Windows only short waits can be interrupted."""
    while True:
        with suppress(queue.Empty):
            return read.get(timeout=0.2 if sys.platform == "win32" else None)


class _Packets:
    """The packets of one container: pictures in a queue, sound to :attr:`hear` as it comes."""

    def __init__(self, container: InputContainer, video: Any, audio: Any) -> None:
        self.container, self.video, self._audio = container, video, audio
        self._source = container.demux([stream for stream in (video, audio) if stream is not None])
        self._waiting: deque[Any] = deque()
        self.hear: Any = None
        self.ended = False
        # What FilmFrames asks of a container.
        self.format, self.start_time, self.streams = container.format, container.start_time, container.streams

    def pump(self) -> bool:
        """Read one packet; False at the end, or where too many pictures wait for sound."""
        import av

        if len(self._waiting) > _MOST_WAITING:
            return False
        try:
            packet = next(self._source)
        except (StopIteration, av.FFmpegError):
            self.ended = True
            return False
        if packet.stream is self.video or (self.video is not None and packet.stream.index == self.video.index):
            self._waiting.append(packet)
        else:
            self.hear(packet)
        return True

    def demux(self, stream: Any) -> Iterator[Any]:
        """Yield the packets of pictures."""
        while self._waiting or self.pump():
            if self._waiting:
                yield self._waiting.popleft()


class _Frames(FilmFrames):
    """The frames of a film whose packets come from elsewhere; it cannot be sought."""

    def __init__(self, packets: _Packets) -> None:
        self._packets = packets
        super().__init__(Path("live"))

    def _open(self) -> None:
        self._begin(self._packets, self._packets.video)  # type: ignore[arg-type]

    def close(self) -> None:
        """Leave the container to its owner."""


class _Pictures(PictureReader):
    """The pictures of a film that cannot be sought."""

    def _go_to(self, time: float) -> None:
        """Stay where the film is, however long a picture is shown."""


def _reader(packets: _Packets, rate: float) -> PictureReader:
    return _Pictures(Path("live"), rate, frames=_Frames(packets))


class HeldPictures:
    """The last pictures of a film, which has :meth:`between` as a :class:`.pictures.PictureReader` has."""

    def __init__(self, source: str, rate: float, reader: PictureReader) -> None:
        self._source, self._rate, self._reader = source, rate, reader
        self._held: deque[Picture] = deque()
        self.look: Callable[[Picture], object] = lambda picture: None
        """Called with each picture as it comes."""

    def __copy__(self) -> HeldPictures:
        """Return the pictures that are held now."""
        held = HeldPictures(self._source, self._rate, self._reader)
        held._held = self._held.copy()
        return held

    def read_until(self, begin: float, end: float) -> float:
        """Read the pictures of the next stretch and return the time up to which there are some."""
        reached = begin
        for picture in self._reader.between(begin, end):
            self._held.append(picture)
            self.look(picture)
            reached = picture.time + 1.0 / self._rate
        return end if reached > max(begin, end - 1.0 / self._rate) else reached

    def forget(self, oldest: float) -> None:
        """Drop the pictures before a time."""
        while self._held and self._held[0].time < oldest - 1e-6:
            self._held.popleft()

    def between(self, start: float, end: float | None) -> Iterator[Picture]:
        """Yield the held pictures from ``start`` to ``end``."""
        for picture in self._held:
            if picture.time >= start - 1e-6 and (end is None or picture.time < end - 1e-6):
                yield picture


class HeldSound:
    """The last sound of a film at 16 kHz, which has :meth:`between` as a :class:`.sound.SoundReader` has."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._samples = np.zeros(0, np.float32)
        self._first = 0
        """Number of the first held sample."""
        self._stream: Any = None
        self._rate = 0
        self._given = 0
        """Samples of the source so far, at its own rate; gaps count."""

    @property
    def end(self) -> float:
        """Return the seconds up to which there is sound."""
        return (self._first + len(self._samples)) / SAMPLE_RATE

    def add(self, time: float | None, samples: np.ndarray, rate: int) -> None:
        """Add the samples of a frame; a gap before it is silent, what overlaps is left out."""
        if self._stream is None or rate != self._rate:
            import soxr

            self._given = round(self.end * rate)
            self._rate = rate
            self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        begin = self._given if time is None else round(time * rate)
        if begin > self._given + _JITTER * rate:
            self._resample(np.zeros(begin - self._given, np.float32))
        elif begin < self._given - _JITTER * rate:
            samples = samples[self._given - begin :]
        self._resample(samples)

    def _resample(self, samples: np.ndarray) -> None:
        self._given += len(samples)
        if not len(samples):
            return
        made = samples if self._rate == SAMPLE_RATE else self._stream.resample_chunk(samples)
        self._samples = np.concatenate([self._samples, made.astype(np.float32, copy=False)])

    def finish(self) -> None:
        """Take what the resampler still holds, after the last frame."""
        if self._stream is not None and self._rate != SAMPLE_RATE:
            made = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
            self._samples = np.concatenate([self._samples, made])
            self._stream, self._rate = None, 0

    def forget(self, oldest: float) -> None:
        """Drop the samples before a time."""
        gone = min(len(self._samples), max(0, round(oldest * SAMPLE_RATE) - self._first))
        self._samples, self._first = self._samples[gone:], self._first + gone

    def between(self, start: float, end: float) -> np.ndarray:
        """Return the held sound from ``start`` to ``end``.

        Raises:
            DefectiveClip: there is none.
        """
        first, last = (round(time * SAMPLE_RATE) - self._first for time in (start, end))
        found = self._samples[max(0, first) : max(0, last)]
        if not len(found):
            raise DefectiveClip(f"{self._source}: no samples between {start:.2f} s and {end:.2f} s")
        return np.ascontiguousarray(found)
