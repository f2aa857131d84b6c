"""What a GPU computes: the same as a CPU, in float32 and in half precision. Left out where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memobert_plugin.features.denseface.encoder import DenseFace
from memobert_plugin.nn.attention import AttentionPlan, attend
from memobert_plugin.nn.packing import PackedLayout
from tests.data_bins import CorpusShape, make_data_bin

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

CPU, GPU = torch.device("cpu"), torch.device("cuda")
TASKS = ("memobert_pretraining", "memobert_prompt", "memobert_finetune")
PRECISIONS = {
    "fp16": ["--fp16"],
    "bf16": ["--bf16"],
    "memory-efficient fp16": ["--memory-efficient-fp16"],
    "amp": ["--amp"],
}


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=4, utterances=24))


def run_of(data_bin: Path, task: str, *flags: str, device: str = "cuda") -> Any:
    from tests.host import TrainingRun

    return TrainingRun(
        data_bin, task, "--encoder-embed-dim", "32", "--lr", "3e-3", "--batch-size", "8", *flags, device=device
    )


@pytest.mark.parametrize("task", TASKS)
def test_updates_and_validation_are_those_of_a_cpu(data_bin: Path, task: str) -> None:
    on_cpu, on_gpu = (run_of(data_bin, task, device=device) for device in ("cpu", "cuda"))
    losses = [[step["loss"] for step in run.train(10)] for run in (on_cpu, on_gpu)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert on_gpu.validate()["loss"] == pytest.approx(on_cpu.validate()["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("task", "flags", "scores"),
    [
        ("memobert_finetune", ("--dimensions", "valence,arousal"), ("ccc", "rmse")),
        ("memobert_finetune", ("--several-labels",), ("map", "macro_f1")),
        ("memobert_prompt", ("--soft-prompt-length", "4"), ("uar",)),
    ],
)
def test_other_targets_and_soft_prompts_are_those_of_a_cpu(
    tmp_path: Path, task: str, flags: tuple[str, ...], scores: tuple[str, ...]
) -> None:
    shape = CorpusShape(speakers=4, utterances=24, dimensions=True, several=True)
    data_bin = make_data_bin(tmp_path, shape)
    on_cpu, on_gpu = (run_of(data_bin, task, "--fold", "1", *flags, device=device) for device in ("cpu", "cuda"))
    losses = [[step["loss"] for step in run.train(10)] for run in (on_cpu, on_gpu)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    found = [run.validate() for run in (on_cpu, on_gpu)]
    for score in scores:
        assert found[1][score] == pytest.approx(found[0][score], rel=1e-2)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("task", TASKS)
def test_half_precision_learns_and_goes_on_from_its_checkpoint(
    data_bin: Path, tmp_path: Path, precision: str, task: str
) -> None:
    run = run_of(data_bin, task, *PRECISIONS[precision])
    before = run.validate()["loss"]
    run.train(30)
    after = run.validate()["loss"]
    assert after < before
    again = run_of(data_bin, task, *PRECISIONS[precision])
    again.trainer.load_checkpoint(str(run.save(tmp_path / "checkpoint.pt")))
    assert again.validate()["loss"] == pytest.approx(after, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("every", [1, 2])
def test_attention_is_that_of_a_cpu(dtype: torch.dtype, every: int) -> None:
    """In half precision by the kernel that reads packed rows, in float32 by padding."""
    lengths = np.random.default_rng(0).integers(1, 40, (3, 16))
    layout = PackedLayout.from_lengths(*lengths)
    rows = np.arange(0, int(layout.lengths.sum()), every)
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(int(layout.lengths.sum()), 4, 64, generator=generator) for _ in range(3))
    results = []
    for device, kind in ((CPU, torch.float32), (GPU, dtype)):
        plan = AttentionPlan.for_all(layout, device)
        plan = plan if every == 1 else plan.for_queries(layout, rows, device)
        assert device == CPU or plan.key_varlen is not None or torch.cuda.get_device_capability()[0] < 8
        moved = [tensor.to(device, kind) for tensor in (query[torch.from_numpy(rows)], key, value)]
        results.append(attend(moved[0], moved[1], moved[2], plan, 0.0).float().cpu())
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(results[1], results[0], atol=tolerance, rtol=tolerance)


def test_faces_get_the_frames_of_a_cpu() -> None:
    faces = np.random.default_rng(0).integers(256, size=(40, 64, 64), dtype=np.uint8)
    (features, expressions), (expected, distributions) = (
        DenseFace.from_shipped(device=device).encode(faces) for device in ("cuda", "cpu")
    )
    np.testing.assert_allclose(features, expected, atol=1e-3)
    np.testing.assert_array_equal(expressions.argmax(1), distributions.argmax(1))
