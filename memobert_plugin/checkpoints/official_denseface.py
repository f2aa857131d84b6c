"""Import the authors' DenseFace, the encoder of their visual frames, under the plugin's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..core.errors import UserError
from ..nn.densenet import DenseNet
from .state_dictionary import StateDictionary

_FIRST = "features.conv0.weight"
_COUNTER = ".num_batches_tracked"
_PREFIX = "network."


@dataclass(frozen=True)
class ImportedDenseFace:
    """A published DenseFace.

    Attributes:
        source: the checkpoint.
        weights: everything of ``memobert_denseface``, float32, with the statistics of grey levels.
        unused: names of the checkpoint's unknown tensors.
    """

    source: Path
    weights: dict[str, Tensor]
    unused: list[str]


def is_denseface(content: Mapping[str, Tensor]) -> bool:
    """Return True if these named tensors are a DenseFace's, with any prefix."""
    return any(f".{name}".endswith(f".{_FIRST}") for name in content)


def import_denseface(path: Path, content: Mapping[str, Tensor], grey_mean: float, grey_std: float) -> ImportedDenseFace:
    """Rename a state dictionary to the plugin's names.

    Args:
        path: the file, for messages.
        content: its tensors.
        grey_mean: mean grey level (0 to 255) of the normalisation in training, which is not in the file.
        grey_std: their standard deviation.

    Raises:
        UserError: a tensor is missing, of another shape or not finite; the statistics are out of range.
    """
    if not 0 <= grey_mean <= 255:
        raise UserError(f"--grey-mean {grey_mean:g}: grey levels are 0 to 255; give the training pictures' mean")
    if not 0 < grey_std <= 255:
        raise UserError(f"--grey-std {grey_std:g}: grey levels are 0 to 255; give the training pictures' deviation")
    prefixes = [name.removesuffix(_FIRST) for name in content if f".{name}".endswith(f".{_FIRST}")]
    if len(prefixes) != 1:
        raise UserError(f"{path}: holds {len(prefixes)} networks; give the state dictionary of one model")
    tensors = StateDictionary(
        path, content, "give an unaltered DenseFace of 768 044 parameters", lambda name: name.removeprefix(prefixes[0])
    )
    own = DenseNet(grey_mean, grey_std).state_dict()
    learned = [name for name in own if not name.endswith(_COUNTER) and name not in ("grey_mean", "grey_std")]
    tensors.require(learned)
    own.update({name: tensors.take(name, tuple(own[name].shape)) for name in learned})
    for name in learned:
        if name.endswith(".running_var") and (own[name] < 0).any():
            raise UserError(f"{path}: {name} has negative variances; fetch the file again")
    counters = [name for name in own if name.endswith(_COUNTER)]
    return ImportedDenseFace(
        source=path,
        weights={f"{_PREFIX}{name}": value for name, value in own.items()},
        unused=tensors.unused(except_for=counters),
    )
