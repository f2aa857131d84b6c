"""DenseFace as a frozen visual encoder: faces to features and expression distributions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from ...core.errors import UserError
from ...data.frames import FERPLUS_CLASSES, ExtractorInfo
from .weights import SHIPPED, DenseFaceWeights, read_weights

SIDE: Final = 64
"""Width and height of a face, pixels."""

_AT_ONCE: Final = 32
"""Faces whose maps stay in a processor's cache: 1.5 times as fast as 64."""


class DenseFace:
    """The network of MEmoBERT's visual frames (section 4), without gradients, batch statistics as learned.

    Args:
        weights: parameters and the grey levels' statistics.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: no such device.
    """

    name: Final = "denseface"
    classes: Final = FERPLUS_CLASSES
    """The expressions, in the order of the distribution."""

    def __init__(self, weights: DenseFaceWeights, device: str = "cpu") -> None:
        import torch

        from .network import FEATURE_DIM, DenseNet

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError(f"--device {device}: this machine has no usable CUDA device; give --device cpu")
        network = DenseNet()
        network.load_state_dict({**network.state_dict(), **weights.state})
        self.network = network.to(device).eval().requires_grad_(False)
        self.device = device
        self.dim = FEATURE_DIM
        self.weights_sha256 = weights.sha256
        self.version = f"torch {torch.__version__}"

    @classmethod
    def from_shipped(cls, device: str = "cpu") -> DenseFace:
        """With the weights inside this package; ``weights.md`` beside them says how they were trained."""
        return cls.from_file(SHIPPED, device)

    @classmethod
    def from_file(cls, path: Path, device: str = "cpu") -> DenseFace:
        """With other weights; see :mod:`.weights`.

        Raises:
            UserError: an unusable file, or no such device.
        """
        return cls(read_weights(path), device)

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames of grey faces; a face's frame does not depend on the others.

        Args:
            crops: uint8 ``(N, 64, 64)``.

        Returns:
            Features float32 ``(N, 342)``, not negative, and distributions float32 ``(N, 8)`` over :attr:`classes`.

        Raises:
            UserError: crops of another shape or kind.
        """
        import torch

        if crops.dtype != np.uint8 or crops.ndim != 3 or crops.shape[1:] != (SIDE, SIDE):
            raise UserError(f"faces are {crops.dtype} {crops.shape}; give grey levels, uint8 (N, {SIDE}, {SIDE})")
        features = np.zeros((len(crops), self.dim), dtype=np.float32)
        distributions = np.zeros((len(crops), len(self.classes)), dtype=np.float32)
        with torch.inference_mode():
            for first in range(0, len(crops), _AT_ONCE):
                part = slice(first, first + _AT_ONCE)
                pictures = torch.from_numpy(np.ascontiguousarray(crops[part])).to(self.device).float()
                feature, logits = self.network(pictures)
                features[part] = feature.cpu().numpy()
                distributions[part] = logits.softmax(dim=-1).cpu().numpy()
        return features, distributions

    def info(self, **options: Any) -> ExtractorInfo:
        """What ``extractor.json`` says of the frames; ``options`` are whatever else they depend on."""
        return ExtractorInfo(
            name=self.name,
            options=options,
            weights_sha256=self.weights_sha256,
            dim=self.dim,
            classes=list(self.classes),
            version=self.version,
        )
