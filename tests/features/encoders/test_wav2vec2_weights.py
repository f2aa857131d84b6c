"""Weights files are data: nothing in them runs, and what cannot be used is refused in one line."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from memobert_plugin.core.errors import UserError
from memobert_plugin.features.encoders.wav2vec2 import Wav2Vec2, read_weights

MODEL: dict[str, Any] = {
    "_name": "wav2vec2",
    "conv_feature_layers": "[(8, 10, 5)] + [(8, 3, 2)] * 2",
    "encoder_layers": 1,
}
CONFIG: dict[str, Any] = {
    "model_type": "wav2vec2",
    "conv_dim": [8, 8],
    "conv_kernel": [10, 3],
    "conv_stride": [5, 2],
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}


class Payload:
    """Creates a file when unpickled by a loader that runs what it reads."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def fairseq_file(path: Path, model: dict[str, Any] | None = None, **further: Any) -> Path:
    torch.save({"model": {}, "cfg": {"model": {**MODEL, **(model or {})}, "task": {}}, **further}, path)
    return path


def hugging_face_folder(folder: Path, state: dict[str, torch.Tensor] | None = None, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    save_file(state or {"encoder.layer_norm.bias": torch.zeros(16)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("zipped", [True, False])
def test_a_payload_in_a_fairseq_file_does_not_run(tmp_path: Path, zipped: bool) -> None:
    fired = tmp_path / "fired"
    torch.save({"model": {}, "cfg": Payload(fired)}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        UserError, match=r"w\.pt: not plain weights and settings \(it refers to posix\.mkdir, and code is never run\)"
    ):
        read_weights(tmp_path / "w.pt")
    assert not fired.exists()


def test_a_payload_in_pytorch_model_bin_does_not_run(tmp_path: Path) -> None:
    fired = tmp_path / "fired"
    folder = hugging_face_folder(tmp_path / "hf")
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1), "b": Payload(fired)}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="code is never run"):
        read_weights(folder)
    assert not fired.exists()


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').mkdir('fired')",
        "[(8, 10, 5)] + [__import__('os').mkdir('fired')]",
        "[(8, 10, 5)] * 10**9",
        "[(8, 10)]",
        "[(8, 10, 0)]",
        "[]",
        "(8, 10, 5)",
        "[(8.0, 10, 5)]",
        "[(8, 10, 5)",
        "[(8, 10, 5)] * 99 * 99",
    ],
)
def test_the_setting_that_fairseq_evaluates_is_only_parsed(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="conv_feature_layers"):
        Wav2Vec2(fairseq_file(tmp_path / "w.pt", {"conv_feature_layers": text}))
    assert not Path("fired").exists()


def test_the_convolutions_of_hugging_face_must_be_numbers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json: not a usable wav2vec 2\.0 configuration"):
        read_weights(hugging_face_folder(tmp_path, conv_dim=["__import__('os')", 8]))


def test_sums_and_multiples_of_lists_become_one_literal_list(tmp_path: Path) -> None:
    weights = read_weights(fairseq_file(tmp_path / "w.pt"))
    assert weights.conv_layers == [(8, 10, 5), (8, 3, 2), (8, 3, 2)]
    assert weights.settings["conv_feature_layers"] == str(weights.conv_layers)


def test_the_sha256_is_that_of_the_weights_file(tmp_path: Path) -> None:
    path = fairseq_file(tmp_path / "w.pt")
    assert read_weights(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    folder = hugging_face_folder(tmp_path / "hf")
    assert read_weights(folder).sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_what_only_pretraining_needs_is_left_out(tmp_path: Path) -> None:
    names = ("quantizer.vars", "project_q.weight", "final_proj.bias", "mask_emb", "layer_norm.weight")
    path = fairseq_file(tmp_path / "w.pt", model_state={})
    torch.save(
        {"model": dict.fromkeys(names, torch.zeros(2)), "cfg": {"model": MODEL, "task": {"normalize": True}}}, path
    )
    weights = read_weights(path)
    assert list(weights.state) == ["layer_norm.weight"]
    assert weights.wants_normalized


def test_a_file_that_is_not_there_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        read_weights(tmp_path / "none.pt")
    for content in (b"", b"no checkpoint", b"PK\x03\x04 broken"):
        (tmp_path / "w.pt").write_bytes(content)
        with pytest.raises(UserError, match=r"w\.pt: not plain weights and settings") as caught:
            read_weights(tmp_path / "w.pt")
        assert "\n" not in str(caught.value)
    whole = fairseq_file(tmp_path / "w.pt", extra=torch.zeros(1000)).read_bytes()
    (tmp_path / "w.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"w\.pt: not plain weights and settings"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("checkpoint", "reason"),
    [
        ([1, 2], "not a fairseq checkpoint"),
        ({"encoder.weight": torch.zeros(1)}, "not a fairseq checkpoint"),
        ({"model": {}, "args": None, "cfg": None}, "has no settings"),
        ({"model": {}, "args": argparse.Namespace(arch="wav2vec_ctc")}, "holds a wav2vec_ctc model"),
        ({"model": {}, "cfg": {"model": {"_name": "hubert"}}}, "holds a hubert model"),
        ({"model": {}, "cfg": {"model": {"_name": "wav2vec2", "layer_type": "conformer"}}}, "conformer layers"),
    ],
)
def test_another_kind_of_fairseq_checkpoint_is_refused(tmp_path: Path, checkpoint: object, reason: str) -> None:
    torch.save(checkpoint, tmp_path / "w.pt")
    with pytest.raises(UserError, match=reason):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "hubert"}, "model_type is 'hubert'"),
        ({"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new'"),
        ({"feat_extract_activation": "relu"}, "feat_extract_activation is 'relu'"),
        ({"add_adapter": True}, "add_adapter is True"),
        ({"hidden_size": None}, "not a usable wav2vec 2.0 configuration"),
        ({"conv_stride": [5]}, "not a usable wav2vec 2.0 configuration"),
    ],
)
def test_another_kind_of_hugging_face_model_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read_weights(hugging_face_folder(tmp_path, **changes))


def test_a_hugging_face_folder_without_a_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json: no such file"):
        read_weights(tmp_path)
    folder = hugging_face_folder(tmp_path)
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"model\.safetensors: damaged"):
        read_weights(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no model\.safetensors and no pytorch_model\.bin"):
        read_weights(folder)


def test_parameters_that_do_not_fit_are_named(tmp_path: Path) -> None:
    pytest.importorskip("fairseq")
    with pytest.raises(UserError, match=r"unknown parameter encoder\.surprise"):
        read_weights(hugging_face_folder(tmp_path, {"encoder.surprise": torch.zeros(2)}))
    with pytest.raises(UserError, match="lacks encoder"):
        Wav2Vec2(hugging_face_folder(tmp_path))


def test_without_fairseq_the_platforms_that_have_it_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fairseq", None)
    with pytest.raises(UserError, match=r"--encoder wav2vec2 needs fairseq, .* on Linux x86-64 with Python 3\.11"):
        Wav2Vec2(fairseq_file(tmp_path / "w.pt", {}))


def test_settings_that_fairseq_cannot_build_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("fairseq")
    with pytest.raises(UserError, match="fairseq cannot build a network"):
        Wav2Vec2(fairseq_file(tmp_path / "w.pt", {"encoder_embed_dim": 16, "encoder_attention_heads": 3}))


def test_other_shapes_than_the_settings_say_are_refused(tmp_path: Path) -> None:
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model

    small = {"encoder_embed_dim": 16, "encoder_ffn_embed_dim": 16, "encoder_attention_heads": 2, "conv_pos": 4}
    small |= {"conv_pos_groups": 2, "encoder_layers": 1}
    model = Wav2Vec2Model(Wav2Vec2Config(conv_feature_layers=MODEL["conv_feature_layers"], **small))
    state = {**model.state_dict(), "layer_norm.weight": torch.zeros(9)}
    torch.save({"model": state, "cfg": {"model": {**MODEL, **small}}}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"has other shapes of layer_norm\.weight"):
        Wav2Vec2(tmp_path / "w.pt")
    assert np.isfinite(model.layer_norm.weight.detach().numpy()).all()
