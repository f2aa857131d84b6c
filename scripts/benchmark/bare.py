"""Time the front end's work by bare packages: the floor below which this project cannot come.

    python scripts/benchmark/bare.py FILM --seconds 3 --clips 16

reads cuts of a film, in turn its first four stretches of that length (the whole film without --seconds): pictures at 10
a second and sound at 16 kHz mono by PyAV, detectors and face mesh by LiteRT for two faces a picture, and DenseFace's
matrix products and convolutions for one face a picture. It prints the processor seconds of the process, imports of
numpy, torch, PyAV and LiteRT included. Left out is what no user waits for: finding the products to run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from memobert_plugin.features.denseface.encoder import DenseFace

STRETCHES = 4
PICTURES_A_SECOND = 10
SAMPLES_A_SECOND = 16_000


class Products(TorchDispatchMode):
    """Record the matrix products and convolutions of what runs inside, to run them again with nothing between them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], object]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and keep it if it is one of those."""
        if any(part in str(function) for part in ("mm.", "conv", "_linear_pointwise")):
            self.calls.append(partial(function, *args, **(kwargs or {})))
        return function(*args, **(kwargs or {}))


def products(encoder: DenseFace, faces: np.ndarray) -> Callable[[], object]:
    """Return what runs DenseFace's products and convolutions of these faces, and nothing else."""
    with Products() as recorded:
        encoder.encode(faces)

    def run() -> None:
        with torch.inference_mode():
            for call in recorded.calls:
                call()

    return run


def detectors(pictures: int) -> Callable[[], object]:
    """Return what runs the shipped detectors on pictures of 16:9 with two faces, by LiteRT alone."""
    from memobert_plugin.features.speakers.face_sources import litert

    times = {litert.FAR: 2 * pictures, litert.NEAR: pictures, litert.MESH: 2 * pictures}
    interpreters = {}
    for name in times:
        interpreters[name] = Interpreter(str(Path(litert.__file__).with_name(name)), num_threads=1)
        interpreters[name].allocate_tensors()

    def run() -> None:
        for name, interpreter in interpreters.items():
            for _ in range(times[name]):
                interpreter.invoke()

    return run


def _frames(film: Path, kind: str, start: float, end: float) -> Iterator[Any]:
    """Decode the first ``video`` or ``audio`` stream from the key frame before ``start`` to ``end``, in seconds."""
    with av.open(str(film)) as container:
        if start:
            container.seek(int(start * av.time_base))
        for frame in container.decode(**{kind: 0}):
            if frame.time >= end:
                return
            yield frame


def pictures(film: Path, start: float = 0.0, end: float = float("inf")) -> int:
    """Decode a stretch of a film, make pictures at ten a second of it, and return how many."""
    count, before = 0, None
    for frame in _frames(film, "video", start, end):
        while before is not None and start + count / PICTURES_A_SECOND < frame.time - 1e-6:
            before.to_ndarray(format="rgb24")
            count += 1
        before = frame
    return count


def sound(film: Path, start: float = 0.0, end: float = float("inf")) -> int:
    """Decode and resample a stretch of a film's sound, and return its number of samples."""
    resampler, samples = av.AudioResampler("flt", "mono", SAMPLES_A_SECOND), []
    for frame in _frames(film, "audio", start, end):
        samples += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    return len(np.concatenate(samples))


def processor_seconds(film: Path, seconds: float | None, clips: int) -> float:
    """Do the work of so many clips, and return the processor time of this process but for the preparation."""
    torch.set_num_threads(1)
    stretches = [(0.0, float("inf"))] * clips
    if seconds:
        stretches = [(number % STRETCHES * seconds, (number % STRETCHES + 1) * seconds) for number in range(clips)]
    began = time.process_time()
    from memobert_plugin.features.denseface.encoder import DenseFace

    shown = pictures(film, *stretches[0])
    detect = detectors(shown)
    encode = products(DenseFace.from_shipped(), np.zeros((shown, 64, 64), np.uint8))
    preparation = time.process_time() - began
    for stretch in stretches:
        pictures(film, *stretch)
        sound(film, *stretch)
        detect()
        encode()
    return time.process_time() - preparation


def main() -> None:
    """Print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("--seconds", type=float, help="length of a clip (default: the film's)")
    parser.add_argument("--clips", type=int, default=1, help="how many (default: %(default)s)")
    options = parser.parse_args()
    if options.clips < 1 or (options.seconds is not None and options.seconds <= 0):
        parser.error("--clips and --seconds: give numbers above 0")
    print(processor_seconds(options.film, options.seconds, options.clips))


if __name__ == "__main__":
    main()
