"""Small random BERT folders as Hugging Face's tools write them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import BertConfig, BertPreTrainedModel

WORDS = [f"word{number}" for number in range(40)] + ["##s", "##ing", "i", "am", "it", "'", "!", ".", "happy", "sad"]


def bert_vocabulary(seed: int = 0) -> list[str]:
    """Word pieces in bert-base-uncased's style: specials first, but not in fairseq's order, then shuffled words."""
    words = list(WORDS)
    random.Random(seed).shuffle(words)
    return ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]


def bert_config(layers: int, hidden: int, heads: int, ffn: int, rows: int, positions: int = 64) -> BertConfig:
    """A configuration without dropout, with ``rows`` embedding rows."""
    return BertConfig(
        vocab_size=rows,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=ffn,
        max_position_embeddings=positions,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def random_bert(kind: type[BertPreTrainedModel], config: BertConfig, seed: int = 0) -> BertPreTrainedModel:
    """A model in evaluation mode whose every parameter is random, LayerNorms and biases included."""
    torch.manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.normal_(1.0, 0.1)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.1)
    return model


def write_bert_folder(folder: Path, model: BertPreTrainedModel, vocabulary: Sequence[str]) -> Path:
    """``config.json``, ``vocab.txt`` and ``model.safetensors``."""
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary), encoding="utf-8")
    return folder


def repacked_as_pickle(folder: Path, destination: Path, weights: dict[str, torch.Tensor]) -> Path:
    """A copy of the folder with ``pytorch_model.bin`` holding ``weights`` in place of ``model.safetensors``."""
    shutil.copytree(folder, destination, ignore=shutil.ignore_patterns("model.safetensors"))
    torch.save(weights, destination / "pytorch_model.bin")
    return destination
