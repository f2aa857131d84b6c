"""A BERT folder that cannot be imported faithfully or safely is refused in one line that names the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BertForMaskedLM, BertModel

from memobert_plugin.checkpoints.bert import import_bert
from memobert_plugin.core.errors import UserError
from tests.reference.bert_folder import bert_config, bert_vocabulary, random_bert, repacked_as_pickle, write_bert_folder

VOCABULARY = bert_vocabulary()
SMALL = bert_config(layers=1, hidden=16, heads=2, ffn=24, rows=len(VOCABULARY))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as BertForMaskedLM writes it."""
    return write_bert_folder(tmp_path / "bert", random_bert(BertForMaskedLM, SMALL), VOCABULARY)


def weights_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("vocabulary", "named"), [([*VOCABULARY, "word0"], "occurs twice"), ([*VOCABULARY, "word40"], "57 word pieces")]
)
def test_a_vocabulary_of_another_model_is_refused(folder: Path, vocabulary: list[str], named: str) -> None:
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary), encoding="utf-8")
    with pytest.raises(UserError, match=named) as caught:
        import_bert(folder)
    assert "vocab.txt" in str(caught.value)


def test_far_more_rows_than_word_pieces_are_another_models(tmp_path: Path) -> None:
    large = bert_config(layers=1, hidden=16, heads=2, ffn=24, rows=len(VOCABULARY) + 1100)
    folder = write_bert_folder(tmp_path / "bert", random_bert(BertModel, large), VOCABULARY)
    with pytest.raises(UserError, match=r"56 word pieces, but .*safetensors embeds 1156"):
        import_bert(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_act", "gelu_new"),
        ("position_embedding_type", "relative_key"),
        ("layer_norm_eps", 0.0),
        ("layer_norm_eps", "1e-5"),
        ("model_type", "modernbert"),
        ("model_type", "deberta-v2"),
        ("model_type", "camembert"),
        ("num_hidden_layers", 0),
        ("hidden_size", "16"),
        ("num_attention_heads", 3),
    ],
)
def test_a_configuration_that_is_not_berts_is_refused_by_name(folder: Path, name: str, value: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(UserError, match=name) as caught:
        import_bert(folder)
    assert "config.json" in str(caught.value)


def test_missing_parameters_are_listed(tmp_path: Path, folder: Path) -> None:
    gone = ["encoder.layer.0.attention.self.key.bias", "encoder.layer.0.output.dense.weight"]
    weights = {name: weight for name, weight in weights_of(folder).items() if name.removeprefix("bert.") not in gone}
    with pytest.raises(UserError) as caught:
        import_bert(repacked_as_pickle(folder, tmp_path / "partial", weights))
    assert all(name in str(caught.value) for name in [*gone, "pytorch_model.bin"])


@pytest.mark.parametrize("gone", ["cls.predictions.bias", "cls.predictions.transform.dense.weight"])
def test_half_an_mlm_head_is_refused(tmp_path: Path, folder: Path, gone: str) -> None:
    weights = {name: weight for name, weight in weights_of(folder).items() if name != gone}
    with pytest.raises(UserError, match=gone):
        import_bert(repacked_as_pickle(folder, tmp_path / "partial", weights))


def changed(weights: dict[str, Tensor], name: str, tensor: Tensor) -> dict[str, Tensor]:
    return {**weights, name: tensor}


def test_tensors_that_do_not_fit_are_refused_by_name(tmp_path: Path, folder: Path) -> None:
    weights = weights_of(folder)
    word = "bert.embeddings.word_embeddings.weight"
    position = "bert.embeddings.position_embeddings.weight"
    broken = weights[position].clone()
    broken[3, 2] = torch.nan
    cases = {
        f"{position} is 63 x 16, expected 64 x 16": changed(weights, position, torch.zeros(63, 16)),
        f"{word} is 56 x 15, expected any x 16": changed(weights, word, torch.zeros(56, 15)),
        f"{position} holds NaN": changed(weights, position, broken),
        f"decoder.weight is not {word}": changed(weights, "cls.predictions.decoder.weight", weights[word] + 1.0),
        "holds both": changed(weights, word.removeprefix("bert."), weights[word]),
    }
    for number, (message, variant) in enumerate(cases.items()):
        with pytest.raises(UserError, match=message):
            import_bert(repacked_as_pickle(folder, tmp_path / str(number), variant))


class Payload:
    """Unpickled carelessly, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_malicious_pickle_does_not_run(tmp_path: Path, folder: Path) -> None:
    trace = tmp_path / "executed"
    evil: dict[str, Any] = {**weights_of(folder), "bert.embeddings.extra": Payload(trace)}
    other = repacked_as_pickle(folder, tmp_path / "evil", evil)
    with pytest.raises(UserError, match=r"pytorch_model\.bin.*was not opened"):
        import_bert(other)
    assert not trace.exists()
    torch.load(other / "pytorch_model.bin", weights_only=False)
    assert trace.exists(), "the payload is a real one"


def test_damaged_and_missing_files_are_named(tmp_path: Path, folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match=r"model\.safetensors: is damaged"):
        import_bert(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"holds neither model\.safetensors nor pytorch_model\.bin"):
        import_bert(folder)
    for content in (b"", b"not a pickle", b"PK\x03\x04 cut off"):
        (folder / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(UserError, match=r"pytorch_model\.bin: is damaged"):
            import_bert(folder)
    for foreign in ([torch.zeros(2)], {"x": 1}, {1: torch.zeros(2)}):
        torch.save(foreign, folder / "pytorch_model.bin")
        with pytest.raises(UserError, match=r"pytorch_model\.bin: is not a dictionary of named tensors"):
            import_bert(folder)
    (folder / "vocab.txt").unlink()
    with pytest.raises(UserError, match=r"vocab\.txt"):
        import_bert(folder)
    with pytest.raises(UserError, match=r"config\.json"):
        import_bert(tmp_path / "nowhere")


def test_safetensors_are_preferred_to_a_pickle(folder: Path) -> None:
    torch.save({"x": torch.zeros(1)}, folder / "pytorch_model.bin")
    assert import_bert(folder).source.name == "model.safetensors"
