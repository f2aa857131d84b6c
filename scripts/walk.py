"""Print the files of the package that two common ways enter: a data-bin to its first loss, a clip to its label.

    python scripts/walk.py            # from the project's folder, in its environment

A file counts when one of its functions runs; running while a module is being imported does not count. Both ways use
generated data.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

PACKAGE = ROOT / "memobert_plugin"


@contextmanager
def entered_files() -> Iterator[set[str]]:
    """Collect the package's files whose functions are called inside the block, as paths below the package."""
    files: set[str] = set()
    prefix = f"{PACKAGE}/"
    importing = 0

    def hook(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal importing
        code = frame.f_code
        if code.co_name == "<module>" and event in ("call", "return"):
            importing += 1 if event == "call" else -1
        elif event == "call" and not importing and code.co_filename.startswith(prefix):
            files.add(code.co_filename.removeprefix(prefix))

    before = sys.getprofile()
    sys.setprofile(hook)
    try:
        yield files
    finally:
        sys.setprofile(before)


def data_bin_to_loss(folder: Path) -> set[str]:
    """Open a data-bin, build the pre-training task, model and criterion, and take one update."""
    from tests.data_bins import make_data_bin
    from tests.host import TrainingRun

    data_bin = make_data_bin(folder / "corpus")
    with entered_files() as files:
        TrainingRun(data_bin, "memobert_pretraining").train(1)
    return files


def clip_to_label(folder: Path) -> set[str]:
    """Load a bundle and predict from a sound file and its text."""
    import soundfile

    from memobert_plugin import MEmoBERT
    from tests.data_bins import CorpusShape, make_data_bin
    from tests.inference.models import logmel_bundle, trained_checkpoint

    data_bin = make_data_bin(folder / "spoken", CorpusShape(visual_dim=0, acoustic_dim=80, classes=0))
    bundle = logmel_bundle(trained_checkpoint(data_bin, "memobert_prompt", folder / "x.pt", updates=2), folder / "b")
    clip = folder / "clip.wav"
    soundfile.write(clip, np.random.default_rng(0).normal(scale=0.1, size=32_000).astype(np.float32), 16_000)
    with entered_files() as files:
        MEmoBERT.from_pretrained(bundle).predict(clip, text="it was so fun")
    return files


WAYS: dict[str, Callable[[Path], set[str]]] = {
    "data-bin to loss": data_bin_to_loss,
    "sound and text to label": clip_to_label,
}


def main() -> None:
    """Walk both ways and print their files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, way in WAYS.items():
            files = way(Path(folder))
            print(f"{name}: {len(files)} files")
            for file in sorted(files):
                print(f"  {file}")


if __name__ == "__main__":
    main()
