"""Write the file of predictions: one JSON line per utterance, ranks merged, replaced as a whole at each validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed
from torch import Tensor

from ..core.files import replaced_when_complete
from ..data.targets import Target
from .utterance_dataset import UtteranceDataset


class PredictionFile:
    """Collector of a subset's decisions; it writes them when the last validation step is made.

    fairseq has no hook at the end of ``fairseq-validate``; but every rank makes the same, known number of steps.

    Args:
        path: of the file; None to collect only.
        dataset: the subset.
        target: what is predicted.
        fold: the fold's number, written with every line.
        steps: validation steps of each rank.
    """

    def __init__(self, path: str | None, dataset: UtteranceDataset, target: Target, fold: int, steps: int) -> None:
        self.path = Path(path) if path is not None else None
        self.dataset, self.target, self.fold = dataset, target, fold
        self.collected: dict[int, Decision] | None = None
        """All ranks' decisions by index in the dataset, after the last step."""
        self._steps_left = steps
        self._pending: list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]] = []

    def add(
        self,
        indices: Tensor,
        outputs: Tensor,
        vocabulary_predictions: Tensor | None,
        of_templates: Tensor | None = None,
    ) -> None:
        """Keep a batch: indices ``(B,)`` in the dataset, outputs ``(B, C)``; for prompting also ``(B,)`` decisions
        over the vocabulary, and ``(B, T, C)`` scores of several templates.
        """
        self._pending.append((indices, outputs, vocabulary_predictions, of_templates))
        self.add_nothing()

    def add_nothing(self) -> None:
        """Count a step of a rank that has run out of batches."""
        self._steps_left -= 1
        if not self._steps_left:
            self._finish()

    def _finish(self) -> None:
        # A rank that ran out of batches repeats its dummy batch: the same utterances again, the same key.
        own = {index: decision for batch in self._pending for index, decision in _rows(*batch)}
        self._pending = []
        self.collected = _merged_over_ranks(own)
        if self.path is None or _rank():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (
            replaced_when_complete(self.path, named_by_user=True) as temporary,
            open(temporary, "w", encoding="utf-8") as stream,
        ):
            for index in sorted(self.collected):
                line = self._line(index, *self.collected[index][:2])
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def truth_and_outputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the targets and the outputs of all that was collected, ``(n, C)`` each."""
        return self._truth_and(0)

    def truth_and_templates(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the emotions ``(n,)`` and the templates' scores ``(n, T, C)`` of all that was collected."""
        return self._truth_and(2)

    def _truth_and(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the targets, and what stands at a place of each decision."""
        assert self.collected is not None  # asked after the last step
        truth = self.target.values(self.dataset.corpus, self.dataset.rows[list(self.collected)])
        return truth, np.array([decision[place] for decision in self.collected.values()], dtype=np.float64)

    def _line(self, index: int, outputs: list[float], vocabulary: int | None) -> dict[str, Any]:
        corpus, row = self.dataset.corpus, int(self.dataset.rows[index])
        line = {
            "id": corpus.utterance_id(row),
            "speaker": corpus.speakers[corpus.speaker[row]],
            "fold": self.fold,
            **self.target.line(self.target.values(corpus, np.array([row]))[0], outputs),
        }
        if corpus.part is not None:
            line["part"] = corpus.meta.parts[corpus.part[row]]
        if vocabulary is not None:
            labels = self.target.names
            line["vocabulary_prediction"] = labels[vocabulary] if vocabulary < len(labels) else None
        return line


Decision = tuple[list[float], int | None, list[list[float]] | None]


def _rows(
    indices: Tensor, probabilities: Tensor, vocabulary: Tensor | None, of_templates: Tensor | None
) -> zip[tuple[int, Decision]]:
    beside = [one.tolist() if one is not None else [None] * len(indices) for one in (vocabulary, of_templates)]
    return zip(indices.tolist(), zip(probabilities.tolist(), *beside, strict=True), strict=True)


def _distributed() -> bool:
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )


def _rank() -> int:
    return torch.distributed.get_rank() if _distributed() else 0


def _merged_over_ranks(own: dict[int, Decision]) -> dict[int, Decision]:
    """Return all ranks' decisions."""
    if not _distributed():
        return own
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, own)
    return {index: decision for part in gathered for index, decision in part.items()}
