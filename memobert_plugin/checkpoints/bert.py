"""Import BERT: read a Hugging Face folder of any transformers version, and bring its weights to the plugin's names.

Text embedder, transformer, pooler and WWMLM head start from BERT (MEmoBERT, section 2). The frame embedders and frame
heads are new. MiniLM is a BERT; DistilBERT, ELECTRA, RoBERTa and XLM-RoBERTa are BERTs under other names. ModernBERT
and DeBERTa (other attention) do not fit the cross-modality transformer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from ..core.errors import UserError
from ..core.files import regular
from ..core.names import LAYER_NORM_EPS
from ..data.tokenizer import SentencePieceTokenizer
from ..data.vocabulary import SPECIALS, UNK, dictionary_symbols, read_vocabulary
from ..nn.network import FINGERPRINT, dictionary_fingerprint
from .model_description import is_epsilon
from .state_dictionary import StateDictionary, bert_body, bert_pooler, bert_word_head, read_pickled_tensors


@dataclass(frozen=True)
class Family:
    """The form in which a kind of BERT is stored.

    Attributes:
        settings: BERT's names of settings in ``config.json``, and this kind's where they differ.
        names: patterns of tensor names, and BERT's names for them; the first that fits is taken.
        segments: whether there are segment embeddings; without them they count as zero.
        padded_positions: whether the table of positions begins with rows for padding, up to ``pad_token_id``, which
            are left out.
        sentencepiece: the file of its pieces, which are sentencepiece's; empty for a vocabulary.
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    names: tuple[tuple[str, str], ...] = ()
    segments: bool = True
    padded_positions: bool = False
    sentencepiece: str = ""


_ROBERTA = (
    (r"lm_head\.dense\.", "cls.predictions.transform.dense."),
    (r"lm_head\.layer_norm\.", "cls.predictions.transform.LayerNorm."),
    (r"lm_head\.", "cls.predictions."),
    (r"roberta\.", ""),
)
FAMILIES: Final = {
    "bert": Family(names=((r"bert\.", ""),)),
    "distilbert": Family(
        settings={
            "hidden_act": "activation", "num_hidden_layers": "n_layers", "hidden_size": "dim",
            "intermediate_size": "hidden_dim", "num_attention_heads": "n_heads",
        },
        names=(
            *(
                (rf"(?:distilbert\.)?transformer\.layer\.(\d+)\.{theirs}\.", rf"encoder.layer.\1.{ours}.")
                for theirs, ours in (
                    ("attention.q_lin", "attention.self.query"),
                    ("attention.k_lin", "attention.self.key"),
                    ("attention.v_lin", "attention.self.value"),
                    ("attention.out_lin", "attention.output.dense"),
                    ("sa_layer_norm", "attention.output.LayerNorm"),
                    ("ffn.lin1", "intermediate.dense"),
                    ("ffn.lin2", "output.dense"),
                    ("output_layer_norm", "output.LayerNorm"),
                )
            ),
            (r"vocab_transform\.", "cls.predictions.transform.dense."),
            (r"vocab_layer_norm\.", "cls.predictions.transform.LayerNorm."),
            (r"vocab_projector\.weight", "cls.predictions.decoder.weight"),
            (r"vocab_projector\.bias", "cls.predictions.bias"),
            (r"distilbert\.", ""),
        ),
        segments=False,
    ),
    "electra": Family(
        names=(
            (r"generator_predictions\.dense\.", "cls.predictions.transform.dense."),
            (r"generator_predictions\.LayerNorm\.", "cls.predictions.transform.LayerNorm."),
            (r"generator_lm_head\.weight", "cls.predictions.decoder.weight"),
            (r"generator_lm_head\.bias", "cls.predictions.bias"),
            (r"electra\.", ""),
        ),
    ),
    "roberta": Family(names=_ROBERTA, padded_positions=True),
    "xlm-roberta": Family(names=_ROBERTA, padded_positions=True, sentencepiece="sentencepiece.bpe.model"),
}  # fmt: skip
"""By ``model_type``."""


@dataclass(frozen=True)
class BertConfig:
    """The sizes of the network in ``config.json``."""

    layers: int
    hidden: int
    ffn: int
    heads: int
    max_positions: int
    layer_norm_eps: float = LAYER_NORM_EPS
    family: Family = FAMILIES["bert"]
    first_position: int = 0
    """Row of the position table in the file that a text begins with."""

    @classmethod
    def read(cls, path: Path) -> BertConfig:
        """Read the file and refuse a network that the plugin cannot reproduce.

        Raises:
            UserError: unreadable, a size missing or impossible, or not BERT's activation, positions or LayerNorm.
        """
        try:
            settings = json.loads(regular(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as JSON ({error}); give a Hugging Face BERT folder") from None
        if not isinstance(settings, dict):
            raise UserError(f"{path}: holds no JSON object; give a Hugging Face BERT folder")
        kind = settings.get("model_type", "bert")
        if kind not in FAMILIES:
            known = "', '".join(FAMILIES)
            raise UserError(f"{path}: model_type is {kind!r}; only '{known}' can be imported")
        family = FAMILIES[kind]
        settings = {**settings, **{name: settings.get(own) for name, own in family.settings.items()}}
        required = {
            "hidden_act": "gelu",
            "position_embedding_type": "absolute",
            "embedding_size": settings.get("hidden_size"),  # ELECTRA's small ones widen their embeddings
        }
        for name, value in required.items():
            if settings.get(name, value) != value:
                raise UserError(f"{path}: {name} is {settings[name]!r}; only a BERT with {value!r} can be imported")
        first = _padding(path, settings) + 1 if family.padded_positions else 0
        config = cls(
            family=family,
            first_position=first,
            layers=_size(path, settings, "num_hidden_layers"),
            hidden=_size(path, settings, "hidden_size"),
            ffn=_size(path, settings, "intermediate_size"),
            heads=_size(path, settings, "num_attention_heads"),
            max_positions=_size(path, settings, "max_position_embeddings") - first,
            layer_norm_eps=_epsilon(path, settings),
        )
        if config.max_positions < 1:
            raise UserError(f"{path}: max_position_embeddings leaves no position after {first} of padding")
        if config.hidden % config.heads:
            raise UserError(
                f"{path}: hidden_size {config.hidden} is not a multiple of num_attention_heads {config.heads}; "
                "restore the file that came with the weights"
            )
        return config


def _size(path: Path, settings: Mapping[str, object], name: str) -> int:
    value = settings.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{path}: {name} is {value!r}, expected a positive whole number")
    return value


def _padding(path: Path, settings: Mapping[str, object]) -> int:
    value = settings.get("pad_token_id", 1)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UserError(f"{path}: pad_token_id is {value!r}, expected a whole number from 0 on")
    return value


def _epsilon(path: Path, settings: Mapping[str, object]) -> float:
    value = settings.get("layer_norm_eps", LAYER_NORM_EPS)
    if not is_epsilon(value):
        raise UserError(f"{path}: layer_norm_eps is {value!r}, expected a small positive number")
    return float(value)


WORDS = "embeddings.word_embeddings.weight"
_SEGMENTS: Final = "embeddings.token_type_embeddings.weight"
_POSITIONS: Final = "embeddings.position_embeddings.weight"

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of whole weight files; their shards are listed in a file of that name with ``.index.json``."""


def read_bert_tensors(folder: Path, family: Family = FAMILIES["bert"], first_position: int = 0) -> StateDictionary:
    """Read the weights of a folder, whole or in shards, without running anything that they may contain.

    Files differ in whether names start with ``bert.`` and in whether a LayerNorm has ``weight`` and ``bias`` or
    ``gamma`` and ``beta``. The names returned are today's names of the bare network.

    Raises:
        UserError: there are no weights, or a file is damaged or holds something other than tensors.
    """
    for name in WEIGHT_FILES:
        for path in (folder / name, folder / f"{name}.index.json"):
            if path.is_file():
                tensors = _read_shards(path) if path.suffix == ".json" else _read_tensors(path)
                tensors = _like_bert(tensors, family, first_position)
                advice = "give a whole BERT with the config.json that belongs to it"
                return StateDictionary(path, tensors, advice, partial(_current_name, family=family))
    raise UserError(
        f"{folder}: holds neither {' nor '.join(WEIGHT_FILES)}, whole or in shards; give a Hugging Face BERT folder"
    )


def _like_bert(tensors: dict[str, Tensor], family: Family, first_position: int) -> dict[str, Tensor]:
    """Return tensors whose positions begin with the first of a text, and which have two segments.

    The second segment, of frames, is zero where there are none, and equals the first where that is the only one.
    """
    found = dict(tensors)
    for name, value in tensors.items():
        if value.dim() != 2:
            continue
        if name.endswith(_POSITIONS):
            found[name] = value[first_position:]
        elif name.endswith(_SEGMENTS) and len(value) == 1:
            found[name] = value.expand(2, -1)
        elif name.endswith(WORDS) and not family.segments:
            found[_SEGMENTS] = torch.zeros(2, value.shape[1])
    return found


def _current_name(name: str, family: Family) -> str:
    name = name.removeprefix("module.")
    for pattern, current in family.names:
        name, changed = re.subn(f"^{pattern}", current, name)
        if changed:
            break
    for old, current in ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias")):
        if name.endswith(old):
            return name.removesuffix(old) + current
    return name


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file of tensors by its suffix."""
    if path.suffix != ".safetensors":
        return read_pickled_tensors(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(regular(path))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is damaged ({error}); fetch it again") from None


def _read_shards(index: Path) -> dict[str, Tensor]:
    """Read the shards that an index lists; they must be files of its own folder."""
    try:
        file_of = json.loads(regular(index).read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(file_of.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{index}: not an index of shards (weight_map); fetch it again") from None
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    tensors: dict[str, Tensor] = {}
    for name in names:
        # A name such as ../x.bin or C:x would lead out of the folder.
        if not re.fullmatch(r"\w[\w.-]*", str(name), re.ASCII) or Path(name).suffix != suffix:
            raise UserError(f"{index}: shard {str(name)[:60]!r} is not a {suffix} file of this folder; fetch it again")
        shard = _read_tensors(index.parent / name)
        missing = [tensor for tensor, file in file_of.items() if file == name and tensor not in shard]
        if missing:
            raise UserError(f"{index.parent / name}: lacks {', '.join(missing[:3])}; fetch it again")
        tensors.update({tensor: value for tensor, value in shard.items() if file_of.get(tensor) == name})
    return tensors


MOST_PADDING_ROWS = 1024
"""Embedding rows that a file may hold beyond its vocabulary, as padding to a round number. More means another model."""


@dataclass(frozen=True)
class EmbeddedVocabulary:
    """The plugin's dictionary of a vocabulary, and the embedding rows of its symbols.

    Attributes:
        path: the file.
        symbols: the dictionary in row order.
        rows: (len(symbols),) int64, for each symbol its number in the file, which is its embedding row.
    """

    path: Path
    symbols: list[str]
    rows: Tensor

    @classmethod
    def read(cls, path: Path) -> EmbeddedVocabulary:
        """Read a vocabulary, see :func:`.read_vocabulary`.

        Raises:
            UserError: the file is missing or not a vocabulary of BERT or RoBERTa.
        """
        found = read_vocabulary(path)
        symbols = dictionary_symbols(found)
        row_of = {piece: row for row, piece in enumerate(found.pieces)}
        return cls(found.path, symbols, torch.tensor([row_of[symbol] for symbol in symbols]))

    @classmethod
    def of_sentencepiece(cls, path: Path) -> EmbeddedVocabulary:
        """Read a sentencepiece model, whose pieces XLM-RoBERTa embeds behind fairseq's four specials, ``<mask>`` last.

        Raises:
            UserError: the file is missing or another, or its first three pieces are not unknown, begin and end.
        """
        tokenizer = SentencePieceTokenizer.from_model(path)
        count = len(tokenizer.symbols)
        if tokenizer.rows.tolist() != [UNK] * 3 + list(range(len(SPECIALS), count - 1)):
            raise UserError(f"{path}: its pieces are not numbered like XLM-RoBERTa's; give the file of its folder")
        return cls(path, tokenizer.symbols, torch.arange(count))

    def padding_rows(self, embedded: int, source: Path) -> int:
        """Return how many of the ``embedded`` rows of the matrix in ``source`` are beyond the vocabulary.

        Raises:
            UserError: there are fewer rows than word pieces, or far more.
        """
        padding = embedded - len(self.symbols)
        if not 0 <= padding <= MOST_PADDING_ROWS:
            raise UserError(
                f"{self.path}: has {len(self.symbols)} word pieces, but {source} embeds {embedded}; "
                "give the vocabulary that belongs to these weights"
            )
        return padding


def dictionary_of(folder: Path, config: BertConfig) -> EmbeddedVocabulary:
    """Return the dictionary of a BERT folder.

    Raises:
        UserError: its file is missing or damaged.
    """
    pieces = config.family.sentencepiece
    return EmbeddedVocabulary.of_sentencepiece(folder / pieces) if pieces else EmbeddedVocabulary.read(folder)


NEVER_IN_BERT = ("visual_embedder.*", "acoustic_embedder.*", "heads.mvfr.*", "heads.mvfc.*", "heads.mafr.*")


@dataclass(frozen=True)
class ImportedBert:
    """The parameters that a BERT folder fills, and lists of the rest.

    Attributes:
        source: the weight file.
        config: its sizes.
        weights: float32 parameters under the plugin's names, word pieces in the order of the plugin's dictionary.
        new: patterns of the parameters that the folder does not fill.
        unused: the weight file's names of tensors without a parameter.
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
    embedded = dictionary_of(folder, config)
    tensors = read_bert_tensors(folder, config.family, config.first_position)

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
    """Return the bias of every vocabulary row; it has two names."""
    names = [name for name in ("cls.predictions.bias", "cls.predictions.decoder.bias") if name in tensors]
    tensors.require(names or ["cls.predictions.bias"])
    biases = [tensors.take(name, (rows,)) for name in names]
    return biases[0]
