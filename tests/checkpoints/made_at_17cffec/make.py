"""Make these files anew: ``git worktree add W 17cffec``, then in W ``PYTHONPATH=. python FOLDER/make.py FOLDER``."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memobert_plugin import MEmoBERT
from memobert_plugin.cli import export

WITHOUT_OPTIMISER = ("--no-save-optimizer-state", "--max-positions", "80")


def frames(seed: int, length: int, dim: int) -> np.ndarray:
    """Return frames that any numpy gives alike."""
    return (np.arange(length * dim) * seed % 7 - 3.0).reshape(length, dim).astype(np.float32) / 3


def expected(model: MEmoBERT) -> dict[str, dict[str, float]]:
    """Return the probabilities that a model gives for three utterances."""
    clips: dict[str, dict[str, Any]] = {
        "text": {"text": "we love the fun"},
        "text and faces": {"text": "it was so lost", "visual": frames(5, 9, 6)},
        "all": {"text": "stop", "visual": frames(3, 4, 6), "acoustic": frames(2, 11, 5)},
    }
    return {name: dict(model.predict(**clip).probabilities) for name, clip in clips.items()}


def without_paths(value: Any) -> Any:
    """Return a checkpoint's configuration without the paths of this machine."""
    if isinstance(value, dict):
        return {name: without_paths(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_paths(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def main(folder: Path) -> None:
    """Write the data-bin, two checkpoints, the bundle and the numbers that they give."""
    from omegaconf import OmegaConf

    from tests.data_bins import CorpusShape, make_data_bin
    from tests.host import TrainingRun, load_safely

    with tempfile.TemporaryDirectory() as scratch:
        made = make_data_bin(Path(scratch), CorpusShape(speakers=3, utterances=10))
        made.rename(folder / "data_bin")
    data_bin = folder / "data_bin"
    numbers: dict[str, object] = {}
    for task, flags in {
        "memobert_pretraining": (),
        "memobert_prompt": ("--fold", "1"),
        "memobert_finetune": ("--fold", "1"),
    }.items():
        run = TrainingRun(data_bin, task, *WITHOUT_OPTIMISER, *flags)
        run.train(4)
        path = run.save(folder / f"{task}.pt")
        content = load_safely(path)
        content["cfg"] = without_paths(OmegaConf.to_container(OmegaConf.create(content["cfg"])))
        torch.save(content, path)
        logged = run.validate()
        numbers[task] = {name: value for name, value in logged.items() if "loss" in name or name in ("wa", "uar")}
    export.main([str(folder / "memobert_prompt.pt"), str(folder / "bundle")])
    numbers["probabilities"] = {
        name: expected(MEmoBERT.from_pretrained(folder / name))
        for name in ("bundle", "memobert_prompt.pt", "memobert_finetune.pt")
    }
    (folder / "expected.json").write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
