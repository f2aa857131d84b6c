"""A checkpoint that holds weights and no training yet: what ``fairseq-train --finetune-from-model`` starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.atomic import replaced_when_complete
from ..errors import UserError


def write_starting_point(path: Path, weights: Mapping[str, Tensor], model: Mapping[str, Any]) -> None:
    """Write ``weights`` in the host's checkpoint format, with update and epoch counters at their beginning.

    Args:
        path: the file; it appears complete or not at all, and its folder is made where needed.
        weights: the model's state dictionary, possibly without the parameters that training initialises.
        model: the model's configuration, its architecture under ``_name``.

    Raises:
        UserError: the file cannot be written.
    """
    content = {
        "args": None,
        "cfg": {"model": dict(model)},
        "model": dict(weights),
        "criterion": None,
        # The host reads the last entry of this list whatever it is told to reset.
        "optimizer_history": [
            {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0},
        ],
        "task_state": {},
        "extra_state": {
            "train_iterator": {"version": 2, "epoch": 1, "iterations_in_epoch": 0, "shuffle": True},
            "val_loss": None,
        },
        "last_optimizer_state": None,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Of a file that it opens itself torch would not say why it cannot be written.
        with replaced_when_complete(path) as temporary, open(temporary, "wb") as stream:
            torch.save(content, stream)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another file") from None
