"""Convert the encoder of a Whisper folder to the one safetensors file that ``features/encoders/whisper.py`` ships.

    python examples/whisper/convert.py faster-whisper-tiny.en \\
        memobert_plugin/features/encoders/whisper_tiny_en.safetensors

The weights are rounded to half precision. Equal weights give equal bytes.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

from memobert_plugin.core.console import run_command
from memobert_plugin.core.errors import UserError
from memobert_plugin.core.files import replaced_when_complete
from memobert_plugin.features.encoders.whisper import HEADS, ORIGIN, read_whisper


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, and print its size, its sha256 and the largest change by rounding."""
    import torch
    from safetensors.torch import save

    parser = argparse.ArgumentParser(description="Write a Whisper's encoder as one safetensors file of half precision.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="Whisper in CTranslate2's or Hugging Face's format")
    parser.add_argument("output", type=Path, metavar="FILE", help="the safetensors file to write")
    options = parser.parse_args(arguments)
    weights, heads, sha256 = read_whisper(options.folder)
    halves = {name: weight.half().contiguous() for name, weight in weights.items()}
    for name, half in halves.items():
        if not torch.isfinite(half).all():
            raise UserError(f"{options.folder}: {name} does not fit into half precision; give another Whisper")
    change = max(float((half.float() - weights[name]).abs().max()) for name, half in halves.items())
    content = save({**halves, HEADS: torch.tensor(heads, dtype=torch.int16)}, {ORIGIN: sha256})
    with replaced_when_complete(options.output, named_by_user=True) as temporary:
        temporary.write_bytes(content)
    print(f"{options.output}: {len(content) / 1e6:.2f} MB, sha256 {hashlib.sha256(content).hexdigest()}")
    print(f"largest change of a weight: {change:g}")
    return 0


if __name__ == "__main__":
    run_command(main)
