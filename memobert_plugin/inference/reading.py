"""Read a caller's clips, waveforms, pictures, ready frames and text as a model was trained to read them.

Every reason and note follows from what was read: a modality that the user left out, one that the model was not trained
on, and one that could not be read are told apart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.console import tracked
from ..core.errors import DefectiveClip, UserError
from ..core.names import PICTURE_RATE, counted
from ..data.frames import ExtractorInfo, Frames, to_float16, visual_frames
from ..data.speakers import SpeakerSums
from ..data.tokenizer import Tokenizer
from ..data.vocabulary import UNK
from ..features.encoders.base import STEP_SECONDS
from ..features.media.container import FILM_SUFFIXES
from ..features.media.sound import SAMPLE_RATE, read_clip, sound_seconds
from ..features.media.streams import StreamChoice
from .decision import covered_seconds
from .faces import (
    LONGEST_SHOWN,
    PICTURES_SHOWN,
    FaceOptions,
    FaceReader,
    is_pictures,
    pictures_with_faces,
    read_face_pictures,
    stills,
)
from .speech import MOST_TRANSCRIBED, SpeechReader, WordReader, file_facts
from .unlike_training import unlike_level, unlike_photographs, unlike_speech, unlike_words
from .utterance import PLAIN_NAMES, Evidence, Preview, Utterance, modality_letters

if TYPE_CHECKING:
    from ..checkpoints.model_description import ModelDescription
    from ..features.extraction.clip import ClipFrames
    from ..features.extraction.transcription import TranscribeOptions
    from ..features.speakers.tracks import FaceTrack


def checked_frames(name: str, frames: np.ndarray, dim: int, mean: np.ndarray | None = None) -> np.ndarray:
    """Check a caller's frames (T, D) and round them to float16, as a data-bin stores them.

    Args:
        name: the argument, for messages.
        frames: the caller's.
        dim: numbers of a frame that the model reads; 0 if it reads no such frames.
        mean: (D,) subtracted before; None: nothing.

    Raises:
        UserError: not floats of that shape, NaN or infinite values, beyond float16, or another mean.
    """
    if not dim:
        raise UserError(f"{name}: this model reads no {name} frames; leave them out")
    frames = np.asarray(frames)
    if frames.ndim != 2 or frames.dtype.kind != "f" or frames.shape[1] != dim:
        raise UserError(f"{name}: {frames.dtype} {frames.shape}; this model reads floats of shape (frames, {dim})")
    if not np.isfinite(frames).all():
        raise UserError(f"{name}: NaN or infinite values")
    if mean is not None:
        mean = np.asarray(mean, np.float32)
        if mean.shape != (dim,) or not np.isfinite(mean).all():
            raise UserError(f"voice_mean: give {dim} finite numbers, the mean frame of a speaker")
        frames = frames.astype(np.float32) - mean
    return to_float16("the frames given", name, frames)


def frame_times(count: int, extractor: ExtractorInfo | None, default_rate: float) -> np.ndarray:
    """Return the seconds (count,) at which frames of a steady rate begin; the default rate if the model says none."""
    rate = extractor.frame_rate if extractor is not None and extractor.frame_rate else default_rate
    return np.arange(count) / rate


LONG_CLIP = 15.0
"""Seconds; the note on a longer clip advises to cut it."""
LEFT_OUT = "left out on request"
NOT_GIVEN = "not given"


@dataclass(frozen=True)
class ReadingOptions:
    """Settings for reading media.

    Attributes:
        weights: the speech encoder's, such as wav2vec 2.0, for a model that was trained on its frames.
        faces: sources of faces and of voice activity, and the film's streams.
        preview: keep pictures of a clip for the page, even if the model does not read them.
        transcribe: the recogniser of words for utterances without text; None: they stay without.
    """

    weights: Path | None = None
    faces: FaceOptions = field(default_factory=FaceOptions)
    preview: bool = False
    transcribe: TranscribeOptions | None = None


class ClipReader:
    """A reader of utterances for one model.

    Args:
        description: the model's.
        tokenizer: the model's.
        options: settings for reading media.
        device: runs the encoders.
    """

    def __init__(
        self, description: ModelDescription, tokenizer: Tokenizer, options: ReadingOptions, device: str = "cpu"
    ) -> None:
        self.description, self.tokenizer, self.options = description, tokenizer, options
        self.speech = SpeechReader(
            description.acoustic_extractor if description.acoustic_dim else None, options.weights, device
        )
        extractor = description.acoustic_extractor
        self._average_voice = extractor.average_voice if extractor else None
        self.words = None if options.transcribe is None else WordReader(options.transcribe)
        self.faces = FaceReader(description.visual_extractor if description.visual_dim else None, options.faces, device)

    def with_preview(self) -> ClipReader:
        """Return a reader with the same encoders that keeps pictures for a page."""
        shown = copy(self)
        shown.options = replace(self.options, preview=True)
        return shown

    def read(self, utterance: Utterance, modalities: str | None = None) -> Evidence:
        """Read an utterance.

        Args:
            utterance: the parts that there are.
            modalities: letters of those that may be read (None: those the model was trained on); encoders of the
                others are not even loaded.

        Raises:
            DefectiveClip: a file cannot be read, or there is nothing that the model could read.
            UserError: frames of another shape, a missing package or missing weights.
        """
        trained = self.description.trained_on
        wanted = trained if modalities is None else modality_letters(modalities)
        unheard, seconds = "", clip_seconds(utterance)
        if self.words is not None and "l" in wanted and not utterance.text and utterance.has_sound:
            utterance, unheard = self.words.transcribed(utterance, self.options.faces.streams)
        pieces, word_start = self.tokenizer.encode(utterance.text)
        evidence = Evidence(utterance, pieces.astype(np.int64), word_start, seconds=seconds)
        if unheard:
            evidence = evidence.lacking("l", unheard)
        evidence = self._read_ready(evidence, wanted)
        if utterance.clip is not None or utterance.sound is not None:
            evidence = self._read_files(evidence, wanted)
        if self.options.preview:
            evidence = self._with_stills(evidence)
        evidence = evidence.limited_to(wanted)
        reasons = {}
        for letter, name in PLAIN_NAMES.items():
            if letter in evidence.present:
                continue
            if letter in wanted:
                reasons[letter] = evidence.absent.get(letter, NOT_GIVEN)
            else:
                reasons[letter] = LEFT_OUT if letter in trained else f"this model was not trained on {name}"
        if not evidence.present:
            listed = "; ".join(f"{PLAIN_NAMES[letter]}: {reasons[letter]}" for letter in wanted)
            raise DefectiveClip(f"{utterance.title}: nothing to read ({listed})")
        return self._with_notes(replace(evidence, absent=reasons))

    def with_voice_means(
        self, utterances: Sequence[Utterance], modalities: str | None = None, *, progress: bool = False
    ) -> list[Utterance]:
        """Return utterances with the mean speech frame of their speaker, where the model reads frames less that mean.

        Sound is read once for it, if it is among the modalities. Utterances without speaker or sound, and those with a
        known mean, stay as they are.

        Raises:
            UserError: frames of another shape, a missing package or missing weights.
        """
        average = self._average_voice
        if average is None or not self.takes_voice_means(modalities):
            return list(utterances)
        named = [one for one in utterances if one.speaker and one.voice_mean is None]
        sums = SpeakerSums()
        for one in tracked(named, len(named), "voices", shown=progress):
            with contextlib.suppress(DefectiveClip):
                if (frames := self._speech_frames(one)) is not None:
                    sums.add(one.speaker, frames)
        mean_of = sums.means(average).get
        return [replace(one, voice_mean=mean_of(one.speaker)) if one.voice_mean is None else one for one in utterances]

    def takes_voice_means(self, modalities: str | None = None) -> bool:
        """Return whether the model reads speech frames less their speaker's mean, and may read them here."""
        trained = self.description.trained_on
        return self._average_voice is not None and "a" in (modality_letters(modalities) if modalities else trained)

    def _speech_frames(self, given: Utterance) -> np.ndarray | None:
        """Return the speech frames (A, D) of an utterance; None without any.

        Raises:
            DefectiveClip: its sound cannot be read.
        """
        if given.acoustic is not None:
            checked_frames("acoustic", given.acoustic, self.description.acoustic_dim)
            return np.asarray(given.acoustic)
        file = given.sound or given.clip
        if given.waveform is not None:
            samples = self.speech.resampled(given.waveform, given.sampling_rate)
        elif file is None or is_pictures(file):
            return None
        else:
            samples = self._samples(given, file)
        return self.speech.encode(samples[: round(self.speech.max_seconds * SAMPLE_RATE)]).frames

    def _read_ready(self, evidence: Evidence, wanted: str) -> Evidence:
        """Take over ready frames and a waveform."""
        given, description = evidence.utterance, self.description
        if given.visual is not None and ("v" in wanted or not description.visual_dim):
            shown = self._visual_input(given.visual, given.expression)
            visual = checked_frames("visual", shown, description.visual_dim)
            times = frame_times(len(visual), description.visual_extractor, PICTURE_RATE)
            evidence = replace(evidence, visual=visual, expression=given.expression, visual_times=times)
        if given.acoustic is not None and ("a" in wanted or not description.acoustic_dim):
            return self._with_acoustic(evidence, given.acoustic)
        if given.waveform is not None and "a" in wanted:
            return self._with_sound(evidence, self.speech.resampled(given.waveform, given.sampling_rate))
        return evidence

    def _read_files(self, evidence: Evidence, wanted: str) -> Evidence:
        """Read faces and sound of files, unless they were given otherwise, and note which streams were taken."""
        given, streams = evidence.utterance, self.options.faces.streams
        faces = "v" in wanted and given.visual is None and given.clip is not None
        sound = "a" in wanted and given.acoustic is None and given.waveform is None
        remarks = _streams_taken(given, streams) if faces or sound else {}
        if faces and given.clip is not None:
            evidence = self._read_faces(evidence, given.clip)
        file = given.sound or given.clip
        if sound and file is not None:
            silent = is_pictures(file)
            evidence = evidence.lacking("a", "pictures have no sound") if silent else self._read_sound(evidence, file)
        for letter, is_read in (("v", faces), ("a", sound)):
            if is_read and letter in evidence.present and remarks[letter]:
                evidence = evidence.noted(remarks[letter])
        return evidence

    def _read_sound(self, evidence: Evidence, file: Path) -> Evidence:
        given = evidence.utterance
        if self.speech.obstacle:
            return evidence.lacking("a", self.speech.obstacle)
        if given.sound is None and evidence.preview.samples is not None:
            return self._with_sound(evidence, evidence.preview.samples)
        try:
            samples = self._samples(given, file)
        except DefectiveClip as defect:
            return evidence.lacking("a", str(defect).removeprefix(f"{file}: "))
        return self._with_sound(evidence, samples)

    def _samples(self, given: Utterance, file: Path) -> np.ndarray:
        """Read the float32 samples (N,) at 16 kHz that an encoder hears of an utterance's file."""
        # A film's sound may be longer than its pictures; the clip ends with the film.
        end = sound_seconds(file) if given.end is None and file.suffix.lower() in FILM_SUFFIXES else given.end
        streams = self.options.faces.streams
        return read_clip(file, max_seconds=self.speech.max_seconds, start=given.start, end=end, streams=streams)

    def _read_faces(self, evidence: Evidence, path: Path) -> Evidence:
        """Read faces, and with them the sound and the pictures for the page."""
        given = evidence.utterance
        if path.is_dir():
            crops = read_face_pictures(path)
            evidence = self._with_crops(evidence, crops, *self.faces.encode(crops))
            seen = pictures_with_faces(crops)
            if seen is not None and seen[0] < seen[1] / 2:
                note = f"pictures without faces: there is one in {seen[0]} of {seen[1]} that were looked at"
                evidence = evidence.noted(note, unlike="v")
            return evidence
        if not is_pictures(path) and path.suffix.lower() not in FILM_SUFFIXES:
            return evidence.lacking("v", "a sound file has no faces")
        if self.faces.obstacle:
            return evidence.lacking("v", self.faces.obstacle)
        if is_pictures(path):
            try:
                crops, remark = self.faces.of_picture(path)
            except DefectiveClip as defect:
                return evidence.lacking("v", str(defect).removeprefix(f"{path}: "))
            evidence = self._with_crops(evidence, crops, *self.faces.encode(crops))
            return evidence.noted(remark) if remark else evidence
        clip, remark = self.faces.read(path, given.start, given.end, given.region)
        return self._with_faces(evidence, clip, remark)

    def _with_sound(self, evidence: Evidence, samples: np.ndarray) -> Evidence:
        """Add the frames of float32 samples (N,) at 16 kHz, and a note if no voice was found in them."""
        preview = evidence.preview
        sound = self.speech.encode(samples[: round(self.speech.max_seconds * SAMPLE_RATE)])
        if preview.voiced is None:
            preview = replace(preview, samples=samples, voiced=tuple(self.faces.voice.intervals(samples)))
        evidence = replace(evidence, preview=preview)
        if sound.frames is None:
            return evidence.lacking("a", sound.reason)
        evidence = self._with_acoustic(evidence, sound.frames)
        assert evidence.acoustic_times is not None
        limit = min(len(sound.frames), self.description.limits["acoustic_frames"])
        heard = samples[: round(covered_seconds(evidence.acoustic_times, limit) * SAMPLE_RATE)]
        if note := unlike_speech(heard, preview.voiced or ()):
            evidence = evidence.noted(note, unlike="a")
        return evidence.noted(note) if (note := unlike_level(heard)) else evidence

    def _with_acoustic(self, evidence: Evidence, frames: np.ndarray) -> Evidence:
        """Add speech frames (A, D), less the mean of the speaker or of the average one if the model reads them so."""
        average, own = self._average_voice, evidence.utterance.voice_mean
        mean = average if average is None or own is None else own
        shown = checked_frames("acoustic", frames, self.description.acoustic_dim, mean)
        times = frame_times(len(frames), self.description.acoustic_extractor, 1.0 / STEP_SECONDS)
        return replace(evidence, acoustic=shown, acoustic_times=times)

    def _with_faces(self, evidence: Evidence, clip: ClipFrames, remark: str) -> Evidence:
        preview = Preview(
            samples=clip.samples if len(clip.samples) else None,
            voiced=tuple(clip.voiced),
            pictures=tuple((shown.time, shown.rgb) for shown in clip.thumbnails),
        )
        evidence = replace(evidence, preview=preview)
        if clip.visual is None or clip.choice is None or clip.choice.track is None:
            reason = clip.choice.reason if clip.choice is not None else clip.dropped
            return evidence.lacking("v", reason or "no face was found")
        track = clip.choice.track
        if len(clip.tracks) > 1:
            evidence = evidence.noted(f"several faces: {_which(track, clip.tracks)}")
        if self.faces.other_source:
            evidence = evidence.noted(self.faces.other_source)
        if remark:
            evidence = evidence.noted(f"not known who speaks: {remark}")
        return self._with_crops(evidence, track.crops, clip.visual, clip.expression, clip.visual_times)

    def _with_crops(
        self,
        evidence: Evidence,
        crops: np.ndarray,
        features: np.ndarray,
        expression: np.ndarray | None,
        times: np.ndarray | None = None,
    ) -> Evidence:
        shown_faces = self._visual_input(features, expression)
        visual = checked_frames("visual", shown_faces, self.description.visual_dim)
        if times is None:
            times = frame_times(len(visual), self.description.visual_extractor, PICTURE_RATE)
        preview = replace(evidence.preview, faces=crops)
        shown = None if expression is None else self.faces.encoder.calibrated(expression)
        if note := unlike_photographs(crops[: self.description.limits["visual_frames"]]):
            evidence = evidence.noted(note, unlike="v")
        return replace(evidence, visual=visual, expression=shown, visual_times=times, preview=preview)

    def _visual_input(self, frames: np.ndarray, expression: np.ndarray | None) -> np.ndarray:
        """Return what the model reads of face frames: their features, their expressions, or both."""
        extractor = self.description.visual_extractor
        kind = extractor.options.get("visual_input", "features") if extractor is not None else "features"
        if kind == "features" or (expression is None and np.shape(frames)[1:] == (self.description.visual_dim,)):
            return frames  # a caller may give ready distributions
        return visual_frames(Frames(frames, expression), str(kind))

    def _with_stills(self, evidence: Evidence) -> Evidence:
        """Add pictures of a film whose faces were not read, or whose pictures are too far apart for the page."""
        given = evidence.utterance
        near = evidence.preview.pictures and (evidence.seconds or 0.0) <= LONGEST_SHOWN
        if near or given.clip is None or given.clip.suffix.lower() not in FILM_SUFFIXES:
            return evidence
        pictures = stills(given.clip, given.start, evidence.seconds, PICTURES_SHOWN, self.options.faces.streams)
        return replace(evidence, preview=replace(evidence.preview, pictures=pictures))

    def _with_notes(self, evidence: Evidence) -> Evidence:
        """Add the notes that depend on which modalities were read in the end."""
        read, limits = evidence.pieces[: self.description.limits["pieces"]], self.description.limits
        transcript = evidence.utterance.transcript
        if transcript is not None and "l" in evidence.present and transcript.unsure:
            evidence = evidence.noted(f"transcribed words are unsure: {transcript.unsure}", "l")
        if unknown := int((read == UNK).sum()):
            evidence = evidence.noted(f"words unknown to the model: {unknown} of {counted(len(read), 'piece')}")
        if "l" in evidence.present and (note := unlike_words(evidence.utterance.text, read, self.tokenizer)):
            evidence = evidence.noted(note, unlike="l")
        for letter in evidence.present:
            if letter not in self.description.trained_on:
                evidence = evidence.noted(f"read on request: {PLAIN_NAMES[letter]}, on which the model was not trained")
        parts = []
        for name, reader, frames, times in (
            ("visual", self.faces, evidence.visual, evidence.visual_times),
            ("acoustic", self.speech, evidence.acoustic, evidence.acoustic_times),
        ):
            if frames is None or times is None:
                continue
            plain, limit = "faces" if name == "visual" else "sound", limits[f"{name}_frames"]
            ready = getattr(evidence.utterance, name) is not None
            if len(frames) > limit:
                parts.append(f"{times[limit]:.1f} s of {plain}")
            elif not ready and evidence.seconds is not None and evidence.seconds > reader.max_seconds + 0.05:
                parts.append(f"{reader.max_seconds:.1f} s of {plain}")
        transcribed = transcript is not None and (evidence.seconds or 0.0) > MOST_TRANSCRIBED
        if len(evidence.pieces) > limits["pieces"]:
            parts.append(f"{limits['pieces']} word pieces")
        elif transcribed and "l" in evidence.present:
            parts.append(f"{MOST_TRANSCRIBED:g} s of words")
        if not parts:
            return evidence
        advice = ""
        if evidence.seconds is not None and evidence.seconds > LONG_CLIP:
            advice = f" of a clip of {evidence.seconds:.0f} s; cut it into utterances by its subtitles or its time"
        return evidence.noted(f"only the beginning was read: {', '.join(parts)}{advice}")


_ORDINALS = ("first", "second", "third")


def _streams_taken(given: Utterance, streams: StreamChoice) -> dict[str, str]:
    """Return by modality a remark on which of a film's streams is read; empty if there is only one.

    Raises:
        DefectiveClip: the film lacks a stream that was asked for.
    """
    taken = {"v": "", "a": ""}
    if given.clip is not None and given.clip.suffix.lower() in FILM_SUFFIXES:
        facts = file_facts(given.clip, streams)
        taken = {"v": facts.video_remark, "a": "" if given.sound else facts.audio_remark}
    return taken


def clip_seconds(utterance: Utterance) -> float | None:
    """Return the duration of an utterance in seconds; None for ready frames and pictures, which have no clock.

    Raises:
        DefectiveClip: a film that cannot be opened.
    """
    if utterance.waveform is not None:
        return len(utterance.waveform) / utterance.sampling_rate
    file = utterance.clip or utterance.sound
    if file is None or is_pictures(file):
        return None
    end = utterance.end if utterance.end is not None else sound_seconds(file)
    return None if end is None else max(0.0, end - (utterance.start or 0.0))


def _which(track: FaceTrack, tracks: Sequence[FaceTrack]) -> str:
    """Say which of several faces was read, by its place from the left."""
    places = sorted(float(other.boxes[:, (0, 2)].mean()) for other in tracks)
    place = places.index(float(track.boxes[:, (0, 2)].mean())) + 1
    ordinal = _ORDINALS[place - 1] if place <= len(_ORDINALS) else f"{place}th"
    return f"of {len(tracks)} that were seen, the {ordinal} from the left was read"
