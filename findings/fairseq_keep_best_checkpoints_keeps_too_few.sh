#!/usr/bin/env bash
# fairseq: --keep-best-checkpoints 3 keeps a single checkpoint when the first epoch was the best.
#
# Versions: ve-fairseq 0.12.3, torch 2.13.0.
# Guess: after scores 0.7, 0.6, 0.5, 0.65 (higher is better), those of 0.7, 0.65 and 0.6 are kept.
# Seen: only that of 0.7. A score is compared with the worst of those kept even while there are fewer than three, so a
#   worse score never adds one. With rising scores three are kept.
# Do: keep all epochs' checkpoints and choose afterwards, as for averaging checkpoints.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 numpy==1.26.4 omegaconf==2.3.1 hydra-core==1.3.8 \
    bitarray==3.12.3 regex==2026.11.15 sacrebleu==2.6.0 scikit-learn==1.9.1 tqdm==4.70.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps ve-fairseq==0.12.3

"$folder/venv/bin/python" - 2>"$folder/log" <<'PY' || { cat "$folder/log"; exit 1; }
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


def kept_after(scores):
    """Save a checkpoint after each epoch of a run; return the scores of the best that are kept."""
    vars(checkpoint_utils.save_checkpoint).pop("best", None)
    with tempfile.TemporaryDirectory() as folder:
        config = CheckpointConfig(
            save_dir=folder,
            best_checkpoint_metric="accuracy",
            maximize_best_checkpoint_metric=True,
            keep_best_checkpoints=3,
        )
        for epoch, score in enumerate(scores, start=1):
            iterator = SimpleNamespace(epoch=epoch, end_of_epoch=lambda: True, state_dict=dict)
            checkpoint_utils.save_checkpoint(config, Trainer(), iterator, score)
        return sorted(float(path.read_text()) for path in Path(folder).glob("checkpoint.best_accuracy_*.pt"))


for scores, expected in (
    ((0.4, 0.5, 0.6, 0.7), [0.5, 0.6, 0.7]),
    ((0.7, 0.6, 0.5, 0.65), [0.7]),
):
    kept = kept_after(scores)
    print(f"scores {scores}, the best three kept: {kept}")
    assert kept == expected, "other checkpoints are now kept"
PY
