"""Speech encoders of any tool as ONNX files: waveform in, frames out, run by ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...core.errors import UserError
from ...core.files import sha256_of
from ...core.names import SAMPLE_RATE
from ...core.onnx import onnx_reason, onnx_session, onnx_version
from .base import ENCODERS, SpeechEncoder, normalize_clip

if TYPE_CHECKING:
    import numpy as np

    from ...data.frames import ExtractorInfo

_SHORT, _LONG = 2 * SAMPLE_RATE, 10 * SAMPLE_RATE


@dataclass(frozen=True)
class OnnxOptions:
    """The file, its output, and the level of clips."""

    weights: Path = field(
        metadata={"help": "an ONNX file: float waveforms (batch, samples) at 16 kHz in", "metavar": "PATH"}
    )
    onnx_output: str | None = field(
        default=None, metadata={"help": "output that is read (default: the first of frames)", "metavar": "NAME"}
    )
    normalize: Literal["never", "always"] = field(
        default="never", metadata={"help": "bring clips to zero mean and unit variance"}
    )


@ENCODERS.register("onnx")
class OnnxSpeech(SpeechEncoder):
    """Frames ``(batch, frames, dim)`` that an ONNX file makes of waveforms ``(batch, samples)``.

    The step between frames and the shortest clip are found by trying: two lengths tell the step in samples.

    Args:
        path: the file.
        output: name of the output; None for the first with three dimensions.
        normalized: whether clips get zero mean and unit variance.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: ONNX Runtime is missing, a damaged file, one of other inputs or outputs, or no such device.
    """

    name = "onnx"
    summary = "an ONNX file of any tool"
    Options = OnnxOptions

    def __init__(self, path: Path, output: str | None = None, normalized: bool = False, device: str = "cpu") -> None:
        import torch

        self._path, self.normalized = path, normalized
        self._session = onnx_session(path, device, torch.get_num_threads(), "--encoder onnx")
        self._input = _waveform_input(path, self._session)
        self.output = _frame_output(path, self._session, output)
        try:
            short, long = (self._frames(_noise(length)) for length in (_SHORT, _LONG))
        except Exception as error:  # of the runtime, whatever a foreign graph meets
            raise UserError(f"{path}: does not take a clip of {_SHORT} samples ({onnx_reason(error)})") from None
        if not len(short) < len(long):
            raise UserError(f"{path}: {self.output} has no more frames for a longer clip; name another (--onnx-output)")
        self._stride = round((_LONG - _SHORT) / (len(long) - len(short)))
        self.frame_rate = SAMPLE_RATE / self._stride
        self.dim = int(long.shape[1])
        self.shortest = self._find_shortest()
        self.weights_sha256 = sha256_of(path)
        self.version = onnx_version()

    @classmethod
    def from_options(cls, options: OnnxOptions, device: str = "cpu") -> OnnxSpeech:
        """Build the encoder."""
        return cls(options.weights, options.onnx_output, options.normalize == "always", device)

    @classmethod
    def from_info(cls, info: ExtractorInfo, weights: Path | None = None, device: str = "cpu") -> SpeechEncoder:
        """Build the encoder that made the frames which ``info`` describes."""
        from dataclasses import replace

        normalize = "always" if info.options.get("normalized") else "never"
        own = {"onnx_output": info.options.get("output"), "normalize": normalize}
        return super().from_info(replace(info, options=own), weights, device)

    @property
    def options(self) -> dict[str, Any]:
        """Return the output and whether clips are normalised."""
        return {"output": self.output, "normalized": self.normalized}

    @property
    def remark(self) -> str:
        """Tell what was found by trying."""
        return f"{self.dim} values every {self._stride} samples, clips of {self.shortest} samples and more"

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """Encode clips of equal length, one by one: many files have a fixed batch of one.

        Args:
            waveforms: float32 ``(B, N)`` at 16 kHz, N >= :attr:`shortest`.

        Returns:
            float32 ``(B, T, D)``.

        Raises:
            UserError: the file does not take a clip of this length.
        """
        import numpy as np

        try:
            return np.stack([self._frames(waveform) for waveform in waveforms])
        except Exception as error:  # of the runtime
            raise UserError(
                f"{self._path}: does not take a clip of {waveforms.shape[1]} samples ({onnx_reason(error)})"
            ) from None

    def _frames(self, waveform: np.ndarray) -> np.ndarray:
        """Return frames ``(T, D)`` of one clip ``(N,)``."""
        import numpy as np

        if self.normalized:
            waveform = normalize_clip(waveform)
        (found,) = self._session.run([self.output], {self._input: waveform[None]})
        return np.asarray(found[0], dtype=np.float32)

    def _find_shortest(self) -> int:
        """Return the fewest samples that give a frame, by halving."""
        too_short, enough = 0, _SHORT
        while enough - too_short > 1:
            middle = (too_short + enough) // 2
            try:
                long_enough = len(self._frames(_noise(middle))) > 0
            except Exception:  # of the runtime: no clip of this length
                long_enough = False
            too_short, enough = (too_short, middle) if long_enough else (middle, enough)
        return enough


def _waveform_input(path: Path, session: Any) -> str:
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 2:
        found = ", ".join(f"{each.name}: {each.type} {each.shape}" for each in inputs)
        raise UserError(f"{path}: takes {found or 'nothing'}; it must take one float waveform (batch, samples)")
    return str(inputs[0].name)


def _frame_output(path: Path, session: Any, wanted: str | None) -> str:
    outputs = {each.name: each for each in session.get_outputs()}
    frames = [name for name, each in outputs.items() if len(each.shape or ()) == 3]
    if wanted is not None and wanted not in outputs:
        raise UserError(f"--onnx-output {wanted}: {path} has {', '.join(outputs)}")
    if wanted is None and not frames:
        raise UserError(f"{path}: none of its outputs ({', '.join(outputs)}) is frames (batch, frames, values)")
    return wanted or frames[0]


def _noise(samples: int) -> np.ndarray:
    import numpy as np

    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)
