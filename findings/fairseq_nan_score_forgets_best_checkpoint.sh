#!/usr/bin/env bash
# fairseq: one validation score of NaN makes it forget the best checkpoint, and a worse one replaces it.
#
# Versions: ve-fairseq 0.12.3, torch 2.13.0.
# Guess: after scores 0.7, NaN, 0.6 (higher is better), checkpoint_best.pt is that of 0.7.
# Seen: it is that of 0.6. save_checkpoint takes Python's max of the score and the best so far, which is NaN when the
#   score is NaN, and then the next score whatever it is. The same holds for min.
# Do: return a finite worst score where a metric is not defined, and take the best epoch from the log.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 numpy==1.26.4 omegaconf==2.3.1 hydra-core==1.3.8 \
    bitarray==3.12.3 regex==2026.11.15 sacrebleu==2.6.0 scikit-learn==1.9.1 tqdm==4.70.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps ve-fairseq==0.12.3

"$folder/venv/bin/python" - 2>"$folder/log" <<'PY' || { cat "$folder/log"; exit 1; }
import math
import tempfile
from pathlib import Path
from types import SimpleNamespace

from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig


class Trainer:
    """As much of fairseq's trainer as saving takes; it writes the score as the checkpoint."""

    data_parallel_rank = 0
    should_save_checkpoint_on_current_rank = True
    checkpoint_suffix = ""
    task = None

    def consolidate_optimizer(self):
        pass

    def get_num_updates(self):
        return 1

    def save_checkpoint(self, path, state):
        Path(path).write_text(str(state["val_loss"]))


def best_after(scores, higher_is_better):
    """Save a checkpoint after each epoch of a run; return the score of checkpoint_best.pt."""
    vars(checkpoint_utils.save_checkpoint).pop("best", None)
    with tempfile.TemporaryDirectory() as folder:
        config = CheckpointConfig(save_dir=folder, maximize_best_checkpoint_metric=higher_is_better)
        for epoch, score in enumerate(scores, start=1):
            iterator = SimpleNamespace(epoch=epoch, end_of_epoch=lambda: True, state_dict=dict)
            checkpoint_utils.save_checkpoint(config, Trainer(), iterator, score)
        return float(Path(folder, "checkpoint_best.pt").read_text())


for scores, higher_is_better, expected in (
    ((0.7, 0.5, 0.6), True, 0.7),
    ((0.7, math.nan, 0.6), True, 0.6),
    ((0.3, math.nan, 0.4), False, 0.4),
):
    best = best_after(scores, higher_is_better)
    print(f"scores {scores}, {'higher' if higher_is_better else 'lower'} is better: checkpoint_best.pt has {best}")
    assert best == expected, "the best checkpoint is now chosen otherwise"
PY
