"""The shipped speech embedding equals the published network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.features.encoders.speech_embedding import SpeechEmbedding

REFERENCE = Path(__file__).with_name("reference") / "speech_embedding.npy"
"""What ONNX Runtime 1.32.0 computes with openWakeWord 0.5.1's two networks for :func:`chirp`, window by window."""


def chirp(seconds: float = 1.5) -> np.ndarray:
    """Return a rising tone with a fluttering one above it, on the grid of 16-bit samples."""
    t = np.arange(int(16_000 * seconds)) / 16_000
    tones = 0.3 * np.sin(2 * np.pi * (120 + 300 * t) * t) + 0.1 * np.sin(2 * np.pi * 1900 * t) * np.sin(6 * np.pi * t)
    return (np.round(32_768 * tones) / 32_768).astype(np.float32)


@pytest.fixture(scope="module")
def encoder() -> SpeechEmbedding:
    return SpeechEmbedding()


def test_frames_equal_the_published_networks(encoder: SpeechEmbedding) -> None:
    expected = np.load(REFERENCE)
    np.testing.assert_allclose(encoder.encode(chirp()[None])[0], expected, atol=1e-5 * np.abs(expected).max(), rtol=0)


def test_clips_of_a_batch_do_not_change_each_other(encoder: SpeechEmbedding) -> None:
    loud, quiet = chirp(), 0.01 * chirp()[::-1]
    together = encoder.encode(np.stack([loud, quiet]))
    np.testing.assert_array_equal(together[1], encoder.encode(quiet[None].copy())[0])


def test_equal_sound_gives_equal_bytes(encoder: SpeechEmbedding) -> None:
    assert encoder.encode(chirp()[None]).tobytes() == SpeechEmbedding().encode(chirp()[None]).tobytes()


@pytest.mark.parametrize(("samples", "frames"), [(400, 1), (12_000, 1), (12_512, 1), (13_792, 2), (64_000, 41)])
def test_a_clip_of_any_length_has_frames(encoder: SpeechEmbedding, samples: int, frames: int) -> None:
    encoded = encoder.encode(np.resize(chirp(), (1, samples)))
    assert encoded.shape == (1, frames, 96) and np.isfinite(encoded).all()


def test_silence_gives_finite_frames(encoder: SpeechEmbedding) -> None:
    assert np.isfinite(encoder.encode(np.zeros((1, 16_000), np.float32))).all()
