"""Refuse checkpoints to start from that do not fit a training, which fairseq would take in silence or end on."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from ..checkpoints.fairseq_checkpoint import read_plain_checkpoint
from ..checkpoints.last_checkpoint import LAST
from ..core.errors import UserError
from ..core.names import CLASSES, DIMENSIONS, SEVERAL
from ..data.frame_making import made_otherwise, otherwise_centered
from ..data.frames import ExtractorInfo

logger = logging.getLogger(__name__)

_OF_SPEAKERS = ("fold", "folds", "protocol", "exclude_speakers")
"""Flags that say on which speakers a training learns."""


def resumed_checkpoint(checkpoint: DictConfig) -> Path | None:
    """Return the file whose training goes on; None where a training begins, also from other weights."""
    suffix = checkpoint.get("checkpoint_suffix") or ""  # of one of several shards
    path = Path(checkpoint.restore_file.replace(".pt", f"{suffix}.pt"))
    if checkpoint.restore_file == LAST:
        path = Path(checkpoint.save_dir, path)
    return path if path.is_file() else None


def _content(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint, whose tensors are not read where its format spares that.

    Raises:
        UserError: it is damaged, or holds more than plain data.
    """
    try:
        content: dict[str, Any] = torch.load(path, "cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError):  # such as a file of the format before torch 1.6
        return read_plain_checkpoint(path)
    return content


def refuse_no_checkpoint(checkpoint: DictConfig) -> None:
    """Refuse ``--finetune-from-model`` and ``--restore-file`` with a folder, such as a bundle, or with no file.

    fairseq would start from nothing in silence, or end in a traceback.

    Raises:
        UserError: it is a folder, or a training would begin from a file that is not there.
    """
    resumed = checkpoint.restore_file
    if resumed != LAST and "://" not in resumed and resumed_checkpoint(checkpoint) is None:
        what = "a folder" if Path(resumed).is_dir() else "no such file"
        raise UserError(f"--restore-file {resumed}: {what}; give the checkpoint_last.pt of a training")
    start = checkpoint.finetune_from_model
    if not start or "://" in start:
        return
    if Path(start).is_dir():
        raise UserError(f"--finetune-from-model {start}: a folder; give the checkpoint_best.pt of a training")
    if not Path(start).exists() and resumed_checkpoint(checkpoint) is None:
        raise UserError(f"--finetune-from-model {start}: no such file; give the checkpoint_best.pt of a training")


def refuse_without_average(checkpoint: DictConfig) -> None:
    """Refuse ``--store-ema`` on a checkpoint that was made without it, where fairseq ends in ``KeyError: 'model'``.

    Raises:
        UserError: the checkpoint that training starts from has no moving average of the parameters.
    """
    path = resumed_checkpoint(checkpoint)
    if path is None and checkpoint.finetune_from_model:
        path = Path(checkpoint.finetune_from_model)
    if path is not None and path.is_file() and "ema" not in _content(path).get("extra_state", {}):
        raise UserError(f"--store-ema: {path} was saved without it, and fairseq cannot begin there; leave it out")


def refuse_other_outputs(checkpoint: DictConfig, outputs: Sequence[str], kind: str) -> None:
    """Refuse to go on with a training whose outputs meant something else; its head would keep its rows.

    fairseq stops in an assertion where the loss is another, and goes on in silence where it is the same.

    Args:
        checkpoint: fairseq's configuration of checkpoints.
        outputs: names of the model's outputs, in order.
        kind: ``classes``, ``dimensions`` or ``several``.

    Raises:
        UserError: the checkpoint that training goes on from had other outputs.
    """
    path = None if checkpoint.reset_optimizer else resumed_checkpoint(checkpoint)
    state = _content(path).get("task_state") if path is not None else None
    if not state or "labels" not in state:
        return
    before, kind_before = list(state["labels"]), (state.get("target") or {}).get("kind", CLASSES)
    if before != list(outputs) or kind_before != kind:
        raise UserError(
            f"{path}: it was trained on {_described(before, kind_before)}, and not on {_described(outputs, kind)}; "
            "give the same flags, or another --save-dir"
        )


def refuse_other_speakers(checkpoint: DictConfig, task: Any) -> None:
    """Refuse to go on with a training on other speakers: it has learned from some that are tested now.

    Args:
        checkpoint: fairseq's configuration of checkpoints.
        task: that of the task.

    Raises:
        UserError: the checkpoint that training goes on from was of another fold, or left out other speakers.
    """
    path = None if checkpoint.reset_optimizer else resumed_checkpoint(checkpoint)
    before = (_content(path).get("cfg") or {}).get("task") or {} if path is not None else {}
    for name in _OF_SPEAKERS:
        asked = task.get(name)
        if name in before and name in task and str(before[name] or "") != str(asked or ""):
            # Another path may be that of a moved file of folds.
            if name == "folds" and Path(str(before[name])).name == Path(str(asked)).name:
                continue
            flag = f"--{name.replace('_', '-')}"
            raise UserError(
                f"{path}: it was trained with {flag} {before[name] or 'nothing'}, not {asked or 'nothing'}, and so on "
                "other speakers; give the same flags, or another --save-dir"
            )


def refuse_other_frames(checkpoint: DictConfig, own: Mapping[str, ExtractorInfo | None]) -> None:
    """Refuse to begin with a network for frames less their speaker's mean on frames that are not, or the reverse.

    Frames that were made otherwise in another way are named in the log.

    Args:
        checkpoint: fairseq's configuration of checkpoints.
        own: the makers of the data-bin's frames by stream; None for a stream that it lacks.

    Raises:
        UserError: the checkpoint that training starts from read the other kind.
    """
    start = resumed_checkpoint(checkpoint) or Path(checkpoint.finetune_from_model or "")
    state = _content(start).get("task_state") if any(own.values()) and start.is_file() else None
    before = (state or {}).get("origins") or {}
    if reason := otherwise_centered(own.get("acoustic"), before.get("acoustic")):
        raise UserError(f"{start}: {reason}")
    for stream, info in own.items():
        read = ExtractorInfo.from_dict(str(start), before[stream]) if before.get(stream) else None
        if different := made_otherwise(info, read):
            logger.warning(
                "%s: trained on %s frames of another making than the data-bin's (%s)", start, stream, different
            )


def _described(outputs: Sequence[str], kind: str) -> str:
    meant = {CLASSES: "one of", DIMENSIONS: "numbers of", SEVERAL: "any of"}[kind]
    return f"{meant} {', '.join(outputs)} (in this order)"
