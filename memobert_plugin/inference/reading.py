"""From what a caller has (clips, waveforms, pictures, ready frames, text) to what the model reads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.tokenizer import UNKNOWN_ROW, Tokenizer
from ..features.audio import FILM_SUFFIXES, SAMPLE_RATE, DefectiveClip
from .faces import FaceOptions, FaceReader, read_face_pictures
from .ready_frames import checked_frames, frame_times
from .speech import SpeechReader
from .utterance import Evidence, Preview, Utterance

if TYPE_CHECKING:
    from ..checkpoints.model_description import ModelDescription
    from ..features.film import ClipFrames

VISUAL_RATE = 10.0
"""Faces per second where nothing else is known (the paper's)."""
ACOUSTIC_RATE = 1000.0 / 60.0
"""Speech frames per second where nothing else is known (the paper's)."""
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
        self.description, self.tokenizer = description, tokenizer
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
        evidence = Evidence(utterance, pieces.astype(np.int64), word_start)
        if not len(pieces):
            evidence = _absent(evidence, "l", "no text was given")
        elif unknown := int((pieces == UNKNOWN_ROW).sum()):
            note = f"{unknown} of {len(pieces)} word pieces of the text are unknown to the model"
            evidence = _noted(evidence, note)
        evidence = self._read_ready(evidence)
        if utterance.clip is not None:
            evidence = self._read_clip(evidence, utterance.clip, modalities)
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
            evidence = replace(evidence, seconds=len(given.waveform) / given.sampling_rate)
            return self._with_sound(evidence, samples)
        return evidence

    def _read_clip(self, evidence: Evidence, path: Path, modalities: str) -> Evidence:
        given = evidence.utterance
        if path.is_dir():
            if "v" in modalities and given.visual is None:
                crops = read_face_pictures(path)
                return self._with_crops(evidence, crops, *self.faces.encode(crops))
            return evidence
        needs_sound = "a" in modalities and given.acoustic is None and given.waveform is None
        needs_faces = "v" in modalities and given.visual is None
        if needs_faces and path.suffix.lower() not in FILM_SUFFIXES:
            evidence, needs_faces = _absent(evidence, "v", "a sound file has no faces"), False
        elif needs_faces and self.faces.obstacle:
            evidence, needs_faces = _absent(evidence, "v", self.faces.obstacle), False
        if needs_faces:
            clip, remark = self.faces.read(path, given.start, given.end)
            evidence = self._with_faces(evidence, clip, remark)
            if needs_sound and len(clip.samples):
                evidence = self._with_sound(evidence, clip.samples[: round(self.speech.max_seconds * SAMPLE_RATE)])
                if not clip.voiced:
                    evidence = _noted(evidence, "no speech was found in the sound: what is heard is not a voice")
            elif needs_sound:
                evidence = _absent(evidence, "a", "the file has no sound here")
        elif needs_sound:
            evidence = self._with_file_sound(evidence, path)
        return evidence

    def _with_file_sound(self, evidence: Evidence, path: Path) -> Evidence:
        """Sound alone; a film without sound is no defect as long as something else is there."""
        given = evidence.utterance
        if self.speech.obstacle:
            return _absent(evidence, "a", self.speech.obstacle)
        sound = self.speech.read(path, given.start, given.end)
        return self._with_sound(evidence, sound.samples)

    def _with_sound(self, evidence: Evidence, samples: np.ndarray) -> Evidence:
        sound = self.speech.encode(samples)
        evidence = replace(evidence, preview=replace(evidence.preview, samples=sound.samples))
        if evidence.seconds is None:
            evidence = replace(evidence, seconds=len(samples) / SAMPLE_RATE)
        if sound.frames is None:
            return _absent(evidence, "a", sound.reason)
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
        evidence = replace(evidence, seconds=clip.seconds, preview=preview)
        if clip.visual is None or clip.choice is None or clip.choice.track is None:
            reason = clip.choice.reason if clip.choice is not None else clip.dropped
            return _absent(evidence, "v", reason or "no face was found")
        seen = len(clip.tracks)
        if seen > 1:
            evidence = _noted(evidence, f"{seen} faces were seen; face {clip.choice.track.number} was read")
        if remark:
            evidence = _noted(evidence, remark)
        track: Any = clip.choice.track
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
        lasts = f" of a clip of {evidence.seconds:.1f} s" if evidence.seconds is not None else ""
        return _noted(evidence, f"the model reads only the beginning: the first {' and '.join(parts)}{lasts}")


_NAMES = {"l": "text", "v": "faces", "a": "sound"}


def _absent(evidence: Evidence, letter: str, reason: str) -> Evidence:
    return replace(evidence, absent={**evidence.absent, letter: reason})


def _noted(evidence: Evidence, note: str) -> Evidence:
    return replace(evidence, notes=(*evidence.notes, note))
