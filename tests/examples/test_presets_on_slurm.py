"""``fairseq-hydra-train -m`` sends the presets' runs to a real SLURM, where they train each in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data_bins import CorpusShape, make_data_bin
from tests.host import ROOT, USER_DIR, load_safely
from tests.slurm import require_slurm

pytestmark = pytest.mark.slow
UPDATES = 6
ON_THIS_MACHINE = [
    "hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=10",
    "common.cpu=true", "dataset.num_workers=0",
]  # fmt: skip
SMALL = [
    "common.fp16=false", f"optimization.max_update={UPDATES}", "model.encoder_layers=1", "model.encoder_embed_dim=16",
    "model.encoder_ffn_embed_dim=32", "model.encoder_attention_heads=2", "dataset.batch_size=8",
]  # fmt: skip


def test_one_job_for_each_fold_and_the_command_waits_for_them(tmp_path: Path) -> None:
    require_slurm()
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="hydra-submitit-launcher is not installed")
    data_bin = make_data_bin(tmp_path / "corpus", CorpusShape(speakers=3, utterances=10))
    command = [
        str(Path(sys.executable).parent / "fairseq-hydra-train"), "-m", "--config-dir",
        str(ROOT / "examples" / "emotion" / "config"), "--config-name", "prompt", "run_config=slurm_1",
        "hydra/launcher=submitit_slurm", *ON_THIS_MACHINE, f"common.user_dir={USER_DIR}", f"task.data={data_bin}",
        "task.fold=1,2", *SMALL,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HYDRA_FULL_ERROR": "1", "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    logs = sorted(tmp_path.glob("multirun/prompt/.submitit/*/*_log.out"))
    printed = "\n".join(path.read_text(encoding="utf-8")[-2000:] for path in logs)
    assert finished.returncode == 0, finished.stderr[-3000:] + printed
    assert len(logs) == 2 and printed.count("done training") == 2
    for fold in (1, 2):
        [folder] = tmp_path.glob(f"multirun/prompt/*task.fold={fold}*/checkpoints/prompt/fold{fold}")
        content = load_safely(folder / "checkpoint_last.pt")
        assert content["optimizer_history"][-1]["num_updates"] == UPDATES
        assert content["cfg"]["task"]["fold"] == fold
