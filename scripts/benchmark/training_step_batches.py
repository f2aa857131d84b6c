"""Random batches as the training step sees them: packed utterances, and the rows that each objective reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from memobert_plugin.data.vocabulary import MASK
from memobert_plugin.nn.heads import upcast
from memobert_plugin.objectives.base import OBJECTIVES, InputSizes, MaskingOptions

TEXT, VISUAL, ACOUSTIC = range(3)
MODALITY_OF_HEAD = {"wwmlm": TEXT, "mvfr": VISUAL, "mvfc": VISUAL, "mafr": ACOUSTIC}

STEPS = ("wwmlm", "mvfr", "mvfc", "mafr", "prompt")
"""The four objectives of pre-training, and prompting, which reads one [MASK] per utterance."""

VOCABULARY, VISUAL_DIM, ACOUSTIC_DIM, CLASSES = 30522, 342, 768, 8
COLUMNS = {"wwmlm": VOCABULARY, "mvfr": VISUAL_DIM, "mvfc": CLASSES, "mafr": ACOUSTIC_DIM}
"""Of each head's output."""
LONGEST = (30, 36, 64)
SHORTEST = (5, 8, 15)
MASKED = 0.15


@dataclass(frozen=True)
class Batch:
    """B utterances without padding.

    Attributes:
        text: ``(n,)`` piece ids of all utterances.
        visual: ``(m, VISUAL_DIM)`` float16, as a data-bin stores them.
        acoustic: ``(k, ACOUSTIC_DIM)`` float16.
        lengths: ``(3, B)`` pieces, visual frames and acoustic frames of each.
    """

    text: Tensor
    visual: Tensor
    acoustic: Tensor
    lengths: np.ndarray

    @classmethod
    def drawn(cls, utterances: int, rng: np.random.Generator, device: str) -> Batch:
        """Lengths drawn evenly between SHORTEST and LONGEST."""
        limits = zip(SHORTEST, LONGEST, strict=True)
        lengths = np.stack([rng.integers(low, high + 1, utterances) for low, high in limits])
        pieces, visual, acoustic = lengths.sum(axis=1)
        return cls(
            torch.from_numpy(rng.integers(4, VOCABULARY, pieces)).to(device),
            torch.from_numpy(rng.normal(size=(visual, VISUAL_DIM)).astype(np.float16)).to(device),
            torch.from_numpy(rng.normal(size=(acoustic, ACOUSTIC_DIM)).astype(np.float16)).to(device),
            lengths,
        )


@dataclass(frozen=True)
class Step:
    """What one step reads of a batch and compares with.

    Attributes:
        name: one of STEPS.
        batch: the utterances.
        rows: ascending rows of the head's modality that are read.
        target: as the objective's loss wants it.
    """

    name: str
    batch: Batch
    rows: np.ndarray
    target: Tensor

    @classmethod
    def drawn(cls, name: str, batch: Batch, rng: np.random.Generator) -> Step:
        """A share of the modality's rows; for ``prompt`` the [MASK], third from the end of every text."""
        lengths = batch.lengths[MODALITY_OF_HEAD[_head(name)]]
        if name == "prompt":
            rows = np.cumsum(lengths) - 3
        else:
            rows = np.sort(rng.choice(lengths.sum(), round(MASKED * lengths.sum()), replace=False))
        at = torch.from_numpy(rows).to(batch.text.device)
        if name == "mvfc":
            target = torch.full((len(rows), CLASSES), 1 / CLASSES, device=batch.text.device)
        else:
            target = {"mvfr": batch.visual, "mafr": batch.acoustic}.get(name, batch.text).index_select(0, at)
        return cls(name, batch, rows, target)

    @property
    def head(self) -> str:
        """The head that is read."""
        return _head(self.name)

    def loss(self, output: Tensor) -> Tensor:
        """Return the objective's loss of the head's output, summed."""
        objective = OBJECTIVES.get(self.head)
        sizes = InputSizes(VOCABULARY, VISUAL_DIM, ACOUSTIC_DIM, CLASSES)
        return objective(self.head, sizes, [MASK], MaskingOptions()).loss(upcast(output), self.target)[0]

    def masked_frames(self, modality: int) -> Tensor | None:
        """Rows of a modality whose frames the mask vector replaces, or None."""
        if modality == TEXT or modality != MODALITY_OF_HEAD[self.head]:
            return None
        return torch.from_numpy(self.rows).to(self.batch.text.device)


def _head(name: str) -> str:
    return "wwmlm" if name == "prompt" else name
