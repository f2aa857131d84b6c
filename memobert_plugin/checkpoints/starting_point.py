"""Write checkpoints of weights without any training, for ``fairseq-train --finetune-from-model``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import UserError
from ..core.files import replaced_when_complete
from ..core.names import LAYER_NORM_EPS
from ..nn.network import ARCHITECTURES, NetworkSizes, stored_epsilon
from .bert import BertConfig


def write_starting_point(path: Path, weights: Mapping[str, Tensor], model: Mapping[str, Any]) -> None:
    """Write ``weights`` in fairseq's checkpoint format, with counters at their start.

    Args:
        path: the file, written completely or not at all; its folder is made.
        weights: the model's state dictionary, possibly without the parameters that training initialises.
        model: the model's configuration, its architecture under ``_name``.

    Raises:
        UserError: the file cannot be written.
    """
    content = {
        "args": None,
        "cfg": {"model": dict(model)},
        "model": {**weights, **stored_epsilon(model.get("layer_norm_eps", LAYER_NORM_EPS))},
        "criterion": None,
        # fairseq reads the last entry of this list even if told to reset the optimizer.
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
        # Opened here, because torch does not say why it cannot open a file.
        with replaced_when_complete(path, named_by_user=True) as temporary, open(temporary, "wb") as stream:
            torch.save(content, stream)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another file") from None


def model_settings(config: BertConfig) -> dict[str, Any]:
    """Return fairseq's configuration of a model of these sizes, named after the architecture that has them if any."""
    sizes = {
        "encoder_layers": config.layers,
        "encoder_embed_dim": config.hidden,
        "encoder_ffn_embed_dim": config.ffn,
        "encoder_attention_heads": config.heads,
    }
    further = {"max_positions": config.max_positions, "layer_norm_eps": config.layer_norm_eps}
    named = [
        name
        for name, architecture in ARCHITECTURES.items()
        if all(getattr(architecture, field) == size for field, size in sizes.items())
    ]
    name = named[0] if named else "memobert"
    return {**asdict(NetworkSizes()), **sizes, **further, "_name": name}


def training_flags(model: Mapping[str, Any]) -> str:
    """Return fairseq's flags for such a configuration: the architecture, and the sizes that differ from it."""
    implied = ARCHITECTURES.get(model["_name"], NetworkSizes())
    sizes = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in model.items()
        if name != "_name" and value != getattr(implied, name)
    ]
    return " ".join([f"--arch {model['_name']}", *sizes])
