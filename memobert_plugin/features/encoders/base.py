"""What an acoustic encoder is, and the one by its name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np

from ...core.errors import UserError

ENCODERS: Final = ("logmel", "wav2vec2")
NORMALIZE: Final = ("always", "never", "auto")

Normalize = Literal["always", "never", "auto"]


class AcousticEncoder(Protocol):
    """A frozen encoder of 16 kHz waveforms."""

    @property
    def name(self) -> str: ...
    @property
    def options(self) -> dict[str, Any]:
        """What the frames depend on besides the weights."""

    @property
    def version(self) -> str: ...
    @property
    def weights_sha256(self) -> str | None: ...
    @property
    def frame_rate(self) -> float:
        """Frames per second, before pooling."""

    @property
    def dim(self) -> int: ...
    @property
    def shortest(self) -> int:
        """Samples below which a clip gives no frame."""

    @property
    def batched(self) -> bool:
        """Whether it gains from several clips at once; if not, whole clips are encoded in the worker processes."""

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """``(B, N)`` samples of equally long clips to ``(B, T, D)`` frames."""


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """An encoder described by plain values, so that every process that works on a job builds the same one: the
    arguments of :func:`load_encoder`.
    """

    name: str = "logmel"
    weights: Path | None = None
    normalize: Normalize | None = None
    device: str = "cpu"


@cache
def build_encoder(options: EncoderOptions) -> AcousticEncoder:
    """:func:`load_encoder`, once in each process."""
    return load_encoder(options.name, weights=options.weights, normalize=options.normalize, device=options.device)


def load_encoder(
    name: str, *, weights: Path | None = None, normalize: Normalize | None = None, device: str = "cpu"
) -> AcousticEncoder:
    """Build an encoder; torch and the host are imported only for one that has weights.

    Args:
        name: one of :data:`ENCODERS`.
        weights: a fairseq ``.pt`` or a Hugging Face folder, for ``wav2vec2``.
        normalize: how ``wav2vec2`` treats a clip's level (None: ``always``).
        device: where ``wav2vec2`` runs.

    Raises:
        UserError: an unknown name, weights that are missing, unusable or not wanted, no such device.
    """
    if name == "logmel":
        if weights is not None or normalize is not None:
            raise UserError("--encoder logmel: takes no --weights and no --normalize; leave them out")
        from .logmel import LogMel

        return LogMel()
    if name == "wav2vec2":
        if weights is None:
            raise UserError("--encoder wav2vec2: needs --weights, a fairseq .pt file or a Hugging Face folder")
        from .wav2vec2 import Wav2Vec2

        return Wav2Vec2(weights, normalize=normalize or "always", device=device)
    raise UserError(f"--encoder {name}: unknown; choose {' or '.join(ENCODERS)}")
