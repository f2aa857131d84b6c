"""A checkpoint that holds weights and no training yet: what ``fairseq-train --finetune-from-model`` starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import UserError
from ..core.files import replaced_when_complete
from ..nn.network import ARCHITECTURES, NetworkSizes
from .bert_folder import BertConfig


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


def host_model(config: BertConfig) -> dict[str, Any]:
    """The host's configuration of a model of these sizes: the named architecture that has them, else ``memobert``."""
    sizes = {
        "encoder_layers": config.layers,
        "encoder_embed_dim": config.hidden,
        "encoder_ffn_embed_dim": config.ffn,
        "encoder_attention_heads": config.heads,
    }
    named = [
        name
        for name, architecture in ARCHITECTURES.items()
        if all(getattr(architecture, field) == size for field, size in sizes.items())
    ]
    name = named[0] if named else "memobert"
    return {**asdict(NetworkSizes()), **sizes, "max_positions": config.max_positions, "_name": name}


def training_flags(model: Mapping[str, Any]) -> str:
    """The host's flags for such a configuration: its architecture, and the sizes that the name does not imply."""
    implied = ARCHITECTURES.get(model["_name"], NetworkSizes())
    sizes = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in model.items()
        if name != "_name" and value != getattr(implied, name)
    ]
    return " ".join([f"--arch {model['_name']}", *sizes])
