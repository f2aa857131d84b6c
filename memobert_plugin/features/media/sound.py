"""Read clips of any sound or film file as 16 kHz mono; every command reads sound through this file."""

from __future__ import annotations

import math
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from ...core.errors import DefectiveClip, UserError, pip_install
from ...core.names import SAMPLE_RATE
from .container import FILM_SUFFIXES, media_facts
from .soundtrack import RATES, Soundtrack, mix_down
from .streams import ANY_STREAMS, StreamChoice

if TYPE_CHECKING:
    import soundfile
SOUND_SUFFIXES: Final = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".caf", ".w64", ".mp2", ".m4a",
    ".m4b", ".aac", ".ac3", ".eac3", ".wma", ".amr", ".mka", ".weba", ".wv",
)  # fmt: skip
"""Suffixes by which a folder's sound files are found; a file that is named may have any other."""

LONGEST_SECONDS: Final = 60.0
"""Default length at which clips are cut."""

_MARGIN: Final = 0.1
"""Seconds read beyond a clip, so that the resampling filter does not see its edges."""
_UNKNOWN_FRAMES: Final = 1 << 62
"""A streamed FLAC states no length; libsndfile then counts 2^63 - 1 frames and can neither read nor seek it."""
_PLACES: Final[dict[str, dict[int, str]]] = {
    "FLAC": {
        3: "FL FR FC",
        4: "FL FR BL BR",
        5: "FL FR FC BL BR",
        6: "FL FR FC LFE BL BR",
        7: "FL FR FC LFE BC SL SR",
        8: "FL FR FC LFE BL BR SL SR",
    },
    "OGG": {
        3: "FL FC FR",
        4: "FL FR BL BR",
        5: "FL FC FR BL BR",
        6: "FL FC FR BL BR LFE",
        7: "FL FC FR SL SR BC LFE",
        8: "FL FC FR SL SR BL BR LFE",
    },
}
"""Places of channels by format and number of channels: RFC 9639, 9.1.3; Vorbis I, 4.3.9, which Opus follows."""
_MASK_PLACES: Final = ("FL", "FR", "FC", "LFE")
"""Places of the lowest bits of a WAVE_FORMAT_EXTENSIBLE header's channel mask."""


class _Source(Protocol):
    """Sound at its own sampling rate."""

    rate: int

    @property
    def seconds(self) -> float | None:
        """Duration, where the file says it and it is needed for messages."""

    def samples(self, first: int, last: int) -> np.ndarray:
        """Return samples ``first`` to ``last`` as float32 ``(N,)``; fewer where the sound ends."""

    def close(self) -> None: ...


class SoundReader:
    """A sound or film file that is open for clips of it; clips in order of time are decoded once.

    libsndfile (soundfile) reads what it can: WAV, FLAC, Ogg, MP3, AIFF and others. FFmpeg (PyAV, the extra ``video``)
    reads films and all the rest, also FLAC and WAV files that state no length because they were streamed. Which one
    reads a file does not depend on the command, nor on whether PyAV is installed.

    Channels are mixed to one by :func:`.soundtrack.mix_down`. Other sampling rates go through soxr's ``HQ`` filter:
    flat to 7.2 kHz, everything from 8 kHz on at least 120 dB down. Sample ``n`` is the sound at ``n / 16000`` seconds
    of the file, wherever a clip begins.

    Args:
        path: the file.
        streams: those that the user asked for.

    Raises:
        DefectiveClip: missing or unreadable, or without sound or the stream asked for.
        UserError: a film, and PyAV is missing.
    """

    def __init__(self, path: Path, streams: StreamChoice = ANY_STREAMS) -> None:
        self._path = path
        self._source = _open(path, streams)

    def __enter__(self) -> SoundReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def between(self, start: float, end: float) -> np.ndarray:
        """Return the sound from ``start`` to ``end`` (seconds), float32 ``(N,)`` at 16 kHz; fewer where it ends.

        Raises:
            DefectiveClip: there is none, or some samples are NaN or infinite.
        """
        rate = self._source.rate
        first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
        margin = 0 if rate == SAMPLE_RATE else round(_MARGIN * SAMPLE_RATE)
        # Reading begins where a sample of the file and one of the 16 kHz grid coincide.
        step = SAMPLE_RATE // math.gcd(rate, SAMPLE_RATE)
        begin = max(0, first - margin) // step * step
        own_begin, own_end = begin * rate // SAMPLE_RATE, -(-(last + margin) * rate // SAMPLE_RATE)
        waveform = self._source.samples(own_begin, own_end) if last > first else np.zeros(0, np.float32)
        if not np.isfinite(waveform).all():
            raise DefectiveClip(f"{self._path}: NaN or infinite samples")
        if len(waveform) and rate != SAMPLE_RATE:
            waveform = resample(waveform, rate)
        clip = waveform[first - begin : last - begin]
        if not len(clip):
            seconds = self._source.seconds
            if seconds is not None and start >= seconds:
                raise DefectiveClip(f"{self._path}: the clip starts at {start:g} s, the file ends at {seconds:g} s")
            raise DefectiveClip(f"{self._path}: no samples between {start:.2f} s and {end:.2f} s")
        return np.ascontiguousarray(clip, dtype=np.float32)


def read_clip(
    path: Path,
    *,
    max_seconds: float = LONGEST_SECONDS,
    start: float | None = None,
    end: float | None = None,
    streams: StreamChoice = ANY_STREAMS,
) -> np.ndarray:
    """Read one clip of a sound file or of a film's sound.

    Args:
        path: any file with sound.
        max_seconds: longer clips are cut here.
        start: where the clip begins, in seconds (None: at the file's beginning).
        end: where it ends (None, or beyond the sound's end: at its end).
        streams: those that the user asked for.

    Returns:
        float32 ``(N,)`` at :data:`SAMPLE_RATE`, N > 0, in [-1, 1] but for float files and codecs that exceed it.

    Raises:
        DefectiveClip: see :class:`SoundReader`.
    """
    begin = start or 0.0
    with SoundReader(path, streams) as reader:
        return reader.between(begin, min(begin + max_seconds, float("inf") if end is None else end))


def resampler_version() -> str:
    """Return the name and version of what changes sampling rates, for ``extractor.json``."""
    return f"soxr {metadata.version('soxr')}"


def resample(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Resample float32 ``(N,)`` from ``rate`` to :data:`SAMPLE_RATE`."""
    import soxr

    return soxr.resample(waveform, rate, SAMPLE_RATE, quality="HQ")


def sound_seconds(path: Path) -> float | None:
    """Return the duration of a sound or film file; None where it does not say.

    Raises:
        DefectiveClip: no such file, or one that cannot be opened.
        UserError: a film, and PyAV is missing.
    """
    source = None if path.suffix.lower() in FILM_SUFFIXES else _open(path)
    try:
        return source.seconds if isinstance(source, _SoundFile) else media_facts(path).duration
    finally:
        if source is not None:
            source.close()


def _open(path: Path, streams: StreamChoice = ANY_STREAMS) -> _Source:
    if not path.is_file():
        raise DefectiveClip(f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    if path.suffix.lower() in FILM_SUFFIXES:
        return Soundtrack(path, streams)
    try:
        source = _SoundFile(path)
        if streams.audio_stream:
            source.close()
            raise DefectiveClip(f"{path}: --audio-stream {streams.audio_stream}: no such audio stream; there is: 0")
        return source
    except DefectiveClip as defect:
        try:
            return Soundtrack(path, streams)
        except DefectiveClip:
            if path.suffix.lower() in SOUND_SUFFIXES:
                raise defect from None
            told = f"the suffix {path.suffix}" if path.suffix else "no suffix"
            raise DefectiveClip(f"{path}: no film by its name ({told}), and cannot be read as sound") from None
        except UserError:
            raise DefectiveClip(f"{defect}; PyAV reads more: {pip_install('video')}") from None


class _SoundFile:
    """A file that libsndfile reads.

    Raises:
        DefectiveClip: it cannot, or the file states no length.
    """

    def __init__(self, path: Path) -> None:
        import soundfile

        self._path = path
        try:
            self._file = soundfile.SoundFile(path)
        except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: headerless audio by its suffix
            raise DefectiveClip(f"{path}: cannot be read as sound ({error})") from None
        self.rate: int = self._file.samplerate
        objection = ""
        if not RATES[0] <= self.rate <= RATES[1]:
            objection = f"a sampling rate of {self.rate} Hz"
        elif not self._file.frames:
            objection = "no samples"
        elif self._file.frames >= _UNKNOWN_FRAMES:
            objection = "a streamed file that states no length"
        if objection:
            self.close()
            raise DefectiveClip(f"{path}: {objection}")
        self._places = _channel_places(path, self._file)

    @property
    def seconds(self) -> float:
        return float(self._file.frames / self.rate)

    def close(self) -> None:
        self._file.close()

    def samples(self, first: int, last: int) -> np.ndarray:
        import soundfile

        if first >= self._file.frames:
            return np.zeros(0, np.float32)
        try:
            if first != self._file.tell():
                self._file.seek(first)
            count = min(last, self._file.frames) - first
            samples = self._file.read(count, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError) as error:
            raise DefectiveClip(f"{self._path}: cannot be read as sound ({error})") from None
        if not len(samples):
            raise DefectiveClip(f"{self._path}: no samples, the file is cut short")
        return mix_down(samples, self._places)


def _channel_places(path: Path, file: soundfile.SoundFile) -> tuple[str, ...]:
    """Return the places of a file's channels; empty where it does not say, or has no more than two."""
    if file.channels <= 2:
        return ()
    if file.format in _PLACES:
        return tuple(_PLACES[file.format].get(file.channels, "").split())
    if file.format != "WAVEX":
        return ()
    with open(path, "rb") as stream:
        header = stream.read(1 << 16)
    begin = header.find(b"fmt ") + 28  # of the mask: 8 bytes of the chunk's head, 20 of its content come before
    mask = int.from_bytes(header[begin : begin + 4], "little")
    bits = [bit for bit in range(32) if mask >> bit & 1]
    return tuple(_MASK_PLACES[bit] if bit < len(_MASK_PLACES) else "other" for bit in bits)
