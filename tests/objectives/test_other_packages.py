"""An objective of another package: its flag, its head, its loss, and checkpoints that have it or lack it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from memobert_plugin.models.memobert import MEmoBERTModel, MEmoBERTTinyConfig
from memobert_plugin.objectives.base import OBJECTIVES, Objective, ablations
from memobert_plugin.tasks import pretraining
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import ROOT, TrainingRun, load_safely, training_flags

SOURCE = '''
"""Predict the mean of a hidden speech frame."""

from torch.nn import functional

from memobert_plugin.nn.heads import ClassHead, HeadPlan
from memobert_plugin.objectives.base import FrameObjective


class Loudness(FrameObjective):
    title = "loudness of speech"
    help = "masked loudness regression"
    modality = "acoustic"
    ablation = "no_acoustic"
    scores_of_loss = {"deviation": lambda loss: loss**0.5}

    @classmethod
    def serves(cls, sizes):
        return sizes.acoustic_dim > 0

    @classmethod
    def head(cls, sizes):
        return HeadPlan(lambda width: ClassHead(width, 1), "acoustic")

    def source(self, batch):
        return batch["net_input"]["acoustic"].float().mean(dim=1, keepdim=True)

    def width(self):
        return 1

    def loss(self, output, target):
        return functional.mse_loss(output, target.to(output.dtype), reduction="sum"), target.numel()
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed package that has one objective, and one that cannot be imported."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "loudness_package.py").write_text(SOURCE)
    information = folder / "loudness_package-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: loudness-package\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[memobert_plugin.objectives]\nloudness = loudness_package:Loudness\nbroken = not_there:Broken\n"
    )
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> type[Objective]:
    """The package, as if installed before this interpreter started."""
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(OBJECTIVES, "_outside", None)
    OBJECTIVES.names()  # reads the folder, so that the copy has it all
    monkeypatch.setattr(OBJECTIVES, "_found", dict(OBJECTIVES._found))
    return OBJECTIVES.get("loudness")


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=3, utterances=10))


def model_with(*objectives: str) -> MEmoBERTModel:
    torch.manual_seed(1)
    return MEmoBERTModel.build(MEmoBERTTinyConfig(encoder_layers=1), 7, 6, 5, 8, objectives=objectives)


def test_every_installed_objective_has_a_ratio_flag(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(OBJECTIVES, "_outside", None)
    fields = {name: (kind, field) for name, kind, field in pretraining._ratio_fields()}
    assert list(fields)[:4] == ["wwmlm_ratio", "mvfr_ratio", "mvfc_ratio", "mafr_ratio"]
    assert fields["wwmlm_ratio"][1].default == 2.0 and fields["loudness_ratio"][1].default is None
    assert "loudness_package" not in sys.modules, "a flag needs no import"


def test_an_installed_objective_joins_a_training_only_if_it_is_asked_for(
    installed: type[Objective], data_bin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(TrainingRun(data_bin, "memobert_pretraining").task.ratios) == {"wwmlm", "mvfr", "mvfc", "mafr"}
    monkeypatch.setattr(installed, "default_ratio", 0.5)
    assert TrainingRun(data_bin, "memobert_pretraining").task.ratios["loudness"] == 0.5


def test_an_objective_joins_its_ablation(installed: type[Objective]) -> None:
    assert ablations()["no_acoustic"] == ["mafr", "loudness"]


def test_another_objectives_head_leaves_all_other_parameters_as_they_were(installed: type[Objective]) -> None:
    without, with_it = model_with().state_dict(), model_with("wwmlm", "loudness").state_dict()
    assert {name for name in with_it if name not in without} == {
        f"heads.loudness.{name}" for name in (
            "transform.weight", "transform.bias", "norm.weight", "norm.bias", "out.weight", "out.bias",
        )
    }  # fmt: skip
    assert all(torch.equal(value, with_it[name]) for name, value in without.items())


def test_a_checkpoint_from_before_the_objective_loads_and_its_head_starts_fresh(
    installed: type[Objective], caplog: pytest.LogCaptureFixture
) -> None:
    model = model_with("loudness")
    own = model.state_dict()["heads.loudness.out.weight"].clone()
    with caplog.at_level(logging.INFO):
        model.load_state_dict(model_with().state_dict())
    assert "not in the checkpoint, starts fresh: heads.loudness.*" in caplog.text
    assert torch.equal(model.state_dict()["heads.loudness.out.weight"], own)


@pytest.mark.slow
def test_training_with_it_then_going_on_where_it_is_not_installed(
    site: Path, data_bin: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = training_flags(
        data_bin, "memobert_pretraining", "--loudness-ratio", "4", "--wwmlm-ratio", "1", "--max-update", "8",
        "--save-dir", str(tmp_path), "--log-format", "json",
    )  # fmt: skip
    command = [sys.executable, "-c", "from fairseq_cli.train import cli_main; cli_main()", *flags]
    paths = os.pathsep.join((str(ROOT), str(site)))
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    log = done.stdout + done.stderr
    assert done.returncode == 0, log
    assert "objective loudness: loudness of speech, sampling ratio 4" in log
    assert "objective broken is left out: objective 'broken' of the package loudness-package cannot be imported" in log
    assert "valid_loudness_loss" in log and "valid_loudness_deviation" in log
    checkpoint = tmp_path / "checkpoint_last.pt"
    assert any(name.startswith("heads.loudness.") for name in load_safely(checkpoint)["model"])

    run = TrainingRun(data_bin, "memobert_prompt", "--fold", "1")
    with caplog.at_level(logging.WARNING):
        run.model.load_state_dict(load_safely(checkpoint)["model"])
    assert "trained on the objective loudness, which is not installed here" in caplog.text
    run.train(1)


def test_the_example_objective_works_in_the_folder_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It registers itself on import, as CONTRIBUTING.md says of every kind."""
    OBJECTIVES.names()  # reads the folder, so that the copy has it all
    monkeypatch.setattr(OBJECTIVES, "_found", dict(OBJECTIVES._found))
    source = (ROOT / "examples/extension/memobert_extension/objective.py").read_text(encoding="utf-8")
    exec(compile(source, "speech_level.py", "exec"), {"__name__": "memobert_plugin.objectives.speech_level"})
    assert OBJECTIVES.get("speech_level").title == "level of speech"
