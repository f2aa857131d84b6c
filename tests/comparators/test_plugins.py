"""A comparator of another package: an architecture, a setting of a plan and a row of the report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from memobert_plugin.comparators.base import COMPARATORS, ComparatorConfig, comparator, comparator_settings
from memobert_plugin.comparators.mult import MulT
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import ROOT
from tests.sweep.sweeps import plan_values, write_plan

LATE_FUSION = '''
from dataclasses import dataclass, field

from memobert_plugin.comparators.base import ComparatorConfig, EmotionNetwork, comparator


@dataclass
class LateFusionConfig(ComparatorConfig):
    """The word embeddings' sum, weighted."""

    text_weight: float = field(default=1.0, metadata={"help": "weight of the words"})


@comparator("late_fusion", "Late fusion", LateFusionConfig)
class LateFusion(EmotionNetwork):
    """The mean word."""

    def __init__(self, config, vocabulary, visual_dim, acoustic_dim, labels):
        super().__init__(config, vocabulary, visual_dim, acoustic_dim, labels, config.encoder_embed_dim)
        self.weight = config.text_weight

    def fuse(self, text, visual, acoustic):
        first = [part.rows[: len(text.lengths)].sum() * 0 for part in (visual, acoustic)]
        means = [rows.mean(dim=0) for rows in text.rows.split(text.lengths.tolist())]
        return self.weight * __import__("torch").stack(means) + sum(first)
'''


def write_distribution(folder: Path) -> Path:
    """Write a package with one comparator and its entry point, as pip would install it."""
    (folder / "late_fusion_package.py").write_text(LATE_FUSION, encoding="utf-8")
    info = folder / "late_fusion_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late-fusion-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[memobert_plugin.comparators]\nlate_fusion = late_fusion_package\n")
    return folder


def test_each_file_of_the_folder_brings_its_architecture_and_its_setting() -> None:
    settings = comparator_settings()
    assert {"early_fusion", "mult"} <= set(settings)
    assert settings["mult"].title == "MulT" and settings["mult"].architecture == "memobert_mult"
    assert issubclass(COMPARATORS.get("mult"), MulT)


@pytest.mark.parametrize("name", ["direct", "no name", "mult"])
def test_a_name_that_is_taken_or_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"called (comparator )?'{name}'"):
        comparator(name, "Title", ComparatorConfig)(MulT)
    assert comparator_settings()["mult"].title == "MulT"


def run_from(folder: Path, environment: dict[str, str], command: str, *arguments: object) -> str:
    """Run a command of this package in a fresh interpreter; what it printed."""
    code = f"from memobert_plugin.cli.{command} import cli_main; cli_main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_comparator_of_another_package_is_trained_and_reported(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    paths = [str(write_distribution(package)), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    corpus = make_data_bin(tmp_path, CorpusShape(speakers=3, utterances=8))
    values = plan_values(corpus, settings=["late_fusion", "direct"], folds=[1])
    values["emotion"]["setting_flags"] = {"late_fusion": {"text_weight": 0.5}}
    plan, runs = write_plan(tmp_path, values), tmp_path / "runs"
    assert "2 done, 0 failed" in run_from(tmp_path, environment, "sweep", plan, "--output", runs)
    log = (runs / "emotion/late_fusion/full/fraction100/fold01/seed1/log.txt").read_text()
    assert "LateFusionModel" in log and "'text_weight': 0.5" in log
    table = run_from(tmp_path, environment, "report", runs, "--out", tmp_path / "report", "--no-pictures")
    assert "| Late fusion " in table and table.index("| Late fusion ") < table.index("| Direct ")


@pytest.mark.slow
def test_a_sweep_trains_tests_and_reports_the_published_systems(tmp_path: Path) -> None:
    """MMIN's teacher is part of its run; notes say what a reader has to know of each row."""
    corpus = make_data_bin(tmp_path, CorpusShape(speakers=4, utterances=8, dialogues=True))
    settings = ["clstm_mma", "mmin", "ssmm"]
    values = plan_values(corpus, settings=settings, folds=[1], modality_cases=["lva", "l", "va"])
    values["corpus"]["name"] = "IEMOCAP"
    plan, runs = write_plan(tmp_path, values), tmp_path / "runs"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert "3 done, 0 failed" in run_from(tmp_path, environment, "sweep", plan, "--output", runs)
    folder = runs / "emotion/mmin/full/fraction100/fold01/seed1"
    assert sorted(path.name for path in (folder / "predictions").iterdir()) == [
        "test-l.jsonl", "test-lva.jsonl", "test-va.jsonl"
    ]  # fmt: skip
    assert not list((folder / "first").glob("*.pt")) and (folder / "checkpoints" / "checkpoint_best.pt").exists()
    log = (folder / "log.txt").read_text()
    assert log.index("'mmin_stage': teacher") < log.index("valid_patterns_uar")
    table = run_from(tmp_path, environment, "report", runs, "--out", tmp_path / "report", "--no-pictures")
    for row, published in (("cLSTM-MMA, with dialogue context", "73.94"), ("MMIN", "78.12"), ("SSMM (our", "75.60")):
        [line] = [line for line in table.splitlines() if line.startswith(f"| {row}")]
        assert published in line
    for note in ("reads the earlier utterances of the dialogue", "over the six patterns", "sizes and weights are not"):
        assert note in table
