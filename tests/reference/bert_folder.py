"""Small random BERT folders as Hugging Face's tools write them."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertPreTrainedModel, RobertaConfig, RobertaForMaskedLM

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


ROBERTA_TEXT = [
    "we love the fun, it was so great! i am happy . i am sad .",
    "they hate to stop; never again? i am angry . i am neutral .",
    "the table, the paper and the door: neutral things. anger",
    "lost and alone he cries, really really lost... it's sad",
]


def write_roberta_tokenizer(folder: Path, pieces: int = 400) -> Path:
    """``vocab.json`` and ``merges.txt`` of a small byte-level BPE, its special symbols as RoBERTa numbers them."""
    from tokenizers import ByteLevelBPETokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(ROBERTA_TEXT * 3, pieces, show_progress=False, special_tokens=[*specials, "<mask>"])
    tokenizer.save_model(str(folder))
    return folder


def write_roberta_folder(folder: Path, kind: Any = RobertaForMaskedLM, **sizes: Any) -> Path:
    """A small random RoBERTa with its tokenizer."""
    write_roberta_tokenizer(folder)
    rows = len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    random_bert(kind, roberta_config(rows, **sizes)).save_pretrained(folder)
    return folder


def roberta_config(rows: int, **sizes: Any) -> RobertaConfig:
    """RoBERTa's own settings, in small and without dropout."""
    settings = {
        "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40,
        "max_position_embeddings": 66, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip
    return RobertaConfig(vocab_size=rows, **{**settings, **sizes})


def repacked_as_pickle(folder: Path, destination: Path, weights: dict[str, torch.Tensor]) -> Path:
    """A copy of the folder with ``pytorch_model.bin`` holding ``weights`` in place of ``model.safetensors``."""
    shutil.copytree(folder, destination, ignore=shutil.ignore_patterns("model.safetensors"))
    torch.save(weights, destination / "pytorch_model.bin")
    return destination
