"""Which of the host's registered models has given sizes, and the flags that ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..models.configuration import MEmoBERTConfig, MEmoBERTSmallConfig, MEmoBERTTinyConfig
from .bert_folder import BertConfig

ARCHITECTURES = {
    "memobert_base": MEmoBERTConfig(),
    "memobert_small": MEmoBERTSmallConfig(),
    "memobert_tiny": MEmoBERTTinyConfig(),
}


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
    return {**asdict(MEmoBERTConfig()), **sizes, "max_positions": config.max_positions, "_name": name}


def training_flags(model: Mapping[str, Any]) -> str:
    """The host's flags for such a configuration: its architecture, and the sizes that the name does not imply."""
    implied = ARCHITECTURES.get(model["_name"], MEmoBERTConfig())
    sizes = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in model.items()
        if name != "_name" and value != getattr(implied, name)
    ]
    return " ".join([f"--arch {model['_name']}", *sizes])
