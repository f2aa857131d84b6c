"""DenseFace's weights as one small file: safetensors, convolutions in float16, batch statistics in float32.

``python -m memobert_plugin.features.denseface.weights checkpoint_last.pt denseface.safetensors`` makes it from a
checkpoint of ``fairseq-train`` or ``memobert-import``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...core.console import run_command
from ...core.errors import UserError
from ...core.fairseq_quirks import allow_fairseq_arguments
from ...core.files import refuse_existing_file, regular, replaced_when_complete

if TYPE_CHECKING:
    from torch import Tensor

SHIPPED: Final = Path(__file__).with_name("weights.safetensors")

_FORMAT: Final = "memobert_denseface"
_PREFIX: Final = "network."
_COUNTER: Final = ".num_batches_tracked"
_FLOAT32: Final = (".running_mean", ".running_var", "grey_mean", "grey_std")


@dataclass(frozen=True, eq=False)
class DenseFaceWeights:
    """Content of a weight file.

    Attributes:
        state: float32 parameters and buffers of :class:`memobert_plugin.nn.densenet.DenseNet`.
        sha256: of the file.
        temperature: what logits are divided by before probabilities are shown; 1 if it was not measured.
    """

    state: dict[str, Tensor] = field(repr=False)
    sha256: str
    temperature: float = 1.0


def read_weights(path: Path) -> DenseFaceWeights:
    """Read a weight file.

    Raises:
        UserError: missing, damaged, another model's, or numbers that are not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = regular(path).read_bytes()
        state = load(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); give a DenseFace weight file") from None
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{path}: no safetensors file ({' '.join(str(error).split())}); fetch it again") from None
    return DenseFaceWeights(_checked(path, state), hashlib.sha256(content).hexdigest(), _temperature(path))


def _temperature(path: Path) -> float:
    """Read the temperature from the JSON file beside a weight file; 1.0 without one.

    It stands in a file of its own so that the weights keep their bytes and sha256.
    """
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return 1.0
    try:
        temperature = float(json.loads(regular(beside).read_text(encoding="utf-8"))["temperature"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{beside}: holds no temperature ({error}); repair or remove it") from None
    if not 0.0 < temperature < 100.0:
        raise UserError(f"{beside}: temperature {temperature:g} is not between 0 and 100; repair or remove it")
    return temperature


def write_weights(path: Path, state: Mapping[str, Tensor], made_by: Mapping[str, str]) -> None:
    """Write a weight file, whole or not at all.

    Args:
        path: the file.
        state: parameters and buffers of the network, as :func:`read_checkpoint` gives them.
        made_by: remarks for the file's header.

    Raises:
        UserError: a number beyond float16, or a file that cannot be written.
    """
    import torch
    from safetensors.torch import save

    small = {}
    for name, value in state.items():
        kind = torch.float32 if name.endswith(_FLOAT32) else torch.float16
        small[name] = value.to(kind).contiguous()
        if not torch.isfinite(small[name]).all():
            raise UserError(f"{path}: {name} reaches {value.abs().max():g}, beyond float16's 65504; train it again")
    try:
        with replaced_when_complete(path, named_by_user=True) as temporary:
            # One key: safetensors writes several in random order, and equal weights must have equal bytes.
            header = {_FORMAT: json.dumps(made_by, sort_keys=True)}
            temporary.write_bytes(save(small, header))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another file") from None


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the network of a fairseq checkpoint; nothing that the file may contain is run.

    Returns:
        Its parameters and buffers, and how many updates it was trained for as a remark for the weight file.

    Raises:
        UserError: missing, damaged, or no DenseFace checkpoint.
    """
    import torch

    allow_fairseq_arguments()
    try:
        content: Any = torch.load(regular(path), map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); give a checkpoint of fairseq-train") from None
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
        raise UserError(
            f"{path}: is damaged or no checkpoint of fairseq-train; give such as checkpoint_last.pt"
        ) from None
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not all(str(name).startswith(_PREFIX) for name in model):
        raise UserError(f"{path}: holds no memobert_denseface model; give a checkpoint of memobert_facial_expression")
    history = content.get("optimizer_history") or [{}]
    state = {name.removeprefix(_PREFIX): value for name, value in model.items() if not name.endswith(_COUNTER)}
    return _checked(path, state), {"updates": str(history[-1].get("num_updates", 0))}


def _checked(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    import torch

    from ...nn.densenet import DenseNet
    from ...nn.skeleton import parameters_unmade

    with parameters_unmade():
        own = DenseNet().state_dict()
    expected = {name: value.shape for name, value in own.items() if not name.endswith(_COUNTER)}
    for what, names in (
        ("lacks", expected.keys() - state.keys()),
        ("has unknown", state.keys() - expected.keys()),
        (
            "has another shape of",
            {name for name in expected.keys() & state.keys() if state[name].shape != expected[name]},
        ),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise UserError(f"{path}: {what} {', '.join(sorted(names)[:3])}{more}; give the weights of a DenseFace")
    floats = {name: state[name].float() for name in expected}
    for name, value in floats.items():
        if not torch.isfinite(value).all():
            raise UserError(f"{path}: {name} holds NaN or infinite numbers; give the weights of a DenseFace")
    return floats


def main(arguments: Sequence[str] | None = None) -> int:
    """Turn a checkpoint into a weight file."""
    parser = argparse.ArgumentParser(
        prog="python -m memobert_plugin.features.denseface.weights",
        description="Write the weights of a DenseFace checkpoint as a small safetensors file for the visual encoder.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="such as checkpoints/checkpoint_last.pt")
    parser.add_argument("output", type=Path, metavar="FILE", help="the file to write, such as denseface.safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    options = parser.parse_args(arguments)
    refuse_existing_file(options.output, options.overwrite)
    state, made_by = read_checkpoint(options.checkpoint)
    write_weights(options.output, state, made_by)
    print(
        f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB, sha256 {read_weights(options.output).sha256}"
    )
    return 0


if __name__ == "__main__":
    sys.argv[0] = "python -m memobert_plugin.features.denseface.weights"
    run_command(main)
