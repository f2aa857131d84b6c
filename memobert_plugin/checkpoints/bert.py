"""BERT's weights under the plugin's names: what text embedder, transformer, pooler and WWMLM head start from.

MEmoBERT, section 2: everything but the frame embedders and the frame heads is initialised from BERT.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..nn.network import FINGERPRINT, dictionary_fingerprint
from .bert_folder import BertConfig, EmbeddedVocabulary, read_bert_tensors
from .parameter_origins import bert_body, bert_pooler, bert_word_head
from .state_dictionary import StateDictionary

NEVER_IN_BERT = ("visual_embedder.*", "acoustic_embedder.*", "heads.mvfr.*", "heads.mvfc.*", "heads.mafr.*")

WORDS = "embeddings.word_embeddings.weight"


@dataclass(frozen=True)
class ImportedBert:
    """The plugin's parameters that a BERT folder fills, and what became of the rest.

    Attributes:
        source: the weight file.
        config: its sizes.
        weights: float32 parameters under the plugin's names, word pieces in the order of the plugin's dictionary.
        new: patterns of the model's parameters that the folder does not fill.
        unused: the weight file's names of tensors that the model has no place for.
        padding_rows: embedding rows beyond the vocabulary, left out.
    """

    source: Path
    config: BertConfig
    weights: dict[str, Tensor]
    new: list[str]
    unused: list[str]
    padding_rows: int


def import_bert(folder: Path) -> ImportedBert:
    """Read ``config.json``, the vocabulary and the weights of a BERT folder, as any transformers version writes them.

    Raises:
        UserError: a file is missing, damaged or of another network, or they do not belong together.
    """
    config = BertConfig.read(folder / "config.json")
    sizes = {"hidden": config.hidden, "ffn": config.ffn, "positions": config.max_positions}
    embedded = EmbeddedVocabulary.read(folder)
    tensors = read_bert_tensors(folder)

    origins = list(bert_body(config.layers, prefix=""))
    new = list(NEVER_IN_BERT)
    if tensors.starting_with("pooler."):
        origins += bert_pooler(prefix="")
    else:
        new.append("pooler.*")
    has_head = bool(tensors.starting_with("cls.predictions."))
    if has_head:
        origins += bert_word_head()
    else:
        new.append("heads.wwmlm.*")
    tensors.require([WORDS, *(name for origin in origins for name in origin.tensors)])

    words = tensors.take(WORDS, (None, config.hidden))
    padding_rows = embedded.padding_rows(len(words), tensors.path)
    weights = {
        FINGERPRINT: torch.tensor([dictionary_fingerprint(embedded.symbols)]),
        "text_embedder.word.weight": words[embedded.rows],
    }
    for origin in origins:
        weights[origin.name] = origin.parameter(tensors, sizes)
    if has_head:
        weights["heads.wwmlm.bias"] = _decoder_bias(tensors, len(words))[embedded.rows]
        tensors.take_tied("cls.predictions.decoder.weight", WORDS)
    unused = tensors.unused(except_for=["embeddings.position_ids"])
    return ImportedBert(tensors.path, config, weights, new, unused, padding_rows)


def _decoder_bias(tensors: StateDictionary, rows: int) -> Tensor:
    """The bias of every vocabulary row, under either of its names."""
    names = [name for name in ("cls.predictions.bias", "cls.predictions.decoder.bias") if name in tensors]
    tensors.require(names or ["cls.predictions.bias"])
    biases = [tensors.take(name, (rows,)) for name in names]
    return biases[0]
