"""A Hugging Face BERT folder: its sizes and its tensors, checked before anything is made of them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError


@dataclass(frozen=True)
class BertConfig:
    """What ``config.json`` says of the network."""

    layers: int
    hidden: int
    ffn: int
    heads: int
    max_positions: int

    @classmethod
    def read(cls, path: Path) -> BertConfig:
        """Read the file and refuse a network that the plugin's would not equal.

        Raises:
            UserError: unreadable, a size missing or impossible, or not BERT's activation, positions or LayerNorm.
        """
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as JSON ({error}); give a Hugging Face BERT folder") from None
        if not isinstance(settings, dict):
            raise UserError(f"{path}: holds no JSON object; give a Hugging Face BERT folder")
        required = {
            "model_type": "bert",
            "hidden_act": "gelu",
            "position_embedding_type": "absolute",
            "layer_norm_eps": 1e-12,
            "type_vocab_size": 2,
        }
        for name, value in required.items():
            if settings.get(name, value) != value:
                raise UserError(f"{path}: {name} is {settings[name]!r}; only a BERT with {value!r} can be imported")
        config = cls(
            layers=_size(path, settings, "num_hidden_layers"),
            hidden=_size(path, settings, "hidden_size"),
            ffn=_size(path, settings, "intermediate_size"),
            heads=_size(path, settings, "num_attention_heads"),
            max_positions=_size(path, settings, "max_position_embeddings"),
        )
        if config.hidden % config.heads:
            raise UserError(
                f"{path}: hidden_size {config.hidden} is not a multiple of num_attention_heads {config.heads}; "
                "restore the file that came with the weights"
            )
        return config


def _size(path: Path, settings: Mapping[str, object], name: str) -> int:
    value = settings.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{path}: {name} is {value!r}, expected a positive whole number")
    return value


class BertTensors:
    """A weight file's tensors under today's names of the bare network, and a record of which were taken.

    Files differ in whether names start with ``bert.`` and in whether a LayerNorm has ``weight`` and ``bias`` or
    ``gamma`` and ``beta``.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        self.path = path
        self._tensors = tensors
        self._file_names: dict[str, str] = {}
        for name in tensors:
            twin = self._file_names.setdefault(_current_name(name), name)
            if twin != name:
                raise UserError(f"{path}: holds both {twin} and {name}; keep the one that is meant")
        self._taken: set[str] = set()

    @classmethod
    def read(cls, folder: Path) -> BertTensors:
        """Open ``model.safetensors``, or ``pytorch_model.bin`` without running anything that it may contain.

        Raises:
            UserError: neither is there, or the file is damaged or holds something other than tensors.
        """
        safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
        if safe.is_file():
            return cls(safe, _read_safetensors(safe))
        if pickled.is_file():
            return cls(pickled, _read_pickled(pickled))
        raise UserError(f"{folder}: holds neither {safe.name} nor {pickled.name}; give a Hugging Face BERT folder")

    def __contains__(self, name: str) -> bool:
        return name in self._file_names

    def has_any(self, prefix: str) -> bool:
        """Whether a tensor's name starts so."""
        return any(name.startswith(prefix) for name in self._file_names)

    def require(self, names: Iterable[str]) -> None:
        """Raise a :class:`UserError` that lists whichever of these the file lacks."""
        if missing := [name for name in names if name not in self]:
            raise UserError(f"{self.path}: lacks {', '.join(missing)}; give the weights of a whole BERT")

    def take(self, name: str, shape: tuple[int | None, ...]) -> Tensor:
        """A float32 copy of a tensor, of this shape, where None stands for any size.

        Raises:
            UserError: another shape, whole numbers, or NaN or infinite values.
        """
        file_name = self._file_names[name]
        tensor = self._tensors[file_name]
        fits = len(shape) == tensor.dim() and all(a in (None, b) for a, b in zip(shape, tensor.shape, strict=True))
        if not fits:
            expected = " x ".join("any" if size is None else str(size) for size in shape)
            raise UserError(
                f"{self.path}: {file_name} is {' x '.join(map(str, tensor.shape))}, expected {expected}; "
                "give the config.json that belongs to these weights"
            )
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise UserError(f"{self.path}: {file_name} holds NaN, infinite or whole numbers; fetch the file again")
        self._taken.add(name)
        return tensor.to(torch.float32, copy=True).contiguous()

    def unused(self) -> list[str]:
        """The file's names of tensors that nobody took, but for the buffer of position numbers, which is no weight."""
        rest = self._file_names.keys() - self._taken - {"embeddings.position_ids"}
        return sorted(self._file_names[name] for name in rest)


def _current_name(name: str) -> str:
    name = name.removeprefix("bert.")
    for old, current in ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias")):
        if name.endswith(old):
            return name.removesuffix(old) + current
    return name


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is damaged ({error}); fetch it again") from None


def _read_pickled(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: is damaged or holds something other than tensors, and was not opened; "
            "fetch it again from a source you trust, best as model.safetensors"
        ) from None
    except Exception as error:
        first_line = str(error).partition("\n")[0]
        raise UserError(f"{path}: is damaged ({first_line}); fetch it again") from None
    named = isinstance(content, dict) and all(isinstance(name, str) for name in content)
    if not named or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path}: is not a dictionary of named tensors; give the file as Hugging Face's tools write it")
    return content
