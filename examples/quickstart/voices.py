"""Voice-like sounds: a train of glottal pulses shaped by formants; pitch, loudness, timbre and pace show an emotion."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

SAMPLE_RATE = 16_000
VOWELS = np.array([[730, 1090, 2440], [270, 2290, 3010], [300, 870, 2240], [530, 1840, 2480], [570, 840, 2410]])


@dataclass(frozen=True)
class Manner:
    """How something is said, relative to the speaker's habit."""

    pitch: float  # semitones above the speaker's own pitch
    melody: float  # semitones by which the pitch rises and falls inside a syllable
    slope: float  # semitones from the beginning to the end of the utterance
    loudness: float  # dB
    brightness: float  # dB per octave added to the spectrum
    pace: float  # syllables per second

    def moved(self, rng: np.random.Generator, spread: float) -> Manner:
        """The same manner, every part off by a normal deviate; ``spread`` 1 is a large deviation."""
        pitch, melody, slope, loudness, brightness, pace = rng.normal(0, spread, 6)
        return Manner(
            pitch=self.pitch + 3 * pitch,
            melody=self.melody + 1.5 * melody,
            slope=self.slope + 3 * slope,
            loudness=self.loudness + 6 * loudness,
            brightness=self.brightness + 3 * brightness,
            pace=self.pace * 2 ** (0.4 * pace),
        )


MANNERS = {
    "anger": Manner(pitch=3, melody=2, slope=-4, loudness=9, brightness=5, pace=5.5),
    "happy": Manner(pitch=6, melody=5, slope=3, loudness=4, brightness=1, pace=5.0),
    "neutral": Manner(pitch=0, melody=1, slope=-1, loudness=0, brightness=0, pace=4.2),
    "sad": Manner(pitch=-2, melody=0.5, slope=-5, loudness=-8, brightness=-5, pace=3.0),
}
MUMBLED = Manner(pitch=1.5, melody=1, slope=-2, loudness=-4, brightness=-1, pace=4.2)


@dataclass(frozen=True)
class Voice:
    """What stays the same in all utterances of one speaker."""

    pitch: float  # Hz
    tract: float  # formants relative to an average vocal tract
    loudness: float  # dB

    @classmethod
    def drawn_at_random(cls, rng: np.random.Generator) -> Voice:
        return cls(float(rng.uniform(95, 230)), float(rng.uniform(0.9, 1.15)), float(rng.normal(0, 1.5)))


def speak(voice: Voice, manner: Manner, seconds: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """One utterance as mono samples in -1..1 at ``SAMPLE_RATE``.

    Args:
        noise: level of the background in dB below full scale (a negative number).
    """
    manner = replace(manner, pace=float(np.clip(manner.pace, 1.5, 9.0)))
    length = int(seconds * SAMPLE_RATE)
    time = np.arange(length) / SAMPLE_RATE
    syllable_phase = time * manner.pace
    semitones = (
        manner.pitch
        + manner.slope * (time / seconds - 0.5)
        + manner.melody * np.sin(2 * np.pi * syllable_phase)
        + rng.normal(0, 0.3, length // 400 + 1).repeat(400)[:length]
    )
    phase = np.cumsum(voice.pitch * 2 ** (semitones / 12)) / SAMPLE_RATE % 1.0
    pulses = np.where(phase < 0.6, np.sin(np.pi * phase / 0.6) ** 2, 0.0)  # the glottis opens, closes, stays closed
    envelope = np.sin(np.pi * (syllable_phase % 1.0)) ** 0.7
    speech = np.zeros(length)
    for syllable in range(int(syllable_phase[-1]) + 1):
        inside = np.flatnonzero(np.floor(syllable_phase) == syllable)
        formants = VOWELS[rng.integers(len(VOWELS))] * voice.tract
        speech[inside] = through_formants(
            np.diff(pulses[inside], prepend=pulses[inside[0]]), formants, manner.brightness
        )
    speech *= envelope
    level = 10 ** ((-26 + voice.loudness + manner.loudness) / 20)
    speech *= level / max(1e-9, float(np.sqrt(np.mean(speech**2))))
    return np.clip(speech + rng.normal(0, 10 ** (noise / 20), length), -1, 1)


def through_formants(source: np.ndarray, formants: np.ndarray, brightness: float) -> np.ndarray:
    """The source filtered by three resonances and a tilt (dB per octave above 500 Hz), by its spectrum."""
    size = 1 << (len(source) - 1).bit_length()
    frequency = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    widths = np.array([80.0, 110.0, 160.0])
    gain = (1 / (1 + ((frequency[:, None] - formants) / widths) ** 2)).sum(1) + 0.02
    tilt = 10 ** (brightness * np.log2(np.maximum(frequency, 500) / 500) / 20)
    return np.fft.irfft(np.fft.rfft(source, size) * gain * tilt, size)[: len(source)]
