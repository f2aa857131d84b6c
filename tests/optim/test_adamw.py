"""Weight decay reaches matrices and tables, never biases and LayerNorms: in every precision, also after a resume."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from fairseq import optim
from fairseq.optim.adam import Adam
from omegaconf import OmegaConf
from torch import Tensor, nn

from memobert_plugin.models.memobert import MEmoBERTModel
from memobert_plugin.optim.adamw import FusedAdam, MEmoBERTAdamW, MEmoBERTAdamWConfig
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun, load_safely

DECAY = 0.5
PRECISIONS: dict[str, list[str]] = {
    "float32": [],
    "amp": ["--amp"],
    "memory-efficient fp16": ["--memory-efficient-fp16", "--fp16-init-scale", "1"],
}


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=2, utterances=6))


def run_of(data_bin: Path, *flags: str, task: str = "memobert_finetune") -> TrainingRun:
    return TrainingRun(data_bin, task, "--weight-decay", str(DECAY), "--lr", "0.1", "--lr-scheduler", "fixed", *flags)


def spared(model: MEmoBERTModel) -> set[str]:
    """By what they are, not by their shapes: biases, and weights of LayerNorms."""
    norms = {name for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    return {
        name for name, _ in model.named_parameters() if name.endswith("bias") or name.removesuffix(".weight") in norms
    }


def decayed_by_a_step_without_gradient(run: TrainingRun) -> set[str]:
    """Names of the parameters that an optimiser step with zero gradients and moments makes smaller."""
    model, optimizer = run.trainer.model, run.trainer.optimizer
    for parameter in model.parameters():
        parameter.data.fill_(1.0)
        parameter.grad = torch.zeros_like(parameter)
    for state in optimizer.optimizer.state.values():
        state["exp_avg"].zero_()
    optimizer.step()
    smaller = {name: float(parameter.detach().float().max()) for name, parameter in model.named_parameters()}
    assert all(value == 1.0 or abs(value - 0.95) < 1e-3 for value in smaller.values())
    return {name for name, value in smaller.items() if value < 1}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_decay_spares_biases_and_layer_norms_only(data_bin: Path, precision: str) -> None:
    run = run_of(data_bin, *PRECISIONS[precision])
    everything = {name for name, _ in run.model.named_parameters()}
    decayed = decayed_by_a_step_without_gradient(run)
    assert everything - decayed == spared(run.model)
    assert {"visual_embedder.mask", "acoustic_embedder.mask", "text_embedder.word.weight"} <= decayed
    assert {"heads.wwmlm.bias", "visual_embedder.feature_norm.weight", "encoder.layers.0.ffn_norm.bias"} <= (
        everything - decayed
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_decay_spares_the_same_after_a_resume(data_bin: Path, tmp_path: Path, precision: str) -> None:
    before = run_of(data_bin, *PRECISIONS[precision])
    before.train(2)
    path = before.save(tmp_path / "checkpoint.pt")
    state = load_safely(path)["last_optimizer_state"]
    assert [group["weight_decay"] for group in state["param_groups"]] == [DECAY, 0.0]
    after = run_of(data_bin, *PRECISIONS[precision])
    after.trainer.load_checkpoint(str(path))
    assert [group["weight_decay"] for group in after.trainer.optimizer.param_groups] == [DECAY, 0.0]
    everything = {name for name, _ in after.model.named_parameters()}
    assert everything - decayed_by_a_step_without_gradient(after) == spared(after.model)


def test_the_two_groups_step_as_one_adam_without_decay(data_bin: Path) -> None:
    """Only the decay differs from fairseq's Adam."""

    def parameters(*flags: str) -> dict[str, Tensor]:
        run = TrainingRun(data_bin, "memobert_finetune", "--weight-decay", "0", *flags)
        run.train(4)
        return run.parameters()

    ours, theirs = parameters(), parameters("--optimizer", "adam")
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-7)


def fp16_optimizer(run: TrainingRun, *, flatten: bool) -> optim.FP16Optimizer:
    """The wrapper of ``--fp16``, which itself needs CUDA."""
    run.config.common.fp16 = True
    run.config.common.fp16_no_flatten_grads = not flatten
    run.model.half()
    return optim.FP16Optimizer.build_optimizer(run.config, list(run.model.parameters()))


def test_the_fused_kernel_steps_as_fairseqs_adam_and_goes_on_from_its_state() -> None:
    draws = torch.Generator().manual_seed(0)
    starts = [0.05 * torch.randn(shape, generator=draws) for shape in ((50, 8), (8,), (3, 8))]
    settings = {"lr": 1e-3, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}
    copies = [[nn.Parameter(start.clone()) for start in starts] for _ in range(2)]
    plain, fused = Adam(copies[0], **settings), FusedAdam(copies[1], **settings)

    def update(optimizers: list[Adam], number: int) -> None:
        gradients = [1e-2 * torch.randn(start.shape, generator=draws) for start in starts]
        gradients[0][10:] = 0.0  # rows of a table that no utterance named
        for optimizer in optimizers:
            parameters = optimizer.param_groups[0]["params"]
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient.clone()
            parameters[2].grad = gradients[2].clone() if number >= 3 else None  # a head that joins later
            optimizer.step()

    for number in range(30):
        update([plain, fused], number)
    torch.testing.assert_close(copies[1], copies[0], atol=1e-6, rtol=0)
    resumed = [nn.Parameter(parameter.detach().clone()) for parameter in copies[0]]
    again = FusedAdam(resumed, **settings)
    again.load_state_dict(deepcopy(plain.state_dict()))
    for number in range(30, 40):
        update([plain, again], number)
    torch.testing.assert_close(resumed, copies[0], atol=1e-6, rtol=0)
    assert {state["step"] for state in again.state.values()} == {37, 40}


def test_unflattened_fp16_keeps_the_two_groups(data_bin: Path) -> None:
    run = run_of(data_bin)
    wrapper = fp16_optimizer(run, flatten=False)
    half = dict(run.model.named_parameters())
    names = {id(master): name for master, name in zip(wrapper.fp32_params, half, strict=True)}
    decayed, not_decayed = ({names[id(p)] for p in group["params"]} for group in wrapper.fp32_optimizer.param_groups)
    assert not_decayed == spared(run.model) and decayed == set(half) - not_decayed
    assert [group["weight_decay"] for group in wrapper.fp32_optimizer.param_groups] == [DECAY, 0.0]


def test_flattened_fp16_is_refused_by_name(data_bin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(data_bin)
    flat = torch.nn.Parameter(torch.zeros(sum(parameter.numel() for parameter in run.model.parameters())))
    monkeypatch.setattr(optim.FP16Optimizer, "build_fp32_params", lambda *args, **kwargs: flat)
    with pytest.raises(RuntimeError, match=r"MEmoBERTAdamW does not support flat params.*--fp16-no-flatten-grads"):
        fp16_optimizer(run, flatten=True)


def test_the_state_of_a_model_with_other_parameters_is_refused_in_one_line() -> None:
    def optimizer_of(*parameters: nn.Parameter) -> MEmoBERTAdamW:
        return MEmoBERTAdamW(OmegaConf.structured(MEmoBERTAdamWConfig(lr=[0.1], tpu=False)), parameters)

    state = optimizer_of(nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))).state_dict()
    with pytest.raises(SystemExit, match=r"parameters are 2, this model's 1 .*--reset-optimizer"):
        optimizer_of(nn.Parameter(torch.ones(2, 2))).load_state_dict(state)


def test_an_update_does_not_import_torchs_compiler() -> None:
    script = """
import sys, torch
from torch import nn
import fairseq.tasks, memobert_plugin.registration
from memobert_plugin.optim.adamw import FusedAdam
module = nn.Linear(3, 3)
optimizer = FusedAdam(module.parameters(), lr=0.1)
module(torch.ones(1, 3)).sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split()[-1] == "False"
