"""BERT folders of all versions of transformers are imported alike: tokenizer.json, shards, pickles, older names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertForMaskedLM, BertTokenizerFast

from memobert_plugin.checkpoints.bert import import_bert
from memobert_plugin.core.errors import UserError
from memobert_plugin.data.tokenizer import WordPieceTokenizer
from memobert_plugin.data.vocabulary import read_vocabulary
from tests.reference.bert_folder import (
    bert_config,
    bert_vocabulary,
    random_bert,
    repacked_as_pickle,
    write_bert_folder,
    write_roberta_folder,
)

VOCABULARY = bert_vocabulary()
SMALL = bert_config(layers=1, hidden=16, heads=2, ffn=24, rows=len(VOCABULARY))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "bert"
    return write_bert_folder(folder, random_bert(BertForMaskedLM, SMALL), VOCABULARY)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy without weights."""
    copy = tmp_path / "bert"
    copy.mkdir()
    for name in ("config.json", "vocab.txt"):
        (copy / name).write_bytes((original / name).read_bytes())
    return copy


def weights_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def assert_imports_alike(folder: Path, original: Path) -> None:
    found, expected = import_bert(folder), import_bert(original)
    assert found.weights.keys() == expected.weights.keys()
    assert all(torch.equal(found.weights[name], expected.weights[name]) for name in expected.weights)
    assert (found.new, found.unused) == (expected.new, expected.unused)


def write_shards(folder: Path, weights: dict[str, Tensor], suffix: str) -> dict[str, str]:
    """Two shards and their index; returns the map of names."""
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    file_of: dict[str, str] = {}
    for number in (1, 2):
        part = {name: weights[name] for name in sorted(weights)[number - 1 :: 2]}
        shard = f"{stem}-{number:05d}-of-00002{suffix}"
        file_of |= dict.fromkeys(part, shard)
        if suffix == ".safetensors":
            save_file(part, folder / shard)
        else:
            torch.save(part, folder / shard)
    (folder / f"{stem}{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": file_of}))
    return file_of


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_shards_are_joined_by_their_index(folder: Path, original: Path, suffix: str) -> None:
    write_shards(folder, weights_of(original), suffix)
    assert_imports_alike(folder, original)


def test_shards_of_transformers_are_read(original: Path, tmp_path: Path) -> None:
    model = random_bert(BertForMaskedLM, SMALL)
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    (tmp_path / "vocab.txt").write_bytes((original / "vocab.txt").read_bytes())
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert_imports_alike(tmp_path, original)


def test_older_names_and_wrappers_are_read(folder: Path, original: Path) -> None:
    def older(name: str) -> str:
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        return f"module.{name}"

    torch.save({older(name): value for name, value in weights_of(original).items()}, folder / "pytorch_model.bin")
    assert_imports_alike(folder, original)


def test_the_first_format_of_torch_is_read(folder: Path, original: Path) -> None:
    torch.save(weights_of(original), folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert_imports_alike(folder, original)


def test_a_roberta_comes_pickled_in_shards_and_with_repeated_tensors(tmp_path: Path) -> None:
    original = write_roberta_folder(tmp_path / "roberta")
    weights = weights_of(original)
    repeated = {
        **weights,
        "lm_head.decoder.weight": weights["roberta.embeddings.word_embeddings.weight"],
        "lm_head.decoder.bias": weights["lm_head.bias"],
        "roberta.embeddings.position_ids": torch.arange(66)[None],
    }
    assert_imports_alike(repacked_as_pickle(original, tmp_path / "pickled", repeated), original)
    for suffix in (".safetensors", ".bin"):
        folder = tmp_path / suffix[1:]
        shutil.copytree(original, folder, ignore=shutil.ignore_patterns("model.safetensors"))
        write_shards(folder, weights, suffix)
        assert_imports_alike(folder, original)


@pytest.mark.parametrize("lowercase", [True, False])
def test_tokenizer_json_alone_is_enough(original: Path, tmp_path: Path, lowercase: bool) -> None:
    folder = tmp_path / "bert"
    random_bert(BertForMaskedLM, SMALL).save_pretrained(folder)
    theirs = BertTokenizerFast(vocab=str(original / "vocab.txt"), do_lower_case=lowercase)
    theirs.save_pretrained(folder)
    (folder / "vocab.txt").unlink(missing_ok=True)
    assert read_vocabulary(folder).pieces == VOCABULARY
    assert_imports_alike(folder, original)
    tokenizer = WordPieceTokenizer.from_vocab(folder / "tokenizer.json", lowercase)
    assert tokenizer.symbols == WordPieceTokenizer.from_vocab(original / "vocab.txt").symbols
    advice = "leave --cased out" if lowercase else "give --cased"
    with pytest.raises(UserError, match=f"tokenizer.json: this tokenizer .*; {advice}"):
        WordPieceTokenizer.from_vocab(folder / "tokenizer.json", not lowercase)


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ("../other.safetensors", r"shard '../other.safetensors' is not a .safetensors file of this folder"),
        ("/etc/passwd", "shard '/etc/passwd' is not"),
        ("a/b.safetensors", "is not a .safetensors file of this folder"),
        ("config.json", "shard 'config.json' is not"),
        ("..", "shard '..' is not"),
        (7, "not an index of shards"),
        ("gone.safetensors", r"gone\.safetensors: is damaged"),
    ],
)
def test_an_index_cannot_name_other_files(folder: Path, original: Path, shard: object, message: str) -> None:
    save_file({"x": torch.zeros(1)}, folder.parent / "other.safetensors")
    file_of = write_shards(folder, weights_of(original), ".safetensors")
    file_of["bert.pooler.dense.bias"] = shard  # type: ignore[assignment]
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": file_of}, default=str))
    with pytest.raises(UserError, match=message):
        import_bert(folder)


def test_damaged_indices_and_shards_are_refused(folder: Path, original: Path) -> None:
    file_of = write_shards(folder, weights_of(original), ".safetensors")
    index = folder / "model.safetensors.index.json"
    for content in ("{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": ["b"]}}', "[" * 100_000):
        index.write_text(content)
        with pytest.raises(UserError, match="not an index of shards"):
            import_bert(folder)
    index.write_text(json.dumps({"weight_map": {**file_of, "bert.extra": "model-00001-of-00002.safetensors"}}))
    with pytest.raises(UserError, match=r"model-00001-of-00002\.safetensors: lacks bert\.extra"):
        import_bert(folder)


def test_a_folder_without_weights_or_vocabulary_is_refused(folder: Path, original: Path) -> None:
    with pytest.raises(UserError, match=r"holds neither model\.safetensors nor pytorch_model\.bin, whole or in shards"):
        import_bert(folder)
    save_file(weights_of(original), folder / "model.safetensors")
    (folder / "vocab.txt").unlink()
    with pytest.raises(UserError, match=r"vocab\.txt: cannot be read .*; give BERT's vocab\.txt or tokenizer\.json"):
        import_bert(folder)


def tokenizer_json(**changes: object) -> str:
    vocabulary = {piece: number for number, piece in enumerate(VOCABULARY)}
    return json.dumps({"model": {"type": "WordPiece", "vocab": vocabulary}, **changes})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tokenizer_json(model={"type": "Unigram", "vocab": []}), "a Unigram tokenizer; only WordPiece, .* and BPE"),
        (tokenizer_json(model={"vocab": {"a": 0, "b": 2}}), "not a vocabulary of word pieces"),
        (tokenizer_json(model={"vocab": {"a": 0, "b": 0}}), "two of its pieces have one number"),
        (tokenizer_json(model={"vocab": {"a": [0]}}), "not a vocabulary of word pieces"),
        (tokenizer_json(added_tokens=[{"id": 6, "content": 5}]), "two of its pieces have one number"),
        (tokenizer_json(added_tokens=[{"id": len(VOCABULARY), "content": "i"}]), "piece 'i' occurs twice"),
        (tokenizer_json(model={"vocab": {"a": 0}}), r"no \[CLS\], \[PAD\], \[SEP\], \[UNK\], \[MASK\] among its 1"),
        ("[]", "not a vocabulary of word pieces"),
        ("[" * 100_000, "not a vocabulary of word pieces"),
        (tokenizer_json(normalizer={"lowercase": True, "strip_accents": False}), "treats accents .* unlike BERT"),
    ],
)
def test_a_tokenizer_json_that_is_not_berts_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        WordPieceTokenizer.from_vocab(path)
    assert "\n" not in str(caught.value)


def test_a_vocabulary_of_windows_with_an_empty_last_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*VOCABULARY, "", ""]).encode())
    assert read_vocabulary(path).pieces == VOCABULARY
