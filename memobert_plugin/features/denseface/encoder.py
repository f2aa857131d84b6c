"""Face encoders: the plug-in's interface, their registry, and DenseFace, which comes with this package.

A face encoder is one file of this folder, or an entry point of the group ``memobert_plugin.face_encoders`` in another
package: a subclass of :class:`FaceEncoder`. It is imported for ``--help``, so it imports torch and the like inside its
functions only.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from ...core.errors import UserError
from ...core.registry import Registry
from ...data.frames import FERPLUS_CLASSES, ExtractorInfo
from .weights import SHIPPED, DenseFaceWeights, read_weights

SIDE: Final = 64
"""Width and height of a face, pixels."""

_AT_ONCE: Final = {"cpu": 16, "cuda": 512}
"""Faces per step: on a processor, those whose maps stay in its cache."""


class FaceEncoder(ABC):
    """A frozen network from faces to visual frames.

    Attributes:
        name: in ``--face-encoder`` and ``extractor.json``.
        summary: for ``--help``.
        Options: a frozen dataclass. Each field is a flag, whose help is ``metadata["help"]``; a field ``face_weights``
            is the path of the weights, which prediction takes from the user (``--face-weights``).
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Options: ClassVar[type[Any]]
    has_weights: ClassVar[bool] = True
    """False for an encoder whose weights always come from the user, by ``--face-weights``."""

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any, device: str = "cpu") -> FaceEncoder:
        """Build the encoder from its ``Options``; ``device`` is ``cpu`` or ``cuda``.

        Raises:
            UserError: unusable options or weights, or no such device.
        """

    @classmethod
    def from_info(cls, info: ExtractorInfo, weights: Path | None = None, device: str = "cpu") -> FaceEncoder:
        """Build the encoder that made the frames which ``info`` describes.

        Fields of ``Options`` are taken from ``info.options`` by name. Whether the weights are the same ones is for the
        caller to check, by :meth:`info`.

        Raises:
            UserError: weights that the encoder does not take; see :meth:`from_options`.
        """
        names = {each.name for each in dataclasses.fields(cls.Options)}
        given = {name: info.options[name] for name in names if name in info.options}
        if weights is not None:
            if "face_weights" not in names:
                raise UserError(f"--face-weights: this model was trained on {cls.name} frames; leave the flag out")
            given["face_weights"] = weights
        return cls.from_options(cls.Options(**given), device)

    @abstractmethod
    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Encode uint8 ``(N, 64, 64)`` to features ``(N, D)`` and expression distributions ``(N, K)``, float32."""

    def calibrated(self, distributions: np.ndarray) -> np.ndarray:
        """Return distributions ``(N, K)`` as probabilities to show to people; frames and training keep the others."""
        return distributions

    @abstractmethod
    def info(self, **options: Any) -> ExtractorInfo:
        """Describe the frames for ``extractor.json``; ``options`` are further things that they depend on."""


def check_faces(crops: np.ndarray) -> None:
    """Refuse what are no faces as they are cut out.

    Raises:
        UserError: another type or shape than uint8 ``(N, 64, 64)``.
    """
    if crops.dtype != np.uint8 or crops.ndim != 3 or crops.shape[1:] != (SIDE, SIDE):
        raise UserError(f"faces are {crops.dtype} {crops.shape}; give grey levels, uint8 (N, {SIDE}, {SIDE})")


FACE_ENCODERS: Final[Registry[type[FaceEncoder]]] = Registry(
    "face encoder", "memobert_plugin.features.denseface", "memobert_plugin.face_encoders"
)


@dataclass(frozen=True)
class DenseFaceOptions:
    """The weights."""

    face_weights: Path | None = field(
        default=None,
        metadata={
            "help": "DenseFace trained on other data (default: the weights that come with the package)",
            "metavar": "PATH",
        },
    )


@FACE_ENCODERS.register("denseface")
class DenseFace(FaceEncoder):
    """The network of MEmoBERT's visual frames (section 4), without gradients, batch statistics as learned.

    Args:
        weights: parameters and the grey levels' statistics.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: no such device.
    """

    name = "denseface"
    summary = "DenseFace, trained on FER+"
    Options = DenseFaceOptions
    classes: Final = FERPLUS_CLASSES
    """The expressions, in the order of the distribution."""

    def __init__(self, weights: DenseFaceWeights, device: str = "cpu") -> None:
        import torch

        from ...nn.densenet import FEATURE_DIM, DenseNet, FoldedDenseNet

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError(f"--device {device}: this machine has no usable CUDA device; give --device cpu")
        network = DenseNet()
        network.load_state_dict({**network.state_dict(), **weights.state})
        self.network = network.to(device).eval().requires_grad_(False)
        self.device = device
        self._forward = self.network if device.startswith("cuda") else FoldedDenseNet(self.network)
        self.dim = FEATURE_DIM
        self.weights_sha256 = weights.sha256
        self.temperature = weights.temperature
        self.version = f"torch {torch.__version__}, folded"

    @classmethod
    def from_options(cls, options: DenseFaceOptions, device: str = "cpu") -> DenseFace:
        """Build DenseFace with the shipped weights, or with those of the options."""
        return cls.from_file(options.face_weights or SHIPPED, device)

    @classmethod
    def from_shipped(cls, device: str = "cpu") -> DenseFace:
        """Build DenseFace with the weights inside this package; ``weights.md`` says how they were trained."""
        return cls.from_file(SHIPPED, device)

    @classmethod
    def from_file(cls, path: Path, device: str = "cpu") -> DenseFace:
        """Build DenseFace with other weights; see :mod:`.weights`.

        Raises:
            UserError: an unusable file, or no such device.
        """
        return cls(read_weights(path), device)

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Encode grey faces; a face's frame does not depend on the others.

        Args:
            crops: uint8 ``(N, 64, 64)``.

        Returns:
            Features float32 ``(N, 342)``, not negative, and distributions float32 ``(N, 8)`` over :attr:`classes`.

        Raises:
            UserError: crops of another shape or kind.
        """
        import torch

        check_faces(crops)
        features = np.zeros((len(crops), self.dim), dtype=np.float32)
        distributions = np.zeros((len(crops), len(self.classes)), dtype=np.float32)
        with torch.inference_mode():
            at_once = _AT_ONCE["cuda" if self.device.startswith("cuda") else "cpu"]
            for first in range(0, len(crops), at_once):
                part = slice(first, first + at_once)
                pictures = torch.from_numpy(np.ascontiguousarray(crops[part])).to(self.device).float()
                feature, logits = self._forward(pictures)
                features[part] = feature.cpu().numpy()
                distributions[part] = logits.softmax(dim=-1).cpu().numpy()
        return features, distributions

    def calibrated(self, distributions: np.ndarray) -> np.ndarray:
        """Divide the logits behind distributions ``(N, 8)`` by the weights' temperature.

        Trained on shares of votes, the network is less sure of the majority's expression than it is often right.
        """
        if self.temperature == 1.0 or not len(distributions):
            return distributions
        powers = (distributions / distributions.max(axis=1, keepdims=True)) ** (1.0 / self.temperature)
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

    def info(self, **options: Any) -> ExtractorInfo:
        """Describe the frames for ``extractor.json``; ``options`` are further things that they depend on."""
        return ExtractorInfo(
            name=self.name,
            options=options,
            weights_sha256=self.weights_sha256,
            dim=self.dim,
            classes=list(self.classes),
            version=self.version,
        )
