"""Faces and films on a GPU: DenseFace against one processor thread, and NVDEC against FFmpeg's own decoders.

    python scripts/benchmark/gpu_front_end.py
    python scripts/benchmark/gpu_front_end.py --film film.mp4

NVDEC is reached through PyAV (``pip install av``), whose wheels have FFmpeg's ``cuda`` devices. Every picture is
decoded, ten a second become RGB in memory, as in extraction; both ways must give the same pixels.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import in_turn, medians, write_result

from memobert_plugin.features.denseface.encoder import DenseFace


def faces_per_second(count: int, rounds: int) -> dict[str, float]:
    """Rates of DenseFace from crops to frames in memory."""
    torch.set_num_threads(1)
    crops = np.random.default_rng(0).integers(256, size=(count, 64, 64), dtype=np.uint8)
    encoders = {device: DenseFace.from_shipped(device) for device in ("cpu", "cuda")}
    share = {"cpu": count // 16, "cuda": count}
    found = {device: encoder.encode(crops[: share["cpu"]]) for device, encoder in encoders.items()}
    difference = float(np.abs(found["cpu"][0] - found["cuda"][0]).max())
    different = int((found["cpu"][1].argmax(1) != found["cuda"][1].argmax(1)).sum())
    print(f"features differ by at most {difference:.1e}; another strongest expression: {different} of {share['cpu']}")

    def encode(device: str) -> Callable[[], Any]:
        return lambda: encoders[device].encode(crops[: share[device]])

    seconds = medians(in_turn({device: encode(device) for device in encoders}, rounds))
    return {device: share[device] / each for device, each in seconds.items()}


def decoded(film: Path, accelerated: bool, threads: int) -> tuple[int, str]:
    """Decode a film; the number of pictures, and a hash of ten a second as RGB."""
    import av
    from av.codec.hwaccel import HWAccel

    options: dict[str, Any] = {"hwaccel": HWAccel("cuda", allow_software_fallback=False)} if accelerated else {}
    pixels, pictures, wanted = hashlib.sha256(), 0, 0.0
    with av.open(str(film), **options) as container:
        stream = container.streams.video[0]
        if not accelerated:
            stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
        for frame in container.decode(stream):
            pictures += 1
            if frame.time is not None and frame.time >= wanted:
                pixels.update(frame.to_ndarray(format="rgb24").tobytes())
                wanted += 0.1
    return pictures, pixels.hexdigest()


def pictures_per_second(film: Path, rounds: int) -> dict[str, float]:
    """Rates of decoding by NVDEC, by one thread and by as many as FFmpeg likes."""
    ways = {"nvdec": (True, 1), "one thread": (False, 1), "threads": (False, 0)}
    found = {name: decoded(film, *way) for name, way in ways.items()}
    print(f"same pixels: {len(set(found.values())) == 1}; {found['nvdec'][0]} pictures")

    def decode(way: tuple[bool, int]) -> Callable[[], Any]:
        return lambda: decoded(film, *way)

    seconds = medians(in_turn({name: decode(way) for name, way in ways.items()}, rounds))
    return {name: found[name][0] / each for name, each in seconds.items()}


def main() -> None:
    """Print and write the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=8192, help="on the GPU; a sixteenth on the processor")
    parser.add_argument("--film", type=Path, help="a film in a format that NVDEC takes, such as H.264")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default 5)")
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    arguments = parser.parse_args()
    results = {"faces_per_second": faces_per_second(arguments.faces, arguments.rounds)}
    if arguments.film is not None:
        results["pictures_per_second"] = pictures_per_second(arguments.film, arguments.rounds)
    for name, rates in results.items():
        print(name.replace("_", " "), {way: round(rate, 1) for way, rate in rates.items()})
    write_result(arguments.output, "gpu_front_end", results)


if __name__ == "__main__":
    main()
