"""Acoustic frames of a manifest's utterances: read the sound, encode it, average consecutive frames, write them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain, groupby
from pathlib import Path
from typing import Final

import numpy as np

from ...core.errors import DefectiveClip
from ...core.names import SAMPLE_RATE
from ...core.processes import ordered_map
from ...data.frames import ExtractorInfo, write_frames
from ...data.manifest import ManifestRow
from ..encoders.base import PooledEncoder, SpeechOptions, build_speech, check_length
from ..media.container import FILM_SUFFIXES, media_facts
from ..media.sound import read_clip
from ..media.streams import ANY_STREAMS, StreamChoice
from .job import Clip, FrameJob, Outcome

_BATCHES_PER_WINDOW: Final = 16
_Stretch = tuple[Path, float | None, float | None]
"""A file and the times between which it is read."""


@dataclass(frozen=True, slots=True)
class _Waveform:
    clip: Clip
    samples: np.ndarray | None
    failure: str = ""
    remark: str = ""
    """Sound stream that was read, where the film has several."""


class AcousticJob(FrameJob):
    """Acoustic frames from the column ``audio``, or from the film where that is empty.

    Args:
        speech: encodes the sound. Of options every process builds its own encoder; an encoder itself is pickled.
        batch_size: clips at once, all of one length (batched encoders).
        elsewhere: other machines will do the work, so this one need not have the device of ``speech``.
        streams: of films with several sounds the one that the user asked for.
    """

    name = "speech"
    medium = "audio"
    column = "audio"

    def __init__(
        self,
        speech: SpeechOptions | PooledEncoder,
        batch_size: int = 4,
        elsewhere: bool = False,
        streams: StreamChoice = ANY_STREAMS,
    ) -> None:
        if isinstance(speech, SpeechOptions):
            self.encoder = build_speech(replace(speech, device="cpu") if elsewhere else speech)
        else:
            self.encoder = speech
        self._speech, self._batch_size, self.streams = speech, batch_size, streams

    def info(self) -> ExtractorInfo:
        """Describe the frames, for ``extractor.json``."""
        return self.encoder.info()

    def media(self, row: ManifestRow) -> str:
        """Return a row's sound file, else its film."""
        if not row.audio and Path(row.video).suffix.lower() in FILM_SUFFIXES:
            return row.video
        return row.audio

    def groups(self, clips: Iterable[Clip]) -> Iterator[list[Clip]]:
        """Divide clips into windows of the manifest, so that a batch holds the same clips in every run."""
        groups = (list(group) for _, group in groupby(clips, key=self._window))
        # An unfinished window is read whole: a batch of other clips might change the last digits of a frame.
        return (group for group in groups if any(clip.wanted for clip in group))

    def extract_group(self) -> Callable[[list[Clip]], list[Outcome]]:
        """Return the function that writes the frames of a window."""
        return partial(_extract_window, speech=self._speech, batch_size=self._batch_size, streams=self.streams)

    def extract_here(self, clips: Iterable[Clip], workers: int) -> Iterator[Outcome]:
        """Extract clips; worker processes read the sound and, for an encoder that is not batched, encode it too."""
        frozen = self.encoder.encoder
        if not frozen.batched:
            extract = partial(_extract_alike, speech=self._speech, streams=self.streams)
            yield from chain.from_iterable(ordered_map(extract, _alike(clips), workers))
            return
        read = partial(_read, max_seconds=self.encoder.max_seconds, shortest=frozen.shortest, streams=self.streams)
        waveforms = ordered_map(read, chain.from_iterable(self.groups(clips)), workers)
        for _, window in groupby(waveforms, key=lambda waveform: self._window(waveform.clip)):
            yield from _encode_window(window, self.encoder, self._batch_size)

    def _window(self, clip: Clip) -> int:
        return clip.index // (self._batch_size * _BATCHES_PER_WINDOW)


def _extract_window(
    clips: list[Clip], speech: SpeechOptions | PooledEncoder, batch_size: int, streams: StreamChoice
) -> list[Outcome]:
    """Write the frames of a window, in a job on a cluster."""
    built = build_speech(speech) if isinstance(speech, SpeechOptions) else speech
    if not built.encoder.batched:
        return [outcome for alike in _alike(clips) for outcome in _extract_alike(alike, built, streams)]
    waveforms = (_read(clip, built.max_seconds, built.encoder.shortest, streams) for clip in clips)
    return list(_encode_window(waveforms, built, batch_size))


def _alike(clips: Iterable[Clip]) -> Iterator[list[Clip]]:
    """Bring wanted clips that follow each other and are one stretch of one file together, to encode it once."""
    wanted = (clip for clip in clips if clip.wanted)
    return (list(alike) for _, alike in groupby(wanted, key=_stretch))


def _stretch(clip: Clip) -> _Stretch:
    return clip.path, clip.start, clip.end


def _extract_alike(clips: list[Clip], speech: SpeechOptions | PooledEncoder, streams: StreamChoice) -> list[Outcome]:
    built = build_speech(speech) if isinstance(speech, SpeechOptions) else speech
    waveform = _read(clips[0], built.max_seconds, built.encoder.shortest, streams)
    if waveform.samples is None:
        return [Outcome(clip.utterance_id, failure=waveform.failure) for clip in clips]
    frames = built.encoder.encode(waveform.samples[None])[0]
    return [_write(replace(waveform, clip=clip), len(waveform.samples), frames, built) for clip in clips]


def _encode_window(waveforms: Iterable[_Waveform], speech: PooledEncoder, batch_size: int) -> Iterator[Outcome]:
    """Encode clips of one length together; padding would change their frames. One stretch of a file is encoded once."""
    by_length: dict[int, dict[_Stretch, tuple[np.ndarray, list[_Waveform]]]] = defaultdict(dict)
    for waveform in waveforms:
        if waveform.samples is not None:
            alike = by_length[len(waveform.samples)].setdefault(_stretch(waveform.clip), (waveform.samples, []))[1]
            alike.append(waveform)
        elif waveform.clip.wanted:
            yield Outcome(waveform.clip.utterance_id, failure=waveform.failure)
    for of_one_length in by_length.values():
        stretches = list(of_one_length.values())
        for first in range(0, len(stretches), batch_size):
            batch = stretches[first : first + batch_size]
            if not any(waveform.clip.wanted for _, alike in batch for waveform in alike):
                continue
            encoded = speech.encoder.encode(np.stack([samples for samples, _ in batch]))
            for (samples, alike), frames in zip(batch, encoded, strict=True):
                for waveform in alike:
                    if waveform.clip.wanted:
                        yield _write(waveform, len(samples), frames, speech)


def _read(clip: Clip, max_seconds: float, shortest: int, streams: StreamChoice) -> _Waveform:
    try:
        samples = read_clip(clip.path, start=clip.start, end=clip.end, max_seconds=max_seconds, streams=streams)
    except DefectiveClip as defect:
        return _Waveform(clip, None, str(defect))
    try:
        check_length(samples, shortest)
    except DefectiveClip as defect:
        return _Waveform(clip, None, f"{clip.path}: {defect}")
    return _Waveform(clip, samples, remark=_sound_taken(clip.path, streams))


@lru_cache(maxsize=8)
def _sound_taken(path: Path, streams: StreamChoice) -> str:
    """Say which of a film's sounds is read; nothing where it has one."""
    taken = media_facts(path, streams).audio_remark if path.suffix.lower() in FILM_SUFFIXES else ""
    return f"{path}: {taken}" if taken else ""


def _write(waveform: _Waveform, samples: int, frames: np.ndarray, speech: PooledEncoder) -> Outcome:
    clip = waveform.clip
    try:
        write_frames(clip.target, speech.pooled(frames))
    except DefectiveClip as defect:
        return Outcome(clip.utterance_id, failure=f"{clip.path}: {defect}")
    return Outcome(clip.utterance_id, samples / SAMPLE_RATE, remark=waveform.remark)
