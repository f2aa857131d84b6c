"""From what a caller has (clips, waveforms, pictures, ready frames, text) to what the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import DefectiveClip, UserError
from ..data.frames import ExtractorInfo, to_float16
from ..data.tokenizer import UNKNOWN_ROW, Tokenizer
from ..features.media.container import FILM_SUFFIXES, MediaFacts, media_facts
from ..features.media.sound import SAMPLE_RATE, read_clip, sound_seconds
from ..features.media.streams import StreamChoice
from .faces import PICTURES_SHOWN, FaceOptions, FaceReader, read_face_pictures
from .speech import SpeechReader
from .stills import LONGEST_SHOWN, stills
from .utterance import Evidence, Preview, Utterance

if TYPE_CHECKING:
    from ..checkpoints.model_description import ModelDescription
    from ..features.extraction.clip import ClipFrames
    from ..features.speakers.tracks import FaceTrack


def checked_frames(name: str, frames: np.ndarray, dim: int) -> np.ndarray:
    """Frames (T, D) as float16, as a data-bin stores them.

    Args:
        name: of the argument, for messages.
        frames: the caller's.
        dim: numbers that the model reads of a frame; 0 where it reads none.

    Raises:
        UserError: not floats of that shape, NaN or infinite values, or beyond float16.
    """
    if not dim:
        raise UserError(f"{name}: this model reads no {name} frames; leave them out")
    frames = np.asarray(frames)
    if frames.ndim != 2 or frames.dtype.kind != "f" or frames.shape[1] != dim:
        raise UserError(f"{name}: {frames.dtype} {frames.shape}; this model reads floats of shape (frames, {dim})")
    if not np.isfinite(frames).all():
        raise UserError(f"{name}: NaN or infinite values")
    return to_float16("the frames given", name, frames)


def frame_times(count: int, extractor: ExtractorInfo | None, default_rate: float) -> np.ndarray:
    """When frames of a steady rate begin: (count,) seconds."""
    rate = extractor.frame_rate if extractor is not None and extractor.frame_rate else default_rate
    return np.arange(count) / rate


VISUAL_RATE = 10.0
"""Faces per second where nothing else is known (the paper's)."""
ACOUSTIC_RATE = 1000.0 / 60.0
"""Speech frames per second where nothing else is known (the paper's)."""
LONG_CLIP = 15.0
"""Seconds beyond which a clip is more than an utterance."""
NOT_ASKED = "left out on request"


@dataclass(frozen=True)
class ReadingOptions:
    """How media are read.

    Attributes:
        weights: of wav2vec 2.0, for a model that was trained on it.
        faces: where faces and voice activity come from.
        preview: keep what a page shows of a clip, even where the model does not read its pictures.
    """

    weights: Path | None = None
    faces: FaceOptions = field(default_factory=FaceOptions)
    preview: bool = False


class ClipReader:
    """Reads utterances for one model.

    Args:
        description: of the model.
        tokenizer: of the model.
        options: how media are read.
        device: where the encoders run.
    """

    def __init__(
        self, description: ModelDescription, tokenizer: Tokenizer, options: ReadingOptions, device: str = "cpu"
    ) -> None:
        self.description, self.tokenizer, self._preview = description, tokenizer, options.preview
        self._streams = options.faces.streams
        self.speech = SpeechReader(
            description.acoustic_extractor if description.acoustic_dim else None, options.weights, device
        )
        self.faces = FaceReader(description.visual_extractor if description.visual_dim else None, options.faces, device)

    def read(self, utterance: Utterance, modalities: str) -> Evidence:
        """Read what is asked for.

        Args:
            utterance: what there is.
            modalities: letters of what may be read; encoders of the others are not even loaded.

        Raises:
            DefectiveClip: a file cannot be read, or there is nothing that the model could read.
            UserError: frames of another shape, a missing package or missing weights.
        """
        pieces, word_start = self.tokenizer.encode(utterance.text)
        evidence = Evidence(utterance, pieces.astype(np.int64), word_start, seconds=clip_seconds(utterance))
        if not len(pieces):
            evidence = _absent(evidence, "l", "no text was given")
        elif unknown := int((pieces == UNKNOWN_ROW).sum()):
            evidence = _noted(evidence, f"words unknown to the model: {unknown} of {len(pieces)} pieces")
        evidence = self._read_ready(evidence)
        if utterance.clip is not None or utterance.sound is not None:
            evidence = self._read_files(evidence, modalities)
        if self._preview:
            evidence = self._with_stills(evidence)
        for letter in "va":
            if letter not in evidence.present and letter not in evidence.absent:
                evidence = _absent(evidence, letter, NOT_ASKED if letter not in modalities else "none were given")
        evidence = evidence.limited_to(modalities, NOT_ASKED)
        if not evidence.present:
            reasons = (f"{_NAMES[letter]}: {evidence.absent[letter]}" for letter in modalities)
            raise DefectiveClip(f"{utterance.title}: nothing to read ({'; '.join(reasons)})")
        return self._with_long_clip_note(evidence)

    def _read_ready(self, evidence: Evidence) -> Evidence:
        """Take over arrays: frames and waveform."""
        given, description = evidence.utterance, self.description
        if given.visual is not None:
            visual = checked_frames("visual", given.visual, description.visual_dim)
            times = frame_times(len(visual), description.visual_extractor, VISUAL_RATE)
            evidence = replace(evidence, visual=visual, expression=given.expression, visual_times=times)
        if given.acoustic is not None:
            return self._with_acoustic(evidence, checked_frames("acoustic", given.acoustic, description.acoustic_dim))
        if given.waveform is not None:
            samples = self.speech.resampled(given.waveform, given.sampling_rate)
            return self._with_sound(evidence, samples)
        return evidence

    def _read_files(self, evidence: Evidence, modalities: str) -> Evidence:
        given = evidence.utterance
        wanted = {
            "v": "v" in modalities and given.visual is None and given.clip is not None,
            "a": "a" in modalities and given.acoustic is None and given.waveform is None,
        }
        if any(wanted.values()):
            for letter, taken in _streams_taken(given, self._streams).items():
                if taken and wanted[letter]:
                    evidence = _noted(evidence, taken)
        if wanted["v"] and given.clip is not None:
            evidence = self._read_faces(evidence, given.clip)
        file = given.sound or given.clip
        if not wanted["a"] or file is None or file.is_dir() or evidence.acoustic is not None:
            return evidence
        if self.speech.obstacle:
            return _absent(evidence, "a", self.speech.obstacle)
        if given.sound is None and evidence.preview.samples is not None:
            return self._with_sound(evidence, evidence.preview.samples)
        try:
            # A film's sound may run on after its pictures; where both are read, the clip ends with the film.
            end = sound_seconds(file) if given.end is None and file.suffix.lower() in FILM_SUFFIXES else given.end
            samples = read_clip(
                file, max_seconds=self.speech.max_seconds, start=given.start, end=end, streams=self._streams
            )
        except DefectiveClip as defect:
            return _absent(evidence, "a", str(defect).removeprefix(f"{file}: "))
        return self._with_sound(evidence, samples)

    def _read_faces(self, evidence: Evidence, path: Path) -> Evidence:
        """Faces, and with them the sound and the pictures that are shown."""
        given = evidence.utterance
        if path.is_dir():
            crops = read_face_pictures(path)
            return self._with_crops(evidence, crops, *self.faces.encode(crops))
        if path.suffix.lower() not in FILM_SUFFIXES:
            return _absent(evidence, "v", "a sound file has no faces")
        if self.faces.obstacle:
            return _absent(evidence, "v", self.faces.obstacle)
        clip, remark = self.faces.read(path, given.start, given.end, given.region)
        return self._with_faces(evidence, clip, remark)

    def _with_sound(self, evidence: Evidence, samples: np.ndarray) -> Evidence:
        """The frames of float32 samples (N,) at 16 kHz, as far as the encoder reads, and whether there is a voice."""
        preview = evidence.preview
        sound = self.speech.encode(samples[: round(self.speech.max_seconds * SAMPLE_RATE)])
        if preview.voiced is None:
            preview = replace(preview, samples=samples, voiced=tuple(self.faces.voice.intervals(samples)))
        evidence = replace(evidence, preview=preview)
        if sound.frames is None:
            return _absent(evidence, "a", sound.reason)
        if not preview.voiced:
            evidence = _noted(evidence, "no speech was found: what is heard is not a voice, though it is read like one")
        return self._with_acoustic(evidence, checked_frames("acoustic", sound.frames, self.description.acoustic_dim))

    def _with_acoustic(self, evidence: Evidence, frames: np.ndarray) -> Evidence:
        times = frame_times(len(frames), self.description.acoustic_extractor, ACOUSTIC_RATE)
        return replace(evidence, acoustic=frames, acoustic_times=times)

    def _with_faces(self, evidence: Evidence, clip: ClipFrames, remark: str) -> Evidence:
        preview = Preview(
            samples=clip.samples if len(clip.samples) else None,
            voiced=tuple(clip.voiced),
            pictures=tuple((shown.time, shown.rgb) for shown in clip.thumbnails),
        )
        evidence = replace(evidence, preview=preview)
        if clip.visual is None or clip.choice is None or clip.choice.track is None:
            reason = clip.choice.reason if clip.choice is not None else clip.dropped
            return _absent(evidence, "v", reason or "no face was found")
        track = clip.choice.track
        if len(clip.tracks) > 1:
            evidence = _noted(evidence, f"several faces: {_which(track, clip.tracks)}")
        if remark:
            evidence = _noted(evidence, f"not known who speaks: {remark}")
        return self._with_crops(evidence, track.crops, clip.visual, clip.expression, clip.visual_times)

    def _with_crops(
        self,
        evidence: Evidence,
        crops: np.ndarray,
        features: np.ndarray,
        expression: np.ndarray | None,
        times: np.ndarray | None = None,
    ) -> Evidence:
        visual = checked_frames("visual", features, self.description.visual_dim)
        if times is None:
            times = frame_times(len(visual), self.description.visual_extractor, VISUAL_RATE)
        preview = replace(evidence.preview, faces=crops)
        return replace(evidence, visual=visual, expression=expression, visual_times=times, preview=preview)

    def _with_stills(self, evidence: Evidence) -> Evidence:
        """Pictures of a film whose faces were not looked at, or whose pictures lie too far apart to be shown."""
        given = evidence.utterance
        near = evidence.preview.pictures and (evidence.seconds or 0.0) <= LONGEST_SHOWN
        if near or given.clip is None or given.clip.suffix.lower() not in FILM_SUFFIXES:
            return evidence
        pictures = stills(given.clip, given.start, evidence.seconds, PICTURES_SHOWN, self._streams)
        return replace(evidence, preview=replace(evidence.preview, pictures=pictures))

    def _with_long_clip_note(self, evidence: Evidence) -> Evidence:
        """Say so where the model reads only the beginning of what was found."""
        limits, parts = self.description.limits, []
        for name, frames, times, limit in (
            ("faces", evidence.visual, evidence.visual_times, limits["visual_frames"]),
            ("sound", evidence.acoustic, evidence.acoustic_times, limits["acoustic_frames"]),
        ):
            if frames is not None and times is not None and len(frames) > limit:
                parts.append(f"{times[limit]:.1f} s of {name}")
        if len(evidence.pieces) > limits["pieces"]:
            parts.append(f"{limits['pieces']} word pieces")
        if not parts:
            return evidence
        advice = ""
        if evidence.seconds is not None and evidence.seconds > LONG_CLIP:
            advice = f" of a clip of {evidence.seconds:.0f} s; cut it into utterances by its subtitles or its time"
        return _noted(evidence, f"only the beginning was read: {', '.join(parts)}{advice}")


_ORDINALS = ("first", "second", "third")
_NAMES = {"l": "text", "v": "faces", "a": "sound"}


def _streams_taken(given: Utterance, streams: StreamChoice) -> dict[str, str]:
    """Say by modality which of a film's streams are read; empty texts where there is one.

    Raises:
        DefectiveClip: the film lacks a stream that was asked for.
    """
    taken = {"v": "", "a": ""}
    if given.clip is not None and given.clip.suffix.lower() in FILM_SUFFIXES:
        facts = _facts(given.clip, streams)
        taken = {"v": facts.video_remark, "a": "" if given.sound else facts.audio_remark}
    return taken


@lru_cache(maxsize=8)
def _facts(film: Path, streams: StreamChoice) -> MediaFacts:
    return media_facts(film, streams)


def clip_seconds(utterance: Utterance) -> float | None:
    """How long an utterance lasts; None where only ready frames or pictures tell.

    Raises:
        DefectiveClip: a film that cannot be opened.
    """
    if utterance.waveform is not None:
        return len(utterance.waveform) / utterance.sampling_rate
    file = utterance.clip or utterance.sound
    if file is None or file.is_dir():
        return None
    end = utterance.end if utterance.end is not None else sound_seconds(file)
    return None if end is None else max(0.0, end - (utterance.start or 0.0))


def _which(track: FaceTrack, tracks: Sequence[FaceTrack]) -> str:
    """Where the face that was read is among the others."""
    places = sorted(float(other.boxes[:, (0, 2)].mean()) for other in tracks)
    place = places.index(float(track.boxes[:, (0, 2)].mean())) + 1
    ordinal = _ORDINALS[place - 1] if place <= len(_ORDINALS) else f"{place}th"
    return f"of {len(tracks)} that were seen, the {ordinal} from the left was read"


def _absent(evidence: Evidence, letter: str, reason: str) -> Evidence:
    return replace(evidence, absent={**evidence.absent, letter: reason})


def _noted(evidence: Evidence, note: str) -> Evidence:
    return replace(evidence, notes=(*evidence.notes, note))
