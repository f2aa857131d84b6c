"""Films whose pictures say their number, in many containers, and the check that each is shown at its time."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

from memobert_plugin.features.media.pictures import PictureReader
from tests.films import tone

FPS = 25
_SIDE, _BLOCK = 64, 8


@dataclass(frozen=True)
class Kind:
    """A container and its codecs, by FFmpeg's names."""

    suffix: str
    codec: str
    sound: str = ""
    options: dict[str, str] = field(default_factory=dict)
    remark: str = ""
    pixels: str = "yuv420p"
    side: int = _SIDE

    def __str__(self) -> str:
        return f"{self.suffix} {self.codec}{f', {self.remark}' if self.remark else ''}"


_X264 = {"bf": "2", "crf": "20"}
_MPEG = {"bf": "2", "qmin": "3", "qmax": "3"}
_OPEN = {"x264-params": "bframes=3:open-gop=1:b-pyramid=2", "crf": "20"}
_X265 = {"x265-params": "bframes=3:open-gop=1:log-level=0", "crf": "20"}
KINDS = (
    Kind(".mp4", "libx264", "aac", _X264, "B-pictures"),
    Kind(".mp4", "libx265", "aac", _X265, "open GOPs"),
    Kind(".mp4", "mpeg4", "aac", _MPEG, "B-pictures"),
    Kind(".mp4", "libsvtav1", "aac", {"crf": "20", "preset": "12"}),
    Kind(".mov", "libx264", "aac", _OPEN, "open GOPs"),
    Kind(".mov", "prores_ks", "pcm_s16le", pixels="yuv422p10le"),
    Kind(".3gp", "mpeg4", "aac", {"qmin": "3", "qmax": "3"}),
    Kind(".mkv", "libx264", "libopus", _X264, "B-pictures"),
    Kind(".mkv", "mpeg4", "ac3", _MPEG, "B-pictures"),
    Kind(".mkv", "ffv1", "flac"),
    Kind(".webm", "libvpx-vp9", "libopus", {"crf": "20", "b": "0", "deadline": "realtime", "cpu-used": "8"}),
    Kind(".webm", "libvpx", "libopus", {"b": "2M", "deadline": "realtime"}),
    Kind(".avi", "libx264", "mp2", _X264, "B-pictures"),
    Kind(".avi", "libx264", "mp2", _OPEN, "open GOPs"),
    Kind(".avi", "mpeg4", "mp2", _MPEG, "B-pictures"),
    Kind(".avi", "mpeg4", "pcm_s16le", {"qmin": "3", "qmax": "3"}),
    Kind(".avi", "msmpeg4", "pcm_s16le", {"qmin": "3", "qmax": "3"}),
    Kind(".avi", "mjpeg", "pcm_s16le", {"qmin": "2", "qmax": "2"}, pixels="yuvj420p"),
    Kind(".ts", "libx264", "mp2", _X264, "B-pictures"),
    Kind(".ts", "mpeg2video", "mp2", _MPEG, "B-pictures"),
    Kind(".m2ts", "libx265", "ac3", _X265, "open GOPs"),
    Kind(".mpg", "mpeg1video", "mp2", _MPEG, "B-pictures"),
    Kind(".mpg", "mpeg2video", "mp2", _MPEG, "B-pictures"),
    Kind(".vob", "mpeg2video", "ac3", _MPEG, "B-pictures"),
    Kind(".wmv", "wmv2", "wmav2", {"qmin": "3", "qmax": "3"}),
    Kind(".flv", "libx264", "aac", _X264, "B-pictures"),
    Kind(".flv", "flv", "aac", {"qmin": "3", "qmax": "3"}),
    Kind(".mxf", "mpeg2video", "pcm_s16le", _MPEG, "B-pictures"),
    Kind(".264", "libx264", "", _X264, "no container"),
)


def numbered_picture(number: int) -> np.ndarray:
    """Draw random blocks, different for each number: uint8 (64, 64, 3)."""
    grey = np.random.default_rng((7, number)).integers(0, 256, (_SIDE // _BLOCK,) * 2, dtype=np.uint8)
    return np.repeat(np.repeat(np.repeat(grey, _BLOCK, 0), _BLOCK, 1)[..., None], 3, 2)


def number_of(rgb: np.ndarray, count: int) -> int:
    """Return which of ``count`` numbered pictures a decoded one is."""
    grey = rgb.mean(axis=-1)[_BLOCK // 2 :: _BLOCK, _BLOCK // 2 :: _BLOCK]
    return int(np.abs(_blocks(count) - grey).mean(axis=(1, 2)).argmin())


@cache
def _blocks(count: int) -> np.ndarray:
    middle = _BLOCK // 2
    return np.stack([numbered_picture(number)[middle::_BLOCK, middle::_BLOCK, 0] for number in range(count)])


@contextmanager
def usual_scheduling() -> Iterator[None]:
    """Undo what SVT-AV1 does for root: the thread that encodes becomes a real-time one, and starves the machine."""
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def write_numbered_film(
    path: Path,
    kind: Kind,
    count: int = 100,
    *,
    key_every: int = 25,
    begin: float = 0.0,
    times: Sequence[int] = (),
    samples: np.ndarray | None = None,
) -> Path:
    """Write a film of ``count`` numbered pictures and a tone.

    Args:
        path: the file; the container follows its suffix.
        kind: the codecs.
        count: how many pictures.
        key_every: pictures from one key picture to the next.
        begin: seconds at which pictures and sound begin.
        times: of the pictures, in units of 1 / FPS (default: 0, 1, …).
        samples: other sound than a tone, float32 (N,) at 48 kHz.
    """
    import av

    rate = 48_000
    with usual_scheduling(), av.open(str(path), "w") as container:
        video = container.add_stream(kind.codec, rate=FPS, options=kind.options)
        assert isinstance(video, av.VideoStream)
        video.width = video.height = _SIDE
        video.pix_fmt = kind.pixels
        video.codec_context.gop_size = key_every
        packets: list[av.Packet] = []
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number), "rgb24").reformat(format=kind.pixels)
            frame.pts, frame.time_base = (times or range(count))[number] + round(begin * FPS), Fraction(1, FPS)
            packets += video.encode(frame)
        packets += video.encode()
        if kind.sound:
            sound = container.add_stream(kind.sound, rate=rate, layout="mono")
            assert isinstance(sound, av.AudioStream)
            samples = tone(count / FPS, 300.0, rate=rate) if samples is None else samples
            whole = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
            whole.sample_rate, whole.pts, whole.time_base = rate, round(begin * rate), Fraction(1, rate)
            sound.codec_context.bit_rate = 96_000
            sound.codec_context.open(strict=False)
            size = sound.codec_context.frame_size or 1024
            resampler = av.AudioResampler(sound.codec_context.format.name, "mono", rate, size)
            for piece in (*resampler.resample(whole), *resampler.resample(None)):
                packets += sound.encode(piece)
            packets += sound.encode()
        packets.sort(key=lambda packet: float((packet.pts if packet.dts is None else packet.dts) * packet.time_base))  # type: ignore[operator]
        for packet in packets:
            container.mux(packet)
    return path


def wrong_pictures(path: Path, expected: Sequence[int], count: int, seeks: int = 25) -> tuple[int, int, int, int]:
    """Count pictures that are not those expected, forwards and after random seeks.

    Args:
        path: the film.
        expected: number of the picture that is shown at k / FPS.
        count: of numbered pictures.
        seeks: how many stretches of six pictures are read in random order from one open film.

    Returns:
        Wrong and all forwards; wrong and all after seeks. A picture that is missing is wrong.
    """
    with PictureReader(path, FPS) as reader:
        forwards = [number_of(picture.rgb, count) for picture in reader.between(0.0, None)]
    wrong = sum(found != wanted for found, wanted in zip(forwards, expected, strict=False))
    wrong += abs(len(forwards) - len(expected))
    with PictureReader(path, FPS) as reader:
        pairs = list(_sought(reader, expected, count, seeks))
    return wrong, len(expected), sum(found != wanted for found, wanted in pairs), len(pairs)


def _sought(reader: PictureReader, expected: Sequence[int], count: int, seeks: int) -> Iterator[tuple[int, int]]:
    for first in np.random.default_rng(0).integers(0, len(expected) - 6, seeks).tolist():
        shown = reader.between(first / FPS, (first + 6) / FPS)
        found = [number_of(picture.rgb, count) for picture in shown]
        yield from zip([*found, *[-1] * (6 - len(found))], expected[first : first + 6], strict=True)


def set_edit_list(path: Path, edits: Sequence[tuple[float, float]]) -> Path:
    """Give the video track of an ``.mp4`` whose ``moov`` comes last an edit list: (begin, end) in the media's seconds.

    The media's times are those of its first sample's composition, as the file's own edit list says.
    """
    content = path.read_bytes()
    moov = content.rindex(b"moov") - 4
    elst = content.index(b"elst", moov) - 4
    mvhd, mdhd = content.index(b"mvhd", moov), content.index(b"mdhd", moov)
    movie_scale, media_scale = (struct.unpack_from(">I", content, place + 16)[0] for place in (mvhd, mdhd))
    (first,) = struct.unpack_from(">i", content, elst + 20)
    entries = b"".join(
        struct.pack(">Iihh", round((end - begin) * movie_scale), first + round(begin * media_scale), 1, 0)
        for begin, end in edits
    )
    box = struct.pack(">I4sII", 16 + len(entries), b"elst", 0, len(edits)) + entries
    old = struct.unpack_from(">I", content, elst)[0]
    changed = bytearray(content[:elst] + box + content[elst + old :])
    trak = content.rindex(b"trak", moov, elst) - 4
    for parent in (moov, trak, elst - 8):
        size = struct.unpack_from(">I", changed, parent)[0]
        struct.pack_into(">I", changed, parent, size + len(box) - old)
    path.write_bytes(changed)
    return path
