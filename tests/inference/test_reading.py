"""Clips of every kind, and what is said of those that lack something."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from memobert_plugin import MEmoBERT
from memobert_plugin.checkpoints.bundle import CONFIGURATION, read_bundle, write_bundle
from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.features.encoders.base import pool_frames
from memobert_plugin.features.encoders.logmel import LogMel
from memobert_plugin.features.media.thumbnails import jpeg_address
from memobert_plugin.features.speakers.face import Face
from memobert_plugin.inference.faces import FaceReader
from memobert_plugin.inference.speech import SpeechReader
from memobert_plugin.inference.utterance import Utterance
from tests.films import tone, write_film

RATE = 16_000


def burst(seconds: float = 2.0) -> np.ndarray:
    """Something between two silences."""
    sound = tone(seconds)
    sound[: RATE // 4] = sound[-RATE // 4 :] = 0.0
    return sound


def picture(time: float) -> np.ndarray:
    x = np.linspace(0, 255, 96)
    return np.repeat((x[:, None] / 2 + x[None] / 2 + 10 * time)[:, :, None], 3, axis=2).clip(0, 255).astype(np.uint8)


@pytest.fixture
def wave(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "clip.wav", burst(), RATE, subtype="FLOAT")
    return tmp_path / "clip.wav"


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "clip.mp4", seconds=2.0, picture=picture, samples=burst())


@pytest.fixture
def tracked(clip_bundle: Path, film: Path, tmp_path: Path) -> MEmoBERT:
    """With a tracker that saw a face on the left all the time and one on the right for less."""
    rows = [f"{time:.1f},0,5,5,45,45" for time in np.arange(0, 2, 0.1)]
    rows += [f"{time:.1f},1,50,5,90,45" for time in np.arange(0, 1, 0.1)]
    csv = film.with_suffix(".csv")
    csv.write_text("time,track,left,top,right,bottom\n" + "\n".join(sorted(rows, key=lambda row: float(row[:3]))))
    return MEmoBERT.from_pretrained(clip_bundle, tracker=csv, preview=True)


def test_a_sound_file_a_waveform_and_its_frames_are_one(clip_model: MEmoBERT, wave: Path) -> None:
    frames = pool_frames(LogMel().encode(burst()[None])[0], 6)
    from_file = clip_model.predict(wave, "stop it")
    from_samples = clip_model.predict(burst(), "stop it")
    from_frames = clip_model.predict(text="stop it", acoustic=frames)
    assert from_file.probabilities == from_samples.probabilities == from_frames.probabilities
    assert from_file.modalities["acoustic"].frames == len(frames)
    assert from_file.modalities["visual"].reason == "a sound file has no faces"


def test_a_waveform_is_cut_at_the_given_times(clip_model: MEmoBERT) -> None:
    samples = burst()
    lasts = len(samples) / 16_000
    part = clip_model.predict(samples, "stop it", start=0.5, end=lasts - 0.25)
    cut = clip_model.predict(samples[8000:-4000], "stop it")
    assert part.probabilities == cut.probabilities and part.modalities == cut.modalities
    assert (part.start, part.end) == (0.5, lasts - 0.25)
    with pytest.raises(UserError, match=r"start 9, end .*: give seconds within the waveform, which lasts"):
        clip_model.predict(samples, "stop it", start=9.0)


def centered_model(bundle: Path, folder: Path) -> tuple[MEmoBERT, np.ndarray]:
    """The model, as if it had been trained on frames less their speaker's mean; and the mean of the average speaker."""
    model = read_bundle(bundle)
    extractor = model.description.acoustic_extractor
    assert extractor is not None
    average = np.linspace(-1, 1, 80).round(3)
    extractor = replace(extractor, speaker_mean=average.tolist())
    write_bundle(replace(model, description=replace(model.description, acoustic_extractor=extractor)), folder)
    return MEmoBERT.from_pretrained(folder), average.astype(np.float32)


def completed(mean: np.ndarray, clips: int, average: np.ndarray) -> np.ndarray:
    """The mean of some clips, to which four of the average voice come, the fewer the nearer the clips are to twenty."""
    more = 4 * (1 - clips / 20)
    return (clips * mean + more * average) / (clips + more)


def test_voices_are_read_less_the_mean_of_their_speaker_or_of_the_average_one(
    clip_bundle: Path, clip_model: MEmoBERT, wave: Path, tmp_path: Path
) -> None:
    model, average = centered_model(clip_bundle, tmp_path / "centered")
    low, high = burst(), burst(1.0) * 0.1
    frames = [pool_frames(LogMel().encode(sound[None])[0], 6) for sound in (low, high)]
    own = np.concatenate(frames).mean(axis=0)
    alone = model.predict(wave, "stop it")
    together = model.predict([Utterance(wave, "stop it", speaker="A"), Utterance(waveform=high, speaker="A")])
    other = model.predict([Utterance(wave, "stop it", speaker="A"), Utterance(waveform=high, speaker="B")])
    means = average, completed(own, 2, average), completed(frames[0].mean(axis=0), 1, average)
    for found, mean in zip((alone, together[0], other[0]), means, strict=True):
        expected = clip_model.predict(text="stop it", acoustic=frames[0] - mean)
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-4)
    assert alone.probabilities != pytest.approx(together[0].probabilities, abs=1e-3)


def test_a_voice_that_cannot_be_read_does_not_count_for_its_speaker(clip_bundle: Path, tmp_path: Path) -> None:
    model, average = centered_model(clip_bundle, tmp_path / "centered")
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    given = [Utterance(tmp_path / "broken.wav", "a", speaker="A"), Utterance(waveform=burst(), speaker="A")]
    broken, whole = model.with_voice_means(given)
    expected = pool_frames(LogMel().encode(burst()[None])[0], 6).mean(axis=0)
    assert broken.voice_mean is not None and whole.voice_mean is not None
    np.testing.assert_allclose(whole.voice_mean, completed(expected, 1, average), atol=1e-5)
    assert model.with_voice_means([Utterance(text="only words", speaker="A")])[0].voice_mean is None


def test_a_mean_that_is_known_stays_and_only_wanted_sound_is_heard(
    clip_bundle: Path, wave: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = centered_model(clip_bundle, tmp_path / "centered")
    given = [Utterance(wave, "stop it", speaker="A"), Utterance(waveform=burst(1.0) * 0.1, speaker="A")]
    together = model.predict(given)[0]
    alone = model.predict(model.with_voice_means(given)[0])
    assert alone.probabilities == pytest.approx(together.probabilities, abs=1e-6)
    monkeypatch.setattr(SpeechReader, "encode", None)
    assert "sound" not in str(model.predict(given[0], modalities="l").notes)


@pytest.mark.parametrize("mean", [np.zeros(3), np.float32(3), np.full(80, np.nan)])
def test_a_mean_that_is_none_is_a_mistake(clip_bundle: Path, tmp_path: Path, mean: np.ndarray) -> None:
    model, _ = centered_model(clip_bundle, tmp_path / "centered")
    with pytest.raises(UserError, match="voice_mean: give 80 finite numbers"):
        model.predict(Utterance(waveform=burst(), voice_mean=mean))


@pytest.mark.filterwarnings("error")
def test_ready_frames_tell_a_voice_also_as_a_list_or_where_one_has_none(clip_bundle: Path, tmp_path: Path) -> None:
    model, average = centered_model(clip_bundle, tmp_path / "centered")
    frames = np.arange(160.0).reshape(2, 80)
    given = [Utterance(acoustic=frames, speaker="A"), Utterance(text="a", acoustic=frames[:0], speaker="B")]
    known, empty = model.with_voice_means(given)
    assert known.voice_mean is not None
    np.testing.assert_allclose(known.voice_mean, completed(frames.mean(axis=0), 1, average), atol=1e-5)
    assert empty.voice_mean is None
    listed: Any = frames.tolist()
    assert model.predict(Utterance(acoustic=listed, speaker="A")).probabilities == model.predict(given[0]).probabilities


def test_paths_may_be_strings_and_every_question_reads_a_named_voice_alike(
    clip_bundle: Path, wave: Path, tmp_path: Path
) -> None:
    model, _ = centered_model(clip_bundle, tmp_path / "centered")
    name: Any = str(wave)
    given = Utterance(name, sound=name, speaker="A")
    assert given == Utterance(wave, sound=wave, speaker="A")
    [known] = model.with_voice_means([given])
    np.testing.assert_array_equal(model.encode(given).acoustic, model.encode(known).acoustic)
    assert model.fill_mask("I am [MASK].", given) == model.fill_mask("I am [MASK].", known)


def test_speakers_of_subtitles_tell_the_voices_of_a_timeline(clip_bundle: Path, film: Path, tmp_path: Path) -> None:
    model, _ = centered_model(clip_bundle, tmp_path / "centered")
    cues = "00:00.200 --> 00:01.000\n{}I hate it.\n\n00:01.100 --> 00:01.900\n{}Go home!\n"
    for name, voice in (("named", "<v Mira>"), ("nameless", "")):
        (tmp_path / f"{name}.vtt").write_text("WEBVTT\n\n" + cues.format(voice, voice), encoding="utf-8")
    named, nameless = (model.timeline(film, subtitles=tmp_path / f"{name}.vtt") for name in ("named", "nameless"))
    assert named[0].probabilities != pytest.approx(nameless[0].probabilities, abs=1e-4)


def test_a_part_of_a_file_is_read(clip_model: MEmoBERT, wave: Path) -> None:
    part = clip_model.read(Utterance(wave, start=0.5, end=1.5))
    assert part.acoustic is not None and len(part.acoustic) == -(-98 // 6)
    assert part.seconds == pytest.approx(1.0)
    with pytest.raises(DefectiveClip, match="the clip starts at 7 s"):
        clip_model.predict(wave, start=7.0)


def test_other_sampling_rates_are_converted(clip_model: MEmoBERT) -> None:
    time = np.arange(2 * 44_100) / 44_100
    sung = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    converted = clip_model.read(Utterance(waveform=sung, sampling_rate=44_100))
    direct = clip_model.read(Utterance(waveform=tone(2.0)))
    assert converted.acoustic is not None and direct.acoustic is not None
    assert np.abs(converted.acoustic[2:-2].astype(float) - direct.acoustic[2:-2]).mean() < 0.2


@pytest.mark.parametrize(
    ("waveform", "rate", "said"),
    [
        (np.zeros((2, 16_000), np.float32), 16_000, "floats of shape"),
        (np.zeros(16_000, np.int16), 16_000, "floats of shape"),
        (np.full(16_000, np.nan, np.float32), 16_000, "NaN"),
        (np.zeros(16_000, np.float32), 7, "sampling rate of 7"),
    ],
)
def test_what_is_no_waveform_is_named(clip_model: MEmoBERT, waveform: np.ndarray, rate: int, said: str) -> None:
    with pytest.raises(DefectiveClip, match=said):
        clip_model.predict(waveform, "stop it", sampling_rate=rate)


def test_a_film_gives_face_voice_and_pictures(tracked: MEmoBERT, film: Path) -> None:
    evidence = tracked.read(Utterance(film, "stop it"))
    assert evidence.present == "lva"
    assert evidence.visual is not None and evidence.visual.shape == (20, 342)
    assert evidence.expression is not None and np.allclose(evidence.expression.sum(axis=1), 1.0, atol=1e-5)
    assert evidence.preview.faces is not None and evidence.preview.faces.shape == (20, 64, 64)
    assert evidence.preview.voiced == ((pytest.approx(0.25, abs=0.05), pytest.approx(1.75, abs=0.05)),)
    assert len(evidence.preview.pictures) == 8
    assert "several faces: of 2 that were seen, the first from the left was read" in evidence.notes
    assert any(note.startswith("not known who speaks: the face that is seen most often") for note in evidence.notes)


def test_a_film_and_its_own_sound_have_the_same_speech_frames(tracked: MEmoBERT, film: Path) -> None:
    together = tracked.read(Utterance(film)).acoustic
    alone = tracked.read(Utterance(film), "a").acoustic
    assert together is not None and alone is not None and np.array_equal(together, alone)


def test_pictures_of_faces_in_a_folder_are_frames(clip_model: MEmoBERT, tmp_path: Path) -> None:
    for number in range(12):
        encoded = jpeg_address(picture(float(number))).partition(",")[2]
        (tmp_path / f"face{number}.jpg").write_bytes(base64.b64decode(encoded))
    evidence = clip_model.read(Utterance(tmp_path, "stop it"))
    assert evidence.visual is not None and evidence.visual.shape == (12, 342) and evidence.preview.faces is not None
    brightness = evidence.preview.faces.mean(axis=(1, 2))
    assert (np.diff(brightness) > 0).all(), "natural order: face2 before face10"
    (tmp_path / "face3.jpg").write_bytes(b"no picture")
    with pytest.raises(DefectiveClip, match=r"face3\.jpg"):
        clip_model.predict(tmp_path)


def test_a_picture_is_answered_from_its_largest_face(
    clip_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = [(0.0, 0.0, 30.0, 30.0), (30.0, 30.0, 94.0, 94.0)]
    seen = [Face(box) for box in boxes]
    source = type("Drawn", (), {"name": "litert", "start": lambda *_: None, "faces": lambda *_: seen})()
    monkeypatch.setattr(FaceReader, "_detector", lambda self: source)
    model = MEmoBERT.from_pretrained(clip_bundle)
    shown = np.full((96, 96, 3), 40, np.uint8)
    shown[30:94, 30:94] = 200
    path = tmp_path / "two.JPG"
    path.write_bytes(base64.b64decode(jpeg_address(shown).partition(",")[2]))
    answer = model.predict(path)
    assert (answer.modalities["visual"].frames, answer.modalities["acoustic"].reason) == (1, "pictures have no sound")
    assert "several faces: of 2 that were seen, the largest was read" in answer.notes
    faces = model.read(Utterance(path)).preview.faces
    assert faces is not None and faces.mean() > 190
    seen.clear()
    with pytest.raises(DefectiveClip, match="no face was found"):
        model.predict(path)
    path.write_bytes(b"no picture")
    with pytest.raises(DefectiveClip, match="two"):
        model.predict(path)


def test_an_empty_folder_is_named(clip_model: MEmoBERT, tmp_path: Path) -> None:
    with pytest.raises(DefectiveClip, match="no pictures"):
        clip_model.predict(tmp_path)


def test_silence_is_no_voice(clip_model: MEmoBERT) -> None:
    answer = clip_model.predict(np.zeros(RATE, np.float32), "stop it")
    assert not answer.modalities["acoustic"].present and answer.modalities["acoustic"].reason == "the sound is silent"
    short = clip_model.predict(tone(0.01), "stop it")
    assert short.modalities["acoustic"].reason == "the sound lasts 10 ms, shorter than one frame (25 ms)"


def test_sound_that_only_ffmpeg_decodes_is_read(clip_model: MEmoBERT, tmp_path: Path) -> None:
    coded = write_film(tmp_path / "clip.m4a", seconds=2.0, picture=None, samples=burst())
    answer = clip_model.predict(coded)
    assert answer.modalities["acoustic"].present and not answer.modalities["visual"].present


def test_a_film_without_sound_or_face_says_so(tracked: MEmoBERT, clip_model: MEmoBERT, tmp_path: Path) -> None:
    mute = write_film(tmp_path / "mute.mp4", seconds=1.0, picture=picture, silent=True)
    answer = clip_model.predict(mute, "stop it", modalities="la")
    assert answer.modalities["acoustic"].reason == "no audio stream"
    with pytest.raises(DefectiveClip, match="nothing to read"):
        clip_model.predict(mute, modalities="la")
    blind = write_film(tmp_path / "blind.mp4", seconds=1.0, picture=None, samples=burst(1.0))
    assert tracked.predict(blind).modalities["visual"].reason.endswith("no video stream")


def test_a_long_clip_is_answered_from_its_beginning_and_says_so(clip_model: MEmoBERT, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", np.tile(burst(), 20), RATE)
    answer = clip_model.predict(tmp_path / "long.flac")
    assert answer.modalities["acoustic"].frames == 64
    [note] = [note for note in answer.notes if note.startswith("only the beginning")]
    assert note.startswith("only the beginning was read: 3.8 s of sound of a clip of 40 s")


def test_faces_that_another_encoder_made_are_left_out_with_the_reason(
    clip_bundle: Path, film: Path, tmp_path: Path
) -> None:
    model = MEmoBERT.from_pretrained(clip_bundle)
    model.reader.faces.extractor = replace(model.description.visual_extractor, name="drawn")  # type: ignore[type-var]
    answer = model.predict(film, "stop it")
    assert answer.modalities["acoustic"].present
    assert "made by 'drawn'" in answer.modalities["visual"].reason
    other = MEmoBERT.from_pretrained(clip_bundle)
    other.reader.faces.extractor = replace(other.description.visual_extractor, weights_sha256="0" * 64)  # type: ignore[type-var]
    assert "its sha256 differs" in other.predict(film, "stop it").modalities["visual"].reason


def test_speech_frames_of_other_settings_are_refused(clip_bundle: Path, wave: Path) -> None:
    model = MEmoBERT.from_pretrained(clip_bundle)
    trained = model.description.acoustic_extractor
    assert trained is not None
    model.reader.speech.extractor = replace(trained, options={**trained.options, "filters": 40})
    with pytest.raises(UserError, match="were made with filters 40, this version makes them with 80"):
        model.predict(wave)


def test_wav2vec_frames_need_their_weights(clip_bundle: Path, wave: Path) -> None:
    model = MEmoBERT.from_pretrained(clip_bundle)
    trained = model.description.acoustic_extractor
    assert trained is not None
    model.reader.speech.extractor = replace(trained, name="wav2vec2", weights_sha256="0" * 64)
    with pytest.raises(UserError, match=r"name its weights.*--weights"):
        model.predict(wave)
    assert model.predict(wave, "stop it", modalities="l").modalities["text"].present


def test_weights_that_no_encoder_wants_are_refused(clip_bundle: Path, wave: Path) -> None:
    model = MEmoBERT.from_pretrained(clip_bundle, weights=wave)
    with pytest.raises(UserError, match="this model was trained on logmel frames"):
        model.predict(wave)


def test_frames_are_read_at_the_pace_of_training(clip_bundle: Path) -> None:
    options = json.loads((clip_bundle / CONFIGURATION).read_text())["model"]["acoustic_extractor"]["options"]
    model = MEmoBERT.from_pretrained(clip_bundle)
    assert model.reader.speech.encoder.pool == options["pool"] == 6
    times = model.read(Utterance(waveform=tone(1.0))).acoustic_times
    assert times is not None and times[1] == pytest.approx(0.06)


def test_faces_from_another_source_than_in_training_are_noted(tracked: MEmoBERT, film: Path) -> None:
    def notes(source: str) -> list[str]:
        trained = tracked.description.visual_extractor
        assert trained is not None
        tracked.reader.faces.extractor = replace(trained, options={**trained.options, "faces": {"name": source}})
        return [note for note in tracked.read(Utterance(film, "stop it")).notes if note.startswith("faces from")]

    assert notes("tracker") == []
    [note] = notes("mediapipe")
    assert note.startswith("faces from tracker: the model was trained on faces from mediapipe")
