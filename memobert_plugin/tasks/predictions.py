"""Write the file of predictions: one JSON line per utterance, ranks merged, replaced as a whole at each validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch.distributed
from torch import Tensor

from ..core.files import replaced_when_complete
from .utterance_dataset import UtteranceDataset


class PredictionFile:
    """Collector of a subset's decisions; it writes them when the last validation step is made.

    fairseq has no hook at the end of ``fairseq-validate``; but every rank makes the same, known number of steps.

    Args:
        path: of the file.
        dataset: the subset.
        labels: emotions in the order of the probabilities.
        fold: the fold's number, written with every line.
        steps: validation steps of each rank.
    """

    def __init__(self, path: str, dataset: UtteranceDataset, labels: list[str], fold: int, steps: int) -> None:
        self.path, self.dataset, self.labels, self.fold = Path(path), dataset, labels, fold
        self._steps_left = steps
        self._pending: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def add(self, indices: Tensor, probabilities: Tensor, vocabulary_predictions: Tensor | None) -> None:
        """Keep a batch: indices ``(B,)`` in the dataset, probabilities ``(B, C)``; for prompting also ``(B,)``
        decisions over the vocabulary.
        """
        self._pending.append((indices, probabilities, vocabulary_predictions))
        self.add_nothing()

    def add_nothing(self) -> None:
        """Count a step of a rank that has run out of batches."""
        self._steps_left -= 1
        if not self._steps_left:
            self._write()

    def _write(self) -> None:
        # A rank that ran out of batches repeats its dummy batch: the same utterances again, the same key.
        own = {index: decision for batch in self._pending for index, decision in _rows(*batch)}
        self._pending = []
        merged = _merged_over_ranks(own)
        if merged is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (
            replaced_when_complete(self.path, named_by_user=True) as temporary,
            open(temporary, "w", encoding="utf-8") as stream,
        ):
            for index in sorted(merged):
                stream.write(json.dumps(self._line(index, *merged[index]), ensure_ascii=False) + "\n")

    def _line(self, index: int, probabilities: list[float], vocabulary: int | None) -> dict[str, Any]:
        corpus, row = self.dataset.corpus, int(self.dataset.rows[index])
        assert self.dataset.emotions is not None
        line = {
            "id": corpus.utterance_id(row),
            "speaker": corpus.speakers[corpus.speaker[row]],
            "fold": self.fold,
            "label": self.labels[self.dataset.emotions[corpus.emotion[row]]],
            "prediction": self.labels[probabilities.index(max(probabilities))],
            "probabilities": dict(zip(self.labels, probabilities, strict=True)),
        }
        if corpus.part is not None:
            line["part"] = corpus.meta.parts[corpus.part[row]]
        if vocabulary is not None:
            line["vocabulary_prediction"] = self.labels[vocabulary] if vocabulary < len(self.labels) else None
        return line


Decision = tuple[list[float], int | None]


def _rows(indices: Tensor, probabilities: Tensor, vocabulary: Tensor | None) -> zip[tuple[int, Decision]]:
    chosen = vocabulary.tolist() if vocabulary is not None else [None] * len(indices)
    return zip(indices.tolist(), zip(probabilities.tolist(), chosen, strict=True), strict=True)


def _merged_over_ranks(own: dict[int, Decision]) -> dict[int, Decision] | None:
    """Return all ranks' decisions on the first rank, None on the others."""
    if not (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    ):
        return own
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, own)
    if torch.distributed.get_rank():
        return None
    return {index: decision for part in gathered for index, decision in part.items()}
