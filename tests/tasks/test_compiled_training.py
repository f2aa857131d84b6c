"""``--compile-layers`` in fairseq-train: checkpoints fit runs with and without it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.data_bins import make_data_bin
from tests.host import TrainingRun

TASK = "memobert_pretraining"
COMPILED = ("--compile-layers",)


@pytest.mark.parametrize(("first", "then"), [(COMPILED, ()), ((), COMPILED)])
def test_a_run_resumes_with_and_without_compiled_layers(
    tmp_path: Path, first: tuple[str, ...], then: tuple[str, ...]
) -> None:
    """The compiler itself is left out here: what it would compile runs as it is."""
    data_bin = make_data_bin(tmp_path / "corpus")
    torch.compiler.set_stance("force_eager")
    try:
        run = TrainingRun(data_bin, TASK, *first)
        run.train(2)
        checkpoint = run.save(tmp_path / "checkpoint.pt")
        resumed = TrainingRun(data_bin, TASK, *then)
        assert [layer.compiled for layer in resumed.model.encoder.layers] == [bool(then)]
        resumed.trainer.load_checkpoint(str(checkpoint))
        assert resumed.trainer.get_num_updates() == 2
        torch.testing.assert_close(resumed.parameters(), run.parameters(), rtol=0.0, atol=0.0)
        resumed.train(1)
    finally:
        torch.compiler.set_stance("default")
