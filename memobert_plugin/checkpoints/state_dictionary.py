"""Read files of named tensors from elsewhere without running anything, and map them to the plugin's parameters."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import UserError
from ..core.files import regular


def read_pickled_tensors(path: Path) -> dict[str, Tensor]:
    """Open a state dictionary that ``torch.save`` wrote, without running anything that it may contain.

    Raises:
        UserError: the file is missing, damaged, or holds something other than named tensors.
    """
    try:
        content = torch.load(regular(path), map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); give the file with the weights") from None
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: is damaged or holds something other than tensors, and was not opened; "
            "fetch it again from a source you trust"
        ) from None
    except Exception as error:
        first_line = str(error).partition("\n")[0]
        raise UserError(f"{path}: is damaged ({first_line}); fetch it again") from None
    named = isinstance(content, dict) and all(isinstance(name, str) for name in content)
    if not named or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path}: is not a dictionary of named tensors; give a model's state dictionary")
    return dict(content)


class StateDictionary:
    """The tensors of a weight file under one naming, with a record of the ones that were taken.

    Args:
        path: the file, for messages.
        tensors: its content.
        advice: the end of messages about a missing tensor or another shape.
        current_name: turns a name in the file into the name by which it is taken.
    """

    def __init__(
        self, path: Path, tensors: Mapping[str, Tensor], advice: str, current_name: Callable[[str], str]
    ) -> None:
        self.path = path
        self._tensors = tensors
        self._advice = advice
        self._file_names: dict[str, str] = {}
        for name in tensors:
            twin = self._file_names.setdefault(current_name(name), name)
            if twin != name:
                raise UserError(f"{path}: holds both {twin} and {name}; keep one of them")
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._file_names

    def starting_with(self, *prefixes: str) -> list[str]:
        """List the names that start with one of these."""
        return [name for name in self._file_names if name.startswith(prefixes)]

    def require(self, names: Iterable[str]) -> None:
        """Raise a :class:`UserError` that lists the names that the file lacks, if any."""
        if missing := [name for name in names if name not in self]:
            raise UserError(f"{self.path}: lacks {', '.join(missing)}; {self._advice}")

    def size(self, name: str, axis: int) -> int:
        """Return one size of a tensor, which must have that axis."""
        shape = self._tensors[self._file_names[name]].shape
        if len(shape) <= axis:
            raise UserError(f"{self.path}: {self._file_names[name]} has only {len(shape)} axes; {self._advice}")
        return shape[axis]

    def take(self, name: str, shape: tuple[int | None, ...]) -> Tensor:
        """Return a float32 copy of a tensor of this shape; None stands for any size.

        Raises:
            UserError: another shape, whole numbers, or NaN or infinite values.
        """
        file_name = self._file_names[name]
        tensor = self._tensors[file_name]
        fits = len(shape) == tensor.dim() and all(a in (None, b) for a, b in zip(shape, tensor.shape, strict=True))
        if not fits:
            expected = " x ".join("any" if size is None else str(size) for size in shape)
            raise UserError(
                f"{self.path}: {file_name} is {' x '.join(map(str, tensor.shape))}, expected {expected}; {self._advice}"
            )
        copy = tensor.to(torch.float32, copy=True).contiguous()
        if not tensor.is_floating_point() or not torch.isfinite(copy).all():
            raise UserError(f"{self.path}: {file_name} holds NaN, infinite or whole numbers; fetch the file again")
        self._taken.add(name)
        return copy

    def take_tied(self, name: str, twin: str) -> None:
        """Take a tensor, if it is there, that must equal another: the model has one parameter for both.

        Raises:
            UserError: they differ.
        """
        if name not in self:
            return
        original = self.take(twin, (None, None))
        if not torch.equal(self.take(name, tuple(original.shape)), original):
            raise UserError(
                f"{self.path}: {self._file_names[name]} is not {self._file_names[twin]}; "
                "only a network whose decoder repeats its input weights can be imported"
            )

    def unused(self, except_for: Iterable[str] = ()) -> list[str]:
        """List the file's names of tensors that were not taken, except for some."""
        rest = self._file_names.keys() - self._taken - set(except_for)
        return sorted(self._file_names[name] for name in rest)


Sizes = Mapping[str, int]
"""Sizes by the names in shapes: ``hidden``, ``ffn``, ``positions`` and those of an importer."""


@dataclass(frozen=True)
class Origin:
    """The origin of a parameter: the tensors that are stacked to make it, each of this shape."""

    name: str
    tensors: tuple[str, ...]
    shape: tuple[str | int, ...]

    def parameter(self, source: StateDictionary, sizes: Sizes) -> Tensor:
        """Return the parameter as float32.

        Raises:
            UserError: a tensor has another shape, or NaN or infinite values.
        """
        shape = tuple(size if isinstance(size, int) else sizes[size] for size in self.shape)
        return torch.cat([source.take(name, shape) for name in self.tensors])


def table(name: str, origin: str, *shape: str | int) -> Iterator[Origin]:
    """Yield the origin of an embedding table."""
    yield Origin(f"{name}.weight", (f"{origin}.weight",), shape)


def module(name: str, origins: tuple[str, ...], *weight_shape: str | int) -> Iterator[Origin]:
    """Yield the origins of weight and bias of a linear layer or LayerNorm, stacked from one or several modules."""
    yield Origin(f"{name}.weight", tuple(f"{origin}.weight" for origin in origins), weight_shape)
    yield Origin(f"{name}.bias", tuple(f"{origin}.bias" for origin in origins), weight_shape[:1])


def bert_body(layers: int, prefix: str) -> Iterator[Origin]:
    """Yield the origins of the text embedder (but its words) and the transformer; BERT's names follow ``prefix``."""
    text = f"{prefix}embeddings"
    yield from table("text_embedder.position", f"{text}.position_embeddings", "positions", "hidden")
    yield from table("text_embedder.token_type", f"{text}.token_type_embeddings", 2, "hidden")
    yield from module("text_embedder.norm", (f"{text}.LayerNorm",), "hidden")
    for number in range(layers):
        layer, bert = f"encoder.layers.{number}", f"{prefix}encoder.layer.{number}"
        projections = tuple(f"{bert}.attention.self.{part}" for part in ("query", "key", "value"))
        yield from module(f"{layer}.attention.qkv", projections, "hidden", "hidden")
        yield from module(f"{layer}.attention.out", (f"{bert}.attention.output.dense",), "hidden", "hidden")
        yield from module(f"{layer}.attention_norm", (f"{bert}.attention.output.LayerNorm",), "hidden")
        yield from module(f"{layer}.ffn_in", (f"{bert}.intermediate.dense",), "ffn", "hidden")
        yield from module(f"{layer}.ffn_out", (f"{bert}.output.dense",), "hidden", "ffn")
        yield from module(f"{layer}.ffn_norm", (f"{bert}.output.LayerNorm",), "hidden")


def bert_pooler(prefix: str) -> Iterator[Origin]:
    """Yield the origins of the pooler; BERT's names follow ``prefix``."""
    yield from module("pooler", (f"{prefix}pooler.dense",), "hidden", "hidden")


def bert_word_head() -> Iterator[Origin]:
    """Yield the origins of the WWMLM head, without its bias, which has the order of the vocabulary."""
    yield from module("heads.wwmlm.transform", ("cls.predictions.transform.dense",), "hidden", "hidden")
    yield from module("heads.wwmlm.norm", ("cls.predictions.transform.LayerNorm",), "hidden")
