"""Small films made by the tests: drawn pictures, tones, subtitles, several streams, display matrices."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16_000
MILLISECONDS = Fraction(1, 1000)


@dataclass(frozen=True)
class Cue:
    """A subtitle line: seconds and text."""

    start: float
    end: float
    text: str


def counting_picture(time: float, width: int = 64, height: int = 48) -> np.ndarray:
    """Draw a picture whose grey level says its tenth of a second: 4 levels each."""
    return np.full((height, width, 3), int(time * 10 + 1e-6) * 4 % 256, np.uint8)


def tone(seconds: float, frequency: float = 440.0, level: float = 0.5, rate: int = RATE) -> np.ndarray:
    """Return a float32 sine."""
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_film(
    path: Path,
    *,
    seconds: float = 3.0,
    picture: Callable[[float], np.ndarray] | None = counting_picture,
    times: Sequence[float] | None = None,
    fps: int = 20,
    samples: np.ndarray | None = None,
    rate: int = RATE,
    layout: str = "mono",
    silent: bool = False,
    key_every: int = 10,
    cues: Iterable[Cue] = (),
    codec: str = "libx264",
    sound_codec: str = "aac",
    aspect: Fraction | None = None,
) -> Path:
    """Write a film.

    Args:
        path: its suffix decides the container; ``.mkv`` takes ``cues``.
        seconds: how long it lasts.
        picture: the picture of a time, None for no video stream.
        times: when the pictures are shown, for a variable frame rate (None: steadily, ``fps`` times a second).
        fps: pictures per second.
        samples: mono sound (N,) or (channels, N) (None: a tone).
        rate: its samples per second.
        layout: its channels.
        silent: no audio stream.
        key_every: pictures from one key picture to the next.
        cues: subtitles inside.
        codec, sound_codec: FFmpeg's names.
        aspect: width of a pixel over its height (None: square).
    """
    import av

    with av.open(str(path), "w") as container:
        video = sound = text = None
        if picture is not None:
            first = picture(0.0)
            video = container.add_stream(codec, rate=fps, options={"crf": "4", "preset": "ultrafast"})
            video.width, video.height, video.pix_fmt = first.shape[1], first.shape[0], "yuv420p"
            video.codec_context.gop_size = key_every
            if aspect is not None:
                video.codec_context.sample_aspect_ratio = aspect
            video.codec_context.time_base = video.time_base = MILLISECONDS
        if not silent:
            sound = container.add_stream(sound_codec, rate=rate, layout=layout)
        if cues:
            text = container.add_stream("ass")
            text.time_base = MILLISECONDS
        if video is not None and picture is not None:
            for time in np.arange(round(seconds * fps)) / fps if times is None else times:
                frame = av.VideoFrame.from_ndarray(picture(float(time)))
                frame.pts, frame.time_base = round(1000 * time), MILLISECONDS
                container.mux(video.encode(frame))
            container.mux(video.encode())
        if sound is not None:
            waveform = tone(seconds, rate=rate) if samples is None else samples
            planes = np.ascontiguousarray(np.atleast_2d(waveform), np.float32)
            for first_sample in range(0, planes.shape[1], 1024):
                piece = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(planes[:, first_sample : first_sample + 1024]), "fltp", layout
                )
                piece.sample_rate, piece.pts, piece.time_base = rate, first_sample, Fraction(1, rate)
                container.mux(sound.encode(piece))
            container.mux(sound.encode())
        for number, cue in enumerate(cues):
            assert text is not None
            packet = av.Packet(f"{number},0,Default,,0,0,0,,{cue.text}".encode())
            packet.stream, packet.time_base = text, MILLISECONDS
            packet.pts = packet.dts = round(1000 * cue.start)
            packet.duration = round(1000 * (cue.end - cue.start))
            container.mux(packet)
    return path


def write_sound(path: Path, samples: np.ndarray, rate: int, codec: str) -> Path:
    """Write mono float32 samples as a sound file with FFmpeg; the suffix decides the container."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.codec_context.bit_rate = 12_200 if "amrnb" in codec else 64_000
        resampler = av.AudioResampler(stream.codec_context.format.name, "mono", rate)
        whole = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
        whole.sample_rate, whole.pts, whole.time_base = rate, 0, Fraction(1, rate)
        fifo = av.AudioFifo()
        for frame in (*resampler.resample(whole), *resampler.resample(None)):
            fifo.write(frame)
        for piece in fifo.read_many(stream.codec_context.frame_size or 1024, partial=True):
            container.mux(stream.encode(piece))
        container.mux(stream.encode())
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Set the display matrix of an ``.mp4``: stored column p and row q are shown at a p + c q, b p + d q."""
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd")
    struct.pack_into(">9i", content, header + 44, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def write_srt(path: Path, cues: Iterable[Cue], encoding: str = "utf-8") -> Path:
    """Write a ``.srt``."""
    blocks = [
        f"{number}\n{_stamp(cue.start)} --> {_stamp(cue.end)}\n{cue.text}\n" for number, cue in enumerate(cues, start=1)
    ]
    path.write_bytes("\n".join(blocks).encode(encoding))
    return path


def _stamp(seconds: float) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d},{rest % 1000:03d}"


def join_clips(clips: Sequence[Path], path: Path, *, size: tuple[int, int] = (512, 512), fps: int = 25) -> list[float]:
    """Re-encode clips one after the other into one film; return the times at which they begin, and the end.

    Their pictures keep their scale, with black around the smaller ones: a face that is stretched or shrunk is
    another face to DenseFace.
    """
    import av

    width, height = size

    begins = [0.0]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"crf": "20", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        video.codec_context.time_base = Fraction(1, fps)
        shown = heard = 0
        for clip in clips:
            with av.open(str(clip)) as source:
                for frame in source.decode(video=0):
                    canvas = np.zeros((height, width, 3), np.uint8)
                    top, left = (height - frame.height) // 2, (width - frame.width) // 2
                    canvas[top : top + frame.height, left : left + frame.width] = frame.to_ndarray(format="rgb24")
                    frame = av.VideoFrame.from_ndarray(canvas, "rgb24").reformat(format="yuv420p")
                    frame.pts, frame.time_base, frame.pict_type = shown, Fraction(1, fps), 0
                    container.mux(video.encode(frame))
                    shown += 1
            begins.append(shown / fps)
            with av.open(str(clip)) as source:
                resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
                pieces = [piece.to_ndarray() for frame in source.decode(audio=0) for piece in resampler.resample(frame)]
                pieces += [piece.to_ndarray() for piece in resampler.resample(None)]
            waveform = np.zeros((1, round(begins[-1] * RATE) - heard), np.float32)
            sounding = np.concatenate(pieces, axis=1)[:, : waveform.shape[1]]
            waveform[:, : sounding.shape[1]] = sounding
            for first in range(0, waveform.shape[1], 1024):
                piece = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(waveform[:, first : first + 1024]), "fltp", "mono"
                )
                piece.sample_rate, piece.pts, piece.time_base = RATE, heard + first, Fraction(1, RATE)
                container.mux(sound.encode(piece))
            heard += waveform.shape[1]
        container.mux(video.encode())
        container.mux(sound.encode())
    return begins


def remux(path: Path, films: Sequence[tuple[Path, Sequence[int]]], later: float = 0.0) -> Path:
    """Copy streams of other films into one film, with all times ``later`` by some seconds.

    Args:
        path: the new film.
        films: films and the numbers of their streams.
        later: seconds.
    """
    import av

    packets: list[av.Packet] = []
    with ExitStack() as stack:
        container = stack.enter_context(av.open(str(path), "w"))
        for film, numbers in films:
            source = stack.enter_context(av.open(str(film)))
            copies = {
                number: container.add_stream_from_template(source.streams[number], opaque=True) for number in numbers
            }
            for packet in source.demux([source.streams[number] for number in numbers]):
                if packet.dts is None or packet.pts is None or packet.time_base is None:
                    continue
                shift = round(later / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = copies[packet.stream.index]
                packets.append(packet)
        packets.sort(key=lambda packet: packet.dts * packet.time_base)  # type: ignore[operator]
        for packet in packets:
            container.mux(packet)
    return path


@dataclass(frozen=True)
class Track:
    """One of several streams of a film: sound of one tone, or subtitles."""

    language: str = ""
    title: str = ""
    flags: str = ""
    """A name of PyAV's ``Disposition``."""
    tone: float = 0.0
    """Hertz; 0 for subtitles."""
    cues: Sequence[Cue] = ()
    codec: str = "ass"
    """Of subtitles: ``ass``, ``subrip``, ``webvtt`` or ``mov_text``."""


def write_tracks(path: Path, tracks: Sequence[Track], seconds: float = 2.0, pictures: Sequence[int] = (64,)) -> Path:
    """Write a film with several streams: pictures of the given widths, then ``tracks`` in their order."""
    import av
    from av.stream import Disposition

    packets: list[av.Packet] = []
    with av.open(str(path), "w") as container:
        videos, others = [], []
        for width in pictures:
            video = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
            video.width, video.height, video.pix_fmt = width, 48, "yuv420p"
            videos.append(video)
        for track in tracks:
            if track.tone:
                stream = container.add_stream("aac", rate=RATE, layout="mono")
            else:
                stream = container.add_stream(track.codec)
                stream.time_base = MILLISECONDS
                if track.codec != "ass":
                    stream.codec_context.subtitle_header = _ASS_HEADER  # FFmpeg's encoders do not open without one
            stream.metadata.update({"language": track.language, "title": track.title})
            stream.disposition = Disposition[track.flags] if track.flags else Disposition(0)
            others.append(stream)
        for video in videos:
            for number in range(round(10 * seconds)):
                frame = av.VideoFrame.from_ndarray(counting_picture(number / 10, video.width))
                frame.pts, frame.time_base = number, Fraction(1, 10)
                packets += video.encode(frame)
            packets += video.encode()
        for track, stream in zip(tracks, others, strict=True):
            if track.tone:
                samples = tone(seconds, track.tone)
                for first in range(0, len(samples), 1024):
                    piece = av.AudioFrame.from_ndarray(
                        np.ascontiguousarray(samples[None, first : first + 1024]), "fltp", "mono"
                    )
                    piece.sample_rate, piece.pts, piece.time_base = RATE, first, Fraction(1, RATE)
                    packets += stream.encode(piece)
                packets += stream.encode()
            packets += [_text_packet(stream, track.codec, number, cue) for number, cue in enumerate(track.cues)]
        packets.sort(key=lambda packet: float((packet.dts or 0) * (packet.time_base or 0)))
        for packet in packets:
            container.mux(packet)
    return path


_ASS_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\nStyle: Default,Arial,16\n\n"
    b"[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


def _text_packet(stream: Any, codec: str, number: int, cue: Cue) -> Any:
    import av

    content = cue.text.encode()
    if codec == "ass":
        content = f"{number},0,Default,,0,0,0,,{cue.text}".encode()
    elif codec == "mov_text":
        content = struct.pack(">H", len(content)) + content
    packet = av.Packet(content)
    packet.stream, packet.time_base = stream, MILLISECONDS
    packet.pts = packet.dts = round(1000 * cue.start)
    packet.duration = round(1000 * (cue.end - cue.start))
    return packet
