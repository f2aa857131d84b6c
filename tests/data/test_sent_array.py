"""Small tensors of a batch reach the training process as what they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from memobert_plugin.data.batches import as_small_tensor
from memobert_plugin.data.corpus import Corpus
from tests.data_bins import CorpusShape, make_data_bin
from tests.tasks.test_utterance_dataset import dataset_of


def batch_of(samples: list[int]) -> dict[str, Any]:
    return {"id": as_small_tensor(np.array(samples)), "none": as_small_tensor(np.zeros((0, 3), np.float32))}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_tensor_with_the_same_numbers_arrives(workers: int) -> None:
    batches = list(DataLoader(range(6), batch_size=2, collate_fn=batch_of, num_workers=workers))  # type: ignore[arg-type]
    assert [batch["id"].tolist() for batch in batches] == [[0, 1], [2, 3], [4, 5]]
    for batch in batches:
        assert (batch["id"].dtype, batch["none"].dtype, batch["none"].shape) == (torch.int64, torch.float32, (0, 3))
        batch["id"].add_(1)


def test_of_a_workers_batch_only_frames_come_in_shared_memory(tmp_path_factory: pytest.TempPathFactory) -> None:
    shape = CorpusShape(speakers=2, utterances=6)
    dataset = dataset_of(Corpus(make_data_bin(tmp_path_factory.mktemp("corpus"), shape)), with_words=True)
    batch = next(iter(DataLoader(dataset, batch_size=4, collate_fn=dataset.collater, num_workers=1)))
    tensors = {**batch["net_input"], **batch}
    shared = {name for name, value in tensors.items() if isinstance(value, torch.Tensor) and value.is_shared()}
    assert shared == {"visual", "acoustic", "expression"}
