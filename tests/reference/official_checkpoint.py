"""Small random checkpoints in the published form: a state dictionary, a JSON configuration and a vocabulary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .bert_folder import bert_vocabulary
from .parameters import Config, Parameters, random_parameters

VOCABULARY = bert_vocabulary()
SPECIALS = ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]
SYMBOLS = [*SPECIALS, *(piece for piece in VOCABULARY if piece not in SPECIALS)]
"""The plugin's dictionary of this vocabulary."""
SIZES = Config(
    vocabulary=len(VOCABULARY),
    layers=2,
    hidden=64,
    heads=4,
    ffn=100,
    max_positions=96,
    visual_dim=36,
    acoustic_dim=48,
    expression_classes=8,
    labels=4,
)
UNUSED_HEADS = ("vfom_output", "sfom_output", "emo_classifier", "itm_output", "eitm_output")


@dataclass(frozen=True)
class OfficialCheckpoint:
    """The files, and the float64 parameters that the checkpoint holds rounded to float32."""

    checkpoint: Path
    config: Path
    vocab: Path
    parameters: Parameters
    sizes: Config

    @property
    def flags(self) -> list[str]:
        """What the command is told of the files."""
        files = (("--checkpoint", self.checkpoint), ("--config", self.config), ("--vocab", self.vocab))
        return [word for flag, path in files for word in (flag, str(path))]

    def state(self) -> dict[str, Tensor]:
        """The file's content."""
        return torch.load(self.checkpoint, weights_only=True)

    def rewrite(self, state: Mapping[str, Any]) -> None:
        """Replace the file's content."""
        torch.save(dict(state), self.checkpoint)


def write_official(folder: Path, sizes: Config = SIZES, finetuned: bool = True, seed: int = 0) -> OfficialCheckpoint:
    """Write all three files; the unused heads that published checkpoints carry are among the weights."""
    parameters = {name: value.detach().float() for name, value in random_parameters(sizes, seed).items()}
    if not finetuned:
        parameters = {name: value for name, value in parameters.items() if not name.startswith("output.")}
    for table in ("uniter.img_embeddings", "uniter.speech_embeddings"):
        parameters[f"{table}.mask_embedding.weight"][0] = 0.0
    unused = {f"{head}.{kind}": torch.randn(3) for head in UNUSED_HEADS for kind in ("weight", "bias")}
    folder.mkdir(parents=True, exist_ok=True)
    written = OfficialCheckpoint(
        folder / "model_step_40000.pt",
        folder / "uniter-base.json",
        folder / "vocab.txt",
        {name: value.double() for name, value in parameters.items()},
        sizes,
    )
    written.rewrite({**parameters, **unused})
    settings = {
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.ffn,
        "max_position_embeddings": sizes.max_positions,
        "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.layers,
        "type_vocab_size": 2,
        "vocab_size": sizes.vocabulary,
    }
    written.config.write_text(json.dumps(settings), encoding="utf-8")
    written.vocab.write_text("".join(f"{piece}\n" for piece in VOCABULARY), encoding="utf-8")
    return written
