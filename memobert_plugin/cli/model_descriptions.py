"""Describe weights and models for ``memobert-inspect``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ..core.errors import UserError, pip_install
from ..core.files import regular


def safetensors_file(path: Path) -> dict[str, Any]:
    """Describe a file of weights alone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            sizes = [math.prod(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118
            remarks = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: no safetensors file ({' '.join(str(error).split())}); fetch it again") from None
    return {"kind": "weights", "tensors": len(sizes), "parameters": sum(sizes), "remarks": remarks}


def onnx_file(path: Path) -> dict[str, Any]:
    """Describe an ONNX model: its inputs, outputs and remarks."""
    try:
        import onnx
    except ImportError:
        raise UserError(f"{path}: onnx is not installed; {pip_install('onnx')}") from None
    try:
        model = onnx.load(str(regular(path)))
    except Exception as error:  # the protobuf library's own
        raise UserError(f"{path}: no ONNX model ({' '.join(str(error).split())[:100]}); export it again") from None
    remarks = {one.key: one.value for one in model.metadata_props}
    return {
        "kind": "an ONNX model",
        "inputs": {one.name: _dimensions(one) for one in model.graph.input},
        "outputs": {one.name: _dimensions(one) for one in model.graph.output},
        "parameters": sum(math.prod(one.dims) for one in model.graph.initializer),
        **{name: text for name, text in remarks.items() if len(text) < 200},
    }


def _dimensions(value: Any) -> str:
    shape = value.type.tensor_type.shape.dim
    return f"({', '.join(one.dim_param or str(one.dim_value) for one in shape)})"


def bundle_folder(path: Path) -> dict[str, Any]:
    """Describe a bundle of memobert-export."""
    from ..checkpoints.bundle import read_bundle

    return {"kind": "a bundle of memobert-export", **_model(read_bundle(path).description.to_dict())}


def checkpoint_file(path: Path) -> dict[str, Any]:
    """Describe a checkpoint of fairseq or of a network alone."""
    from ..checkpoints.fairseq_checkpoint import describe_checkpoint

    return describe_checkpoint(path)


def _model(description: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a model's description that are there, ``kind`` as ``trained_for``."""
    known = {name: value for name, value in description.items() if value not in (None, "", [], {}, 0)}
    makers = {name: known[name] for name in ("visual_extractor", "acoustic_extractor") if name in known}
    centered = {"speaker_mean": "subtracted"} if "speaker_mean" in makers.get("acoustic_extractor", {}) else {}
    known |= {name: maker["name"] for name, maker in makers.items()}
    return {"trained_for": known.pop("kind"), **known, **centered}
