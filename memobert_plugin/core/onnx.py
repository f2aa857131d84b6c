"""Open ONNX files of any tool with ONNX Runtime, which is imported only here and only then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import UserError, pip_install


def onnx_session(path: Path, device: str, threads: int, flag: str) -> Any:
    """Open a file on ``cpu`` or ``cuda``; ``flag`` is what asked for it.

    Raises:
        UserError: ONNX Runtime is missing, it cannot use the device, or the file cannot be read.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"{flag}: cannot be imported ({error}); {pip_install('onnx')}") from None

    provider = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise UserError(f"--device {device}: this ONNX Runtime has no {provider}; give --device cpu")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised; trying sizes fails often
    options.intra_op_num_threads = threads
    try:
        if not path.is_file():
            raise FileNotFoundError("no such file")
        return onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # of the runtime's own classes
        raise UserError(f"{path}: cannot be read as ONNX ({onnx_reason(error)})") from None


def onnx_reason(error: Exception) -> str:
    """Return what the runtime says, in one line."""
    return " ".join(str(error).split())[:200]


def onnx_version() -> str:
    """Return the name and version of the installed runtime."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"onnxruntime {version('onnxruntime')}"
    except PackageNotFoundError:
        return f"onnxruntime {version('onnxruntime-gpu')}"
