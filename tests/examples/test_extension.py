"""The example package adds an objective, an encoder, a corpus and a comparator from outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from tests.data_bins import write_vocabulary
from tests.host import ROOT, SMALLEST_MODEL, USER_DIR

PACKAGE = ROOT / "examples" / "extension"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the package into a folder of its own; returns an environment that finds it."""
    site = tmp_path_factory.mktemp("site")
    # A copy: pip builds within the folder that it is given, and other tests read the checkout meanwhile.
    package = shutil.copytree(
        PACKAGE, tmp_path_factory.mktemp("source") / PACKAGE.name, ignore=shutil.ignore_patterns("build", "*.egg-info")
    )
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(site), str(package)], check=True, timeout=300)
    paths = os.pathsep.join((str(ROOT), str(site), *filter(None, [os.environ.get("PYTHONPATH")])))
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


def run(environment: dict[str, str], module: str, *flags: object) -> str:
    """Run a module's command and return what it printed."""
    entry = "from importlib import import_module as get; import sys; get(sys.argv.pop(1)).cli_main()"
    start = ["-m", module] if module.endswith("corpora") else ["-c", entry, module]
    command = [sys.executable, *start, *map(str, flags)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def data_bin(installed: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read the corpus, extract and binarize it with the commands that a user types."""
    folder = tmp_path_factory.mktemp("folders")
    rng = np.random.default_rng(0)
    for emotion, level in (("happy", 0.3), ("sad", 0.03)):
        (folder / "clips" / emotion).mkdir(parents=True)
        for speaker in ("alice", "bob", "carol"):
            for take in range(3):
                samples = (level * 32_767 * rng.uniform(-1, 1, 8_000)).astype("<i2")
                with wave.open(str(folder / "clips" / emotion / f"{speaker}_{take}.wav"), "wb") as sound:
                    sound.setnchannels(1)
                    sound.setsampwidth(2)
                    sound.setframerate(16_000)
                    sound.writeframes(samples.tobytes())
    manifest, frames, data_bin = folder / "manifest.tsv", folder / "acoustic", folder / "bin"
    run(installed, "memobert_plugin.corpora", "folders", folder / "clips", "--output", manifest, "--valid-share", "0.2")
    run(
        installed, "memobert_plugin.cli.extract", "acoustic", "--manifest", manifest, "--output", frames,
        "--encoder", "loudness", "--window-ms", "25", "--pool", "1",
    )  # fmt: skip
    assert '"window_ms": 25.0' in (frames / "extractor.json").read_text(encoding="utf-8")
    run(
        installed, "memobert_plugin.cli.binarize", "--manifest", manifest, "--acoustic", frames,
        "--vocab", write_vocabulary(folder), "--output", data_bin,
    )  # fmt: skip
    return data_bin


def train(installed: dict[str, str], data_bin: Path, task: str, folder: Path, *flags: str) -> str:
    """Train three updates."""
    return run(
        installed, "fairseq_cli.train", data_bin, "--user-dir", USER_DIR, "--task", task, "--criterion", task,
        "--optimizer", "memobert_adamw", "--lr", "1e-3", "--lr-scheduler", "fixed", "--batch-size", "4", "--cpu",
        "--num-workers", "0", "--max-update", "3", "--save-dir", folder, "--log-format", "json", *flags,
    )  # fmt: skip


def test_the_objective_is_trained(installed: dict[str, str], data_bin: Path, tmp_path: Path) -> None:
    flags = ("--speech-level-ratio", "3", "--wwmlm-ratio", "0", "--mafr-ratio", "1", *SMALLEST_MODEL)
    log = train(installed, data_bin, "memobert_pretraining", tmp_path, *flags)
    assert "objective speech_level: level of speech, sampling ratio 3" in log and "valid_speech_level_loss" in log


def test_the_comparator_is_trained(installed: dict[str, str], data_bin: Path, tmp_path: Path) -> None:
    flags = ("--arch", "memobert_mean_pooling", "--encoder-embed-dim", "8", "--fold", "1", "--labels", "happy,sad")
    assert "valid_uar" in train(installed, data_bin, "memobert_finetune", tmp_path, *flags)


def test_every_plugin_is_in_the_help(installed: dict[str, str]) -> None:
    assert "--window-ms" in run(installed, "memobert_plugin.cli.extract", "acoustic", "--help")
    assert "sound files in one folder per emotion" in run(installed, "memobert_plugin.corpora", "--help")


IN_THE_FOLDERS = """
import sys
from importlib import import_module

names = {
    "objectives": ("base:OBJECTIVES", "speech_level"),
    "features.encoders": ("base:ENCODERS", "loudness"),
    "corpora": ("reading:CORPORA", "folders"),
    "comparators": ("base:COMPARATORS", "mean_pooling"),
}
for folder, (place, name) in names.items():
    package = import_module(f"memobert_plugin.{folder}")
    package.__path__.append(f"{sys.argv[1]}/{folder}")
    base, registry = place.split(":")
    plugins = getattr(import_module(f"memobert_plugin.{folder}.{base}"), registry)
    assert name in plugins.own(), (folder, list(plugins.own()))
"""


def test_the_files_work_unchanged_in_the_folders_of_memobert_plugin(tmp_path: Path) -> None:
    files = {
        "objectives": "objective",
        "features.encoders": "encoder",
        "corpora": "corpus",
        "comparators": "comparator",
    }
    for folder, name in files.items():
        (tmp_path / folder).mkdir()
        shutil.copy(PACKAGE / "memobert_extension" / f"{name}.py", tmp_path / folder / f"{name}_of_mine.py")
    command = [sys.executable, "-c", IN_THE_FOLDERS, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
