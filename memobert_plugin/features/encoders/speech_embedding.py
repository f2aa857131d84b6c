"""Google's speech embedding: 96 numbers every 80 ms from a small convolutional network, shipped with this package.

Network and weights are those of https://tfhub.dev/google/speech_embedding/1 under the Apache License 2.0 (Lin et al.,
"Training Keyword Spotters with Limited and Synthesized Speech Data", ICASSP 2020). ``speech_embedding.md`` beside the
weights says how they were converted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...core.errors import UserError
from ...core.names import SAMPLE_RATE
from .base import ENCODERS, SpeechEncoder

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

WEIGHTS: Final = Path(__file__).with_name("speech_embedding.safetensors")

_SAMPLE_SCALE: Final = 32_768.0
"""The network was trained on 16-bit integers."""
_FFT, _HOP, _WINDOWED = 512, 160, 400
_BANDS_PER_FRAME: Final = 76
"""Mel frames that one embedding sees: 760 ms and a window."""
_FRAME_HOP: Final = 8
"""Mel frames between two embeddings."""
_RANGE_DB: Final = 80.0
"""Mel values further below the clip's loudest one are raised to that."""
_POOLING: Final = {2: (2, 2), 6: (1, 2), 10: (2, 2), 14: (1, 2), 18: (2, 2)}
"""Size of the maximum pooling, time x mel, that follows a convolution."""
_CONVOLUTIONS: Final = 19
_SLOPE, _FLOOR = 0.2, -0.4


@dataclass(frozen=True)
class SpeechEmbeddingOptions:
    """No options: the network is fixed."""


@ENCODERS.register("speech_embedding")
class SpeechEmbedding(SpeechEncoder):
    """The embedding at every position of a clip, in one pass.

    No convolution pads in time, so one pass over the clip gives what windows of 76 mel frames give one by one. A clip
    shorter than one window (0.78 s) is put into the middle of silence.
    """

    name = "speech_embedding"
    summary = "Google's 96-d speech embedding, shipped with this package"
    Options = SpeechEmbeddingOptions
    dim = 96
    frame_rate = SAMPLE_RATE / (_HOP * _FRAME_HOP)
    shortest = _WINDOWED

    def __init__(self) -> None:
        import torch

        self._weights, self.weights_sha256 = _read_weights()
        self.version = f"torch {torch.__version__}"

    @classmethod
    def from_options(cls, options: SpeechEmbeddingOptions, device: str = "cpu") -> SpeechEmbedding:
        """Build the encoder; it always runs on the CPU, where a second of speech takes some milliseconds."""
        return cls()

    @property
    def options(self) -> dict[str, Any]:
        """Return the constants on which the frames depend."""
        return {"range_db": _RANGE_DB}

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """Embed clips of equal length.

        Args:
            waveforms: float32 ``(B, N)`` at 16 kHz in [-1, 1], N >= 400.

        Returns:
            float32 ``(B, T, 96)``, ``T = 1 + (M - 76) // 8`` for ``M = 1 + (N - 512) // 160`` mel frames, at least 1.
        """
        import torch

        with torch.inference_mode():
            samples = torch.from_numpy(waveforms) * _SAMPLE_SCALE
            missing = _FFT + _HOP * (_BANDS_PER_FRAME - 1) - samples.shape[1]
            if missing > 0:
                samples = torch.nn.functional.pad(samples, (missing // 2, missing - missing // 2))
            return torch.stack([self._embed(one) for one in samples]).numpy()

    def _embed(self, samples: Tensor) -> Tensor:
        import torch
        from torch.nn import functional

        weights = self._weights
        spectrum = torch.fft.rfft(samples.unfold(-1, _FFT, _HOP) * weights["window"])
        decibels = 10.0 * (spectrum.abs().square() @ weights["mel"]).clamp(min=1e-10).log10()
        decibels = torch.maximum(decibels, decibels.max() - _RANGE_DB)
        # The scale of the original network's own mel layer.
        hidden = (decibels / 10.0 + 2.0)[None, None]
        for layer in range(_CONVOLUTIONS):
            kernel = weights[f"convolution.{layer}.weight"]
            across_mel = (0, 1) if kernel.shape[3] == 3 else 0
            hidden = functional.conv2d(hidden, kernel, weights[f"convolution.{layer}.bias"], padding=across_mel)
            hidden = functional.leaky_relu(hidden, _SLOPE).clamp(min=_FLOOR)
            if layer in _POOLING:
                hidden = functional.max_pool2d(hidden, _POOLING[layer])
        return functional.conv2d(hidden, weights[f"convolution.{_CONVOLUTIONS}.weight"])[0, :, :, 0].t()


@cache
def _read_weights() -> tuple[dict[str, Tensor], str]:
    """Return the shipped weights by name, and the sha256 of their file."""
    from safetensors.torch import load

    try:
        content = WEIGHTS.read_bytes()
    except OSError as error:
        raise UserError(f"{WEIGHTS}: cannot be read ({error.strerror}); install the package again") from None
    return load(content), hashlib.sha256(content).hexdigest()
