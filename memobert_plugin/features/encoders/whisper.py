"""Whisper's encoder as a frozen speech encoder (Radford et al., 2022): the shipped tiny.en, or a folder of any size.

Two formats of folders are read: CTranslate2's (``model.bin``) and Hugging Face's (``config.json`` beside
``model.safetensors`` or ``pytorch_model.bin``). The decoder is not needed. ``whisper_tiny_en.md`` says how the shipped
weights were made.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...core.errors import UserError
from ...core.files import regular
from ...core.names import SAMPLE_RATE
from .base import ENCODERS, SpeechEncoder, check_device

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from ...data.frames import ExtractorInfo

SHIPPED: Final = Path(__file__).with_name("whisper_tiny_en.safetensors")
"""The encoder of tiny.en in half precision, under CTranslate2's names."""
HEADS: Final = "num_heads"
ORIGIN: Final = "converted_from"
"""Key of the shipped file's header: the sha256 of the weights that it was converted from."""

LAYER_OF_EMOTION: Final = 3
"""Layer of the shipped encoder, of four, whose states tell most of emotions (docs/film.md has the comparison)."""

_FFT, _HOP = 400, 160
_NORM_EPS: Final = 1e-5
_MOST_BYTES: Final = 8 << 30
_ADVICE: Final = "give a folder of Whisper in CTranslate2's or Hugging Face's format"
_LAYER_PARTS: Final = {
    "self_attn_layer_norm": "self_attention/layer_norm",
    "self_attn.out_proj": "self_attention/linear_1",
    "final_layer_norm": "ffn/layer_norm",
    "fc1": "ffn/linear_0",
    "fc2": "ffn/linear_1",
}
"""Hugging Face's names of a layer's parts, and CTranslate2's, under which :class:`Whisper` keeps them."""


@dataclass(frozen=True)
class WhisperOptions:
    """The folder of weights, and which layer is read."""

    weights: Path | None = field(
        default=None,
        metadata={
            "help": "a folder of Whisper, CTranslate2 or Hugging Face (default: the shipped encoder of tiny.en)",
            "metavar": "PATH",
        },
    )
    layer: int | None = field(
        default=None,
        metadata={
            "help": "read the encoder's layer K, from 1, unnormalised (default: the last one, normalised); "
            f"{LAYER_OF_EMOTION} of the shipped encoder's four tells more of emotions"
        },
    )


@ENCODERS.register("whisper")
class Whisper(SpeechEncoder):
    """Hidden states of Whisper's encoder at 50 frames a second.

    The spectrogram ends with the clip, so that a clip costs what its length costs. Whisper itself pads every clip to 30
    seconds, which changes the frames (by a quarter of their norm on four-second clips of tiny.en).
    """

    name = "whisper"
    summary = "Whisper's encoder: the shipped tiny.en, or a folder of any size"
    Options = WhisperOptions
    batched = True
    frame_rate = SAMPLE_RATE / _HOP / 2
    shortest = _FFT

    def __init__(self, folder: Path | None = None, layer: int | None = None, device: str = "cpu") -> None:
        import torch

        check_device(device)
        self.shipped = folder is None
        weights, self.heads, self.weights_sha256 = _read_shipped() if folder is None else read_whisper(folder)
        self.layers = sum(name.endswith("self_attention/layer_norm/gamma") for name in weights)
        self.dim = len(weights["layer_norm/gamma"])
        self.positions = len(weights["position_encodings/encodings"])
        if layer is not None and not 1 <= layer <= self.layers:
            of = folder or "the shipped encoder"
            raise UserError(f"--layer {layer}: {of} has {self.layers} layers; give 1 to {self.layers}")
        self.layer, self.device = layer, device
        self.weights = {name: value.to(device) for name, value in weights.items()}
        self.filters = torch.from_numpy(mel_filters(weights["conv1/weight"].shape[1])).to(device)
        self.version = f"torch {torch.__version__}"

    @classmethod
    def from_options(cls, options: WhisperOptions, device: str = "cpu") -> Whisper:
        """Read the weights.

        Raises:
            UserError: no Whisper in the folder, no such layer, or no such device.
        """
        return cls(options.weights, options.layer, device)

    @classmethod
    def from_info(cls, info: ExtractorInfo, weights: Path | None = None, device: str = "cpu") -> SpeechEncoder:
        """Build the encoder of a model's training; without ``weights`` the shipped one, if the model was trained on it.

        A model that was trained on the folder from which the shipped weights were converted is read with these: that
        folder holds the same numbers. Its sha256 is then the encoder's ``weights_sha256``.
        """
        if weights is None and info.weights_sha256 is not None:
            _, _, sha256 = _read_shipped()
            if info.weights_sha256 in (sha256, _origin()):
                encoder = cls(None, info.options.get("layer"), device)
                encoder.weights_sha256 = info.weights_sha256
                return encoder
        return super().from_info(info, weights, device)

    @property
    def options(self) -> dict[str, Any]:
        """Return what the frames depend on besides the weights."""
        return {"layer": self.layer}

    @property
    def remark(self) -> str:
        """Return that the weights are the shipped ones, and that another layer serves better; empty for a folder."""
        if not self.shipped:
            return ""
        advice = "" if self.layer else f"; --layer {LAYER_OF_EMOTION} tells more of emotions"
        return f"the shipped encoder of tiny.en{advice}"

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """Encode clips of equal length.

        Args:
            waveforms: float32 ``(B, N)`` at 16 kHz in [-1, 1], N >= 400.

        Returns:
            float32 ``(B, T, D)``, ``T = ceil((N // 160) / 2)``.

        Raises:
            UserError: the clips are longer than the model's positions (30 seconds).
        """
        import torch

        with torch.inference_mode():
            mel = log_mel(torch.from_numpy(waveforms).to(self.device), self.filters)
            if -(-mel.shape[2] // 2) > self.positions:
                longest = self.positions / self.frame_rate
                raise UserError(f"--max-seconds: Whisper reads at most {longest:g} s; give a smaller number")
            return self._hidden(mel).float().cpu().numpy()

    def _hidden(self, mel: Tensor) -> Tensor:
        from torch.nn import functional

        weights = self.weights
        hidden = functional.gelu(functional.conv1d(mel, weights["conv1/weight"], weights["conv1/bias"], padding=1))
        hidden = functional.conv1d(hidden, weights["conv2/weight"], weights["conv2/bias"], stride=2, padding=1)
        hidden = functional.gelu(hidden).transpose(1, 2)
        hidden = hidden + weights["position_encodings/encodings"][: hidden.shape[1]]
        for layer in range(self.layer or self.layers):
            hidden = hidden + self._attention(self._norm(hidden, f"layer_{layer}/self_attention/layer_norm"), layer)
            inner = self._linear(self._norm(hidden, f"layer_{layer}/ffn/layer_norm"), f"layer_{layer}/ffn/linear_0")
            hidden = hidden + self._linear(functional.gelu(inner), f"layer_{layer}/ffn/linear_1")
        return hidden if self.layer else self._norm(hidden, "layer_norm")

    def _attention(self, normed: Tensor, layer: int) -> Tensor:
        from torch.nn import functional

        batch, frames, width = normed.shape
        projected = self._linear(normed, f"layer_{layer}/self_attention/linear_0")
        query, key, value = projected.view(batch, frames, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        attended = attended.transpose(1, 2).reshape(batch, frames, width)
        return self._linear(attended, f"layer_{layer}/self_attention/linear_1")

    def _norm(self, hidden: Tensor, name: str) -> Tensor:
        from torch.nn import functional

        scale, shift = self.weights[f"{name}/gamma"], self.weights[f"{name}/beta"]
        return functional.layer_norm(hidden, scale.shape, scale, shift, _NORM_EPS)

    def _linear(self, hidden: Tensor, name: str) -> Tensor:
        from ...nn.linear import linear

        return linear(hidden, self.weights[f"{name}/weight"], self.weights[f"{name}/bias"])


def mel_filters(bands: int) -> np.ndarray:
    """Return Slaney's triangular mel filters, each of unit area: float32 ``(bands, 201)`` for 400 samples at 16 kHz."""
    import numpy as np

    # Linear below 1 kHz (200/3 Hz a mel), logarithmic above (a factor of 6.4 in 27 mels).
    highest = 15.0 + math.log(SAMPLE_RATE / 2 / 1000.0) / (math.log(6.4) / 27.0)
    mels = np.linspace(0.0, highest, bands + 2)
    edges = np.where(mels < 15.0, mels * 200.0 / 3.0, 1000.0 * np.exp((mels - 15.0) * math.log(6.4) / 27.0))
    frequencies = np.linspace(0.0, SAMPLE_RATE / 2, _FFT // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    return (np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (high - low)).astype(np.float32)


def log_mel(samples: Tensor, filters: Tensor) -> Tensor:
    """Return Whisper's input features.

    Args:
        samples: float32 ``(B, N)``.
        filters: ``(bands, 201)``.

    Returns:
        float32 ``(B, bands, N // 160)``: log10, at most 8 below the clip's maximum, then (x + 4) / 4.
    """
    import torch

    window = torch.hann_window(_FFT, device=samples.device)
    spectrum = torch.stft(samples, _FFT, _HOP, window=window, return_complex=True)[..., :-1]
    logarithm = (filters @ spectrum.abs().square()).clamp(min=1e-10).log10()
    logarithm = torch.maximum(logarithm, logarithm.amax(dim=(1, 2), keepdim=True) - 8.0)
    return (logarithm + 4.0) / 4.0


@cache
def _read_shipped() -> tuple[dict[str, Tensor], int, str]:
    """Return the shipped weights as :func:`read_whisper` does."""
    from safetensors.torch import load

    try:
        content = SHIPPED.read_bytes()
    except OSError as error:
        raise UserError(f"{SHIPPED}: cannot be read ({error.strerror}); install the package again") from None
    weights = load(content)
    heads = int(weights.pop(HEADS))
    return {name: value.float() for name, value in weights.items()}, heads, hashlib.sha256(content).hexdigest()


def _origin() -> str:
    """Return the sha256 of the weights that the shipped ones were converted from."""
    from safetensors import safe_open

    with safe_open(SHIPPED, framework="pt") as file:
        return str(file.metadata()[ORIGIN])


def read_whisper(folder: Path) -> tuple[dict[str, Tensor], int, str]:
    """Read the encoder's weights.

    Returns:
        float32 weights by CTranslate2's names below ``encoder/``, the number of heads, the sha256 of the weights' file.

    Raises:
        UserError: the folder holds no Whisper, or a damaged one.
    """
    if (folder / "model.bin").is_file():
        weights, heads, sha256 = _read_ctranslate2(folder / "model.bin")
    elif (folder / "config.json").is_file():
        weights, heads, sha256 = _read_hugging_face(folder)
    else:
        raise UserError(f"{folder}: holds neither model.bin nor config.json; {_ADVICE}")
    expected = ("conv1/weight", "conv2/weight", "position_encodings/encodings", "layer_norm/gamma", "layer_norm/beta")
    missing = [name for name in expected if name not in weights]
    if missing or heads < 1:
        raise UserError(f"{folder}: no encoder of Whisper (it lacks {', '.join(missing) or 'heads'}); {_ADVICE}")
    return weights, heads, sha256


def _read_ctranslate2(path: Path) -> tuple[dict[str, Tensor], int, str]:
    """Read a model file of CTranslate2, version 6: names, shapes, types and bytes one after another."""
    import numpy as np

    content = _content(path)
    kinds = (np.float32, np.int8, np.int16, np.int32, np.float16)
    arrays: dict[str, np.ndarray] = {}
    offset = 0

    def number(form: str) -> int:
        nonlocal offset
        (value,) = struct.unpack_from(f"<{form}", content, offset)
        offset += struct.calcsize(form)
        return int(value)

    def name() -> str:
        nonlocal offset
        length = number("H")
        text = content[offset : offset + length].rstrip(b"\0").decode()
        offset += length
        return text

    try:
        number("I")
        specification = name()
        if specification != "WhisperSpec":
            raise UserError(f"{path}: holds a {specification or 'nameless model'}, not Whisper; {_ADVICE}")
        number("I")
        for _ in range(number("I")):
            key = name()
            shape = [number("I") for _ in range(number("B"))]
            kind, size = np.dtype(kinds[number("B")]), number("I")
            arrays[key] = np.frombuffer(content, kind, size // kind.itemsize, offset).reshape(shape)
            offset += size
    except (struct.error, ValueError, IndexError, UnicodeDecodeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: is damaged or of another version of CTranslate2 ({error}); {_ADVICE}") from None
    prefix = "encoder/"
    own = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
    heads = int(own.pop("num_heads", np.zeros(())).item())
    return _dequantized(own), heads, hashlib.sha256(content).hexdigest()


def _dequantized(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Return float32 tensors; int8 weights are divided by the scale of their row."""
    import torch

    weights = {}
    for name, value in arrays.items():
        if name.endswith("_scale"):
            continue
        scale = arrays.get(f"{name}_scale")
        tensor = torch.from_numpy(value.astype("float32"))
        weights[name] = tensor if scale is None else tensor / torch.from_numpy(scale.astype("float32")).view(-1, 1)
    return weights


def _read_hugging_face(folder: Path) -> tuple[dict[str, Tensor], int, str]:
    """Read the encoder of a Hugging Face folder and bring it to CTranslate2's names."""
    import torch

    try:
        configuration = json.loads(_content(folder / "config.json"))
        kind, heads = configuration.get("model_type"), configuration.get("encoder_attention_heads", 0)
    except (ValueError, AttributeError) as error:
        raise UserError(f"{folder / 'config.json'}: cannot be read as JSON ({error}); {_ADVICE}") from None
    if kind != "whisper" or not isinstance(heads, int):
        raise UserError(f"{folder}: holds a {kind} model, not Whisper; {_ADVICE}")
    found, sha256 = _read_tensors(folder)
    own = {name.partition("encoder.")[2]: value.float() for name, value in found.items() if "encoder." in name}
    weights = {
        f"{new}/{part}": own[f"{old}.{part}"]
        for old, new in (("conv1", "conv1"), ("conv2", "conv2"))
        for part in ("weight", "bias")
        if f"{old}.{part}" in own
    }
    if "embed_positions.weight" in own:
        weights["position_encodings/encodings"] = own["embed_positions.weight"]
    layers = 1 + max((int(name.split(".")[1]) for name in own if name.startswith("layers.")), default=-1)
    try:
        for layer in range(layers):
            theirs = f"layers.{layer}"
            for old, new in _LAYER_PARTS.items():
                parts = ("gamma", "beta") if "norm" in old else ("weight", "bias")
                for part, source in zip(parts, ("weight", "bias"), strict=True):
                    weights[f"layer_{layer}/{new}/{part}"] = own[f"{theirs}.{old}.{source}"]
            query = own[f"{theirs}.self_attn.q_proj.bias"]
            # The key's projection has no bias.
            biases = (query, torch.zeros_like(query), own[f"{theirs}.self_attn.v_proj.bias"])
            stacked = [own[f"{theirs}.self_attn.{one}_proj.weight"] for one in "qkv"]
            weights[f"layer_{layer}/self_attention/linear_0/weight"] = torch.cat(stacked)
            weights[f"layer_{layer}/self_attention/linear_0/bias"] = torch.cat(biases)
        weights["layer_norm/gamma"], weights["layer_norm/beta"] = own["layer_norm.weight"], own["layer_norm.bias"]
    except KeyError as error:
        raise UserError(f"{folder}: its weights lack {error.args[0]}; {_ADVICE}") from None
    return weights, heads, sha256


def _read_tensors(folder: Path) -> tuple[dict[str, torch.Tensor], str]:
    """Read ``model.safetensors`` or ``pytorch_model.bin``, of which nothing is run."""
    import io
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    for name in ("model.safetensors", "pytorch_model.bin"):
        path = folder / name
        if not path.is_file():
            continue
        content = _content(path)
        try:
            if name.endswith(".safetensors"):
                tensors = load(content)
            else:
                tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
            reason = str(error).partition("\n")[0][:200]
            raise UserError(f"{path}: is damaged or holds more than tensors ({reason}); {_ADVICE}") from None
        return tensors, hashlib.sha256(content).hexdigest()
    raise UserError(f"{folder}: holds neither model.safetensors nor pytorch_model.bin; {_ADVICE}")


def _content(path: Path) -> bytes:
    try:
        if regular(path).stat().st_size > _MOST_BYTES:
            raise UserError(f"{path}: is larger than any Whisper; {_ADVICE}")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); {_ADVICE}") from None
