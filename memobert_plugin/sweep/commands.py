"""Write the commands of a run, as one would type them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.names import CLASSES, DIMENSIONS, PROTOCOLS, SELECTED_BY, SEVERAL, Setting
from ..data.folds import SPEAKERS
from .plan import Plan, Resources, with_preset

Command = tuple[str, ...]

FIRST = "first"
"""Folder, inside a run's, of a training whose checkpoint the run's own training starts from."""
_FIRST_PORT, _PORTS = 20000, 20000


def flag_arguments(flags: Mapping[str, Any]) -> Command:
    """Return flags by name as arguments: ``True`` stands for the bare flag, ``False`` for none, a list for ``a,b``."""
    arguments: list[str] = []
    for name, value in flags.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(flag)
        elif value is not False and value is not None:
            listed = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            arguments += [flag, listed]
    return tuple(arguments)


class CommandWriter:
    """Writer of the commands of one plan's runs.

    Args:
        plan: the plan.
        user_dir: the plugin's folder, for fairseq's ``--user-dir``.
        distributed: resources of a pre-training job on SLURM; None on one machine.
    """

    def __init__(self, plan: Plan, user_dir: Path, distributed: Resources | None) -> None:
        self.plan, self.user_dir, self.distributed = plan, user_dir, distributed

    def bert_import(self, output: Path) -> Command:
        """Return the import of BERT's weights as a checkpoint to start from."""
        return ("memobert-import", "bert", str(self.plan.bert), "--output", str(output), "--overwrite")

    def pretraining(
        self,
        folder: Path,
        seed: int,
        variant: Mapping[str, Any],
        excluded: str,
        start: Path | None,
        chosen: Mapping[str, Any],
    ) -> Command:
        """Return the pre-training of one variant, possibly without a speaker; ``chosen`` replaces values of a grid."""
        assert self.plan.pretraining is not None
        flags: dict[str, Any] = {
            "user_dir": self.user_dir,
            "task": "memobert_pretraining",
            "criterion": "memobert_pretraining",
            **self._training(folder, seed, start),
            **self.plan.model,
            **self._ranks(folder),
            **self.plan.common,
            **with_preset(self.plan, None, {**self.plan.pretraining.flags, **chosen}, 0),
            **variant,
            "exclude_speakers": excluded or None,
        }
        data = ":".join(map(str, self.plan.pretraining.data))
        return ("fairseq-train", data, *flag_arguments(flags))

    def emotion(
        self, folder: Path, setting: Setting, flags: Mapping[str, Any], identity: Mapping[str, Any], start: Path | None
    ) -> Command:
        """Return the training of one fold; ``flags`` are the run's own, ``identity`` names seed, fold, labels and
        share.
        """
        chosen: dict[str, Any] = {
            "user_dir": self.user_dir,
            "task": setting.task,
            "criterion": setting.task,
            **self._training(folder, identity["seed"], start),
            **self._architecture(setting),
            "distributed_world_size": 1,
            "fold": identity["fold"],
            # Left out where it is the default, so that sweeps of earlier versions go on.
            "folds": self.plan.folding if self.plan.folding != SPEAKERS else None,
            "protocol": self.plan.protocol,
            "train_fraction": identity["train_fraction"],
            "labels": identity["labels"] if self.plan.kind != DIMENSIONS else None,
            "dimensions": identity["labels"] if self.plan.kind == DIMENSIONS else None,
            "several_labels": self.plan.kind == SEVERAL,
            "modalities": self.plan.train_modalities,
            "modality_mixture": self.plan.modality_mixture,
            **PROTOCOLS[self.plan.protocol].flags,
            **self._selection(),
            **self.plan.common,
            **flags,
        }
        if self.plan.modality_mixture and not chosen["modality_mixture"]:  # the mixture's weight is for the others
            chosen.pop("mixture_full_weight", None)
        return ("fairseq-train", str(self.plan.corpus), *flag_arguments(chosen))

    def test(self, folder: Path, setting: Setting, flags: Mapping[str, Any], case: str, predictions: Path) -> Command:
        """Return the command that predicts for the test speaker from some of the modalities."""
        sizes = {name: flags[name] for name in ("batch_size", "max_tokens") if name in flags}
        chosen: dict[str, Any] = {
            "user_dir": self.user_dir,
            "task": setting.task,
            "path": folder / PROTOCOLS[self.plan.protocol].checkpoint,
            "valid_subset": "test",
            "modalities": case,
            "predictions": predictions,
            **{name: sizes.get(name) for name in ("batch_size", "max_tokens")},
            **self.plan.common,
        }
        return ("fairseq-validate", str(self.plan.corpus), *flag_arguments(chosen))

    def _selection(self) -> dict[str, Any]:
        """Return the score that selects the checkpoint, where the target has its own."""
        selects = "best_checkpoint_metric" in PROTOCOLS[self.plan.protocol].flags and self.plan.kind != CLASSES
        return {"best_checkpoint_metric": SELECTED_BY[self.plan.kind]} if selects else {}

    def _architecture(self, setting: Setting) -> Mapping[str, Any]:
        """Return the plan's model; of a comparator its architecture, which reads the plan's text encoder too."""
        if not setting.architecture:
            return self.plan.model
        return {"arch": setting.architecture, "text_encoder": self.plan.model.get("text_encoder")}

    def _training(self, folder: Path, seed: int, start: Path | None) -> dict[str, Any]:
        """Return the flags of every training."""
        return {
            "save_dir": folder,
            "seed": seed,
            "finetune_from_model": start,
            "no_epoch_checkpoints": True,
            # Read by every rank: torch's safe loading refuses what fairseq would send from the first rank.
            "load_checkpoint_on_all_dp_ranks": True,
            "log_format": "json",
        }

    def _ranks(self, folder: Path) -> dict[str, Any]:
        ranks = self.distributed.ranks if self.distributed is not None else 1
        if ranks == 1:
            return {"distributed_world_size": 1}
        # Without a port fairseq starts a SLURM job on one node only. Jobs may share a node, so every run has its own.
        port = _FIRST_PORT + zlib.crc32(str(folder).encode()) % _PORTS
        flags: dict[str, Any] = {"distributed_world_size": ranks, "distributed_port": port}
        if self.plan.common.get("cpu"):
            flags.update(distributed_backend="gloo", ddp_backend="legacy_ddp")
        return flags


def is_training(command: Sequence[str]) -> bool:
    """Tell whether all ranks take part in a command, and it resumes from its last checkpoint."""
    return command[0] == "fairseq-train"


def flag_value(command: Sequence[str], flag: str) -> str | None:
    """Return the value that follows a flag in a command of this file; None without the flag."""
    return command[command.index(flag) + 1] if flag in command else None
