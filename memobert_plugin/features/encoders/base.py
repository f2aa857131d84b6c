"""Speech encoders: the plug-in's interface, the registry, and pooled frames from samples.

An encoder is one file of this folder or of another package (entry points ``memobert_plugin.encoders``): a subclass of
:class:`SpeechEncoder`. Flags, ``extractor.json`` and prediction follow from its ``Options``. Such a file is imported
for ``--help``, so it imports numpy, torch and the like inside its functions only.
"""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ...core.errors import DefectiveClip, UserError
from ...core.files import regular
from ...core.names import SAMPLE_RATE
from ...core.registry import Registry

if TYPE_CHECKING:
    import numpy as np

    from ...data.frames import ExtractorInfo

STEP_SECONDS: Final = 0.06
"""Between two pooled frames, as in the paper (three frames of wav2vec 2.0), unless told otherwise."""
MAX_SECONDS: Final = 10.0
"""Sound beyond this is cut, as in the paper, unless told otherwise."""
DEFAULT_ENCODER: Final = "logmel"
_VARIANCE_FLOOR: Final = 1e-7


class SpeechEncoder(ABC):
    """A frozen encoder of 16 kHz speech.

    Attributes:
        name: in ``--encoder`` and ``extractor.json``.
        summary: for ``--help``.
        Options: a frozen dataclass. Each field is a flag, whose help is ``metadata["help"]``; a field ``weights`` is
            the path of the weights, which prediction asks the user for again.
        batched: whether encoding several clips of equal length at once pays. If not, worker processes encode.
        frame_rate: frames per second, before pooling.
        dim: size of a frame.
        shortest: samples below which a clip has no frame.
        version: of the library that computes the frames.
        weights_sha256: of the file of weights.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Options: ClassVar[type[Any]]
    batched: ClassVar[bool] = False
    frame_rate: float
    dim: int
    shortest: int
    version: str
    weights_sha256: str | None = None

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any, device: str = "cpu") -> SpeechEncoder:
        """Build the encoder from its ``Options``; ``device`` is ``cpu`` or ``cuda``.

        Raises:
            UserError: unusable options or weights, or no such device.
        """

    @classmethod
    def from_info(cls, info: ExtractorInfo, weights: Path | None = None, device: str = "cpu") -> SpeechEncoder:
        """Build the encoder that made the frames which ``info`` describes.

        Fields of ``Options`` are taken from ``info.options`` by name. Override this where they have other names there.

        Raises:
            UserError: weights are needed and not given, or given and not needed; see :meth:`from_options`.
        """
        fields = {field.name: field for field in dataclasses.fields(cls.Options)}
        given = {name: info.options[name] for name in fields if name in info.options}
        if weights is not None:
            if "weights" not in fields:
                raise UserError(f"--weights: this model was trained on {cls.name} frames; leave the flag out")
            given["weights"] = weights
        elif "weights" in fields and (info.weights_sha256 or fields["weights"].default is dataclasses.MISSING):
            raise UserError(
                f"this model was trained on {cls.name} frames; name its weights, {fields['weights'].metadata['help']} "
                "(--weights, weights=), or leave sound out (--modalities lv)"
            )
        try:
            own = cls.Options(**given)
        except TypeError as error:
            raise UserError(f"the model's {cls.name} frames lack an option ({error}); export the model again") from None
        return cls.from_options(own, device)

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Return what the frames depend on besides the weights, for ``extractor.json``."""

    @property
    def remark(self) -> str:
        """Return a remark for the user on these weights; empty for none."""
        return ""

    @abstractmethod
    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """Encode float32 ``(B, N)`` clips of equal length, N >= ``shortest``, to float32 frames ``(B, T, dim)``."""


ENCODERS: Final[Registry[type[SpeechEncoder]]] = Registry(
    "speech encoder", "memobert_plugin.features.encoders", "memobert_plugin.encoders"
)


@dataclass(frozen=True, slots=True)
class SpeechOptions:
    """Settings of acoustic frames as plain values, from which every process of a job builds the same encoder."""

    encoder: str = DEFAULT_ENCODER
    options: Any = None
    """The encoder's ``Options``; None for its defaults."""
    pool: int | None = None
    """Consecutive frames that are averaged; None for about :data:`STEP_SECONDS`."""
    max_seconds: float = MAX_SECONDS
    device: str = "cpu"


class PooledEncoder:
    """An encoder with its pooling and the length at which clips are cut: samples in, acoustic frames out.

    Args:
        encoder: gives the frames.
        pool: consecutive frames that are averaged; None for about :data:`STEP_SECONDS`.
        max_seconds: longer clips are cut here.
    """

    def __init__(self, encoder: SpeechEncoder, pool: int | None = None, max_seconds: float = MAX_SECONDS) -> None:
        self.encoder = encoder
        self.pool = pool or max(1, round(STEP_SECONDS * encoder.frame_rate))
        self.max_seconds = max_seconds

    @classmethod
    def from_info(cls, info: ExtractorInfo, weights: Path | None = None, device: str = "cpu") -> PooledEncoder:
        """Build what made the frames that ``info`` describes, as it stands in ``extractor.json`` or in a bundle.

        Raises:
            UserError: no such encoder, weights missing or not the same, or settings that this version cannot repeat.
        """
        numbers = {name: info.options.get(name) for name in ("pool", "max_seconds")}
        for name, value in numbers.items():
            if not isinstance(value, (int, float)) or not 0 < value <= 3600:
                raise UserError(f"the model's speech frames have {name} {value!r}; export the model again")
        encoder = ENCODERS.get(info.name).from_info(info, weights, device)
        pooled = cls(encoder, int(numbers["pool"] or 0), float(numbers["max_seconds"] or 0))
        # Frames made in another way than for training would give answers that mean nothing.
        own = pooled.info()
        if info.weights_sha256 != own.weights_sha256:
            raise UserError(f"{weights or info.name}: not the weights this model was trained with (another sha256)")
        for name in {**info.options, **own.options}:
            trained, now = info.options.get(name), own.options.get(name)
            if trained != now:
                raise UserError(
                    f"the model's {info.name} frames were made with {name} {trained!r}, this version makes them with "
                    f"{now!r}; install the version that trained the model"
                )
        return pooled

    @property
    def frame_rate(self) -> float:
        """Return frames per second, after pooling."""
        return self.encoder.frame_rate / self.pool

    def info(self) -> ExtractorInfo:
        """Describe the frames, for ``extractor.json``."""
        from ...data.frames import ExtractorInfo
        from ..media.sound import resampler_version

        encoder = self.encoder
        return ExtractorInfo(
            name=encoder.name,
            options={
                **encoder.options,
                "sample_rate": SAMPLE_RATE,
                "max_seconds": self.max_seconds,
                "pool": self.pool,
            },
            weights_sha256=encoder.weights_sha256,
            frame_rate=self.frame_rate,
            dim=encoder.dim,
            version=f"{encoder.version}; {resampler_version()}",
        )

    def encode(self, samples: np.ndarray) -> np.ndarray:
        """Encode one clip, float32 ``(N,)`` at 16 kHz, to pooled frames float32 ``(A, dim)``.

        Raises:
            DefectiveClip: too short for a frame, or the encoder gives NaN or infinite values.
        """
        samples = samples[: round(self.max_seconds * SAMPLE_RATE)]
        check_length(samples, self.encoder.shortest)
        return self.pooled(self.encoder.encode(samples[None])[0])

    def pooled(self, frames: np.ndarray) -> np.ndarray:
        """Average groups of ``pool`` frames of the encoder; the last group may be shorter.

        Raises:
            DefectiveClip: NaN or infinite values.
        """
        import numpy as np

        if not np.isfinite(frames).all():
            raise DefectiveClip("the encoder gave NaN or infinite frames")
        return pool_frames(frames, self.pool)


@cache
def build_speech(options: SpeechOptions) -> PooledEncoder:
    """Build an encoder, once in each process.

    Raises:
        UserError: an unknown name, or options, weights or a device that cannot be used.
    """
    encoder = ENCODERS.get(options.encoder)
    own = encoder.Options() if options.options is None else options.options
    return PooledEncoder(encoder.from_options(own, options.device), options.pool, options.max_seconds)


def check_device(device: str) -> None:
    """Refuse a GPU where there is none.

    Raises:
        UserError: ``device`` is ``cuda`` and cannot be used.
    """
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {device}: this machine has no usable CUDA device; give --device cpu")


@contextmanager
def memory_for(batch: int) -> Iterator[None]:
    """Name the flag to change when a batch of so many clips does not fit the device.

    Raises:
        UserError: it does not.
    """
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise UserError(
            f"--batch-size {batch}: the batch does not fit the device's memory; give a smaller one"
        ) from None


def normalize_clip(waveform: np.ndarray) -> np.ndarray:
    """Bring one clip ``(N,)`` to zero mean and unit variance; silence stays zero."""
    import numpy as np

    mean, variance = waveform.mean(dtype=np.float64), waveform.var(dtype=np.float64)
    return ((waveform - mean) / np.sqrt(variance + _VARIANCE_FLOOR)).astype(np.float32)


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of settings in a Hugging Face folder.

    Raises:
        UserError: no such file, or one that is no JSON object.
    """
    try:
        content = json.loads(regular(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; a Hugging Face folder has config.json beside the weights") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not JSON ({error}); give the folder as published") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object; give the folder as published")
    return content


def check_length(samples: np.ndarray, shortest: int) -> None:
    """Refuse a clip that is too short for a frame.

    Raises:
        DefectiveClip: fewer samples than ``shortest``.
    """
    if len(samples) < shortest:
        lasts, needed = (f"{1000 * count / SAMPLE_RATE:.4g} ms" for count in (len(samples), shortest))
        raise DefectiveClip(f"the sound lasts {lasts}, shorter than one frame ({needed})")


def pool_frames(frames: np.ndarray, size: int) -> np.ndarray:
    """Average ``size`` consecutive frames: ``(T, D)`` to ``(ceil(T / size), D)``; the last group may be shorter."""
    import numpy as np

    starts = np.arange(0, len(frames), size)
    counts = np.diff(starts, append=len(frames))
    sums = np.add.reduceat(frames, starts, axis=0, dtype=np.float64)
    return (sums / counts[:, None]).astype(np.float32)
