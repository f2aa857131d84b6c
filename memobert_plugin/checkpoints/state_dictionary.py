"""A file of named tensors from elsewhere: opened without running anything, checked as its tensors are taken."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
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
    """A weight file's tensors under one naming, and a record of which were taken.

    Args:
        path: the file, for messages.
        tensors: its content.
        advice: what a user does about a file that lacks a tensor or holds one of another shape.
        current_name: from a name in the file to the name it is asked for by.
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
                raise UserError(f"{path}: holds both {twin} and {name}; keep the one that is meant")
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._file_names

    def starting_with(self, *prefixes: str) -> list[str]:
        """Names that start with one of these."""
        return [name for name in self._file_names if name.startswith(prefixes)]

    def require(self, names: Iterable[str]) -> None:
        """Raise a :class:`UserError` that lists whichever of these the file lacks."""
        if missing := [name for name in names if name not in self]:
            raise UserError(f"{self.path}: lacks {', '.join(missing)}; {self._advice}")

    def size(self, name: str, axis: int) -> int:
        """One size of a tensor, which must have that many axes."""
        shape = self._tensors[self._file_names[name]].shape
        if len(shape) <= axis:
            raise UserError(f"{self.path}: {self._file_names[name]} has only {len(shape)} axes; {self._advice}")
        return shape[axis]

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
                f"{self.path}: {file_name} is {' x '.join(map(str, tensor.shape))}, expected {expected}; {self._advice}"
            )
        copy = tensor.to(torch.float32, copy=True).contiguous()
        if not tensor.is_floating_point() or not torch.isfinite(copy).all():
            raise UserError(f"{self.path}: {file_name} holds NaN, infinite or whole numbers; fetch the file again")
        self._taken.add(name)
        return copy

    def take_tied(self, name: str, twin: str) -> None:
        """Take a tensor, where there is one, that must repeat another: the model has one parameter for both.

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
        """The file's names of tensors that nobody took, but for those that are known to be of no use."""
        rest = self._file_names.keys() - self._taken - set(except_for)
        return sorted(self._file_names[name] for name in rest)
