"""Whisper's encoder equals transformers' in both formats of its weights, and the shipped one equals CTranslate2's."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from examples.whisper import convert
from memobert_plugin.core.errors import UserError
from memobert_plugin.features.encoders import whisper
from memobert_plugin.features.encoders.base import ENCODERS, PooledEncoder, SpeechOptions, build_speech
from memobert_plugin.features.encoders.whisper import Whisper, mel_filters

REFERENCE = Path(__file__).with_name("reference") / "whisper_tiny_en.npy"
"""CTranslate2 4.8.5's frames in float32 with tiny.en for :func:`rising_tone`."""
KINDS = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import WhisperConfig, WhisperModel

    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=24, encoder_layers=2, encoder_attention_heads=3, encoder_ffn_dim=48, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=16, vocab_size=30, num_mel_bins=80, max_source_positions=100,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    return WhisperModel(config).eval()


@pytest.fixture(scope="module")
def hugging_face(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hugging_face")
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()), encoding="utf-8")
    save_file(
        {name: value.contiguous().clone() for name, value in model.state_dict().items()}, folder / "model.safetensors"
    )
    return folder


def noise(samples: int = 16_000) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).normal(size=(2, samples))).astype(np.float32)


def transformers_states(model: Any, waveforms: np.ndarray) -> list[np.ndarray]:
    """Return transformers' hidden states after each layer, the last one normalised, of features cut to the clip."""
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=80)
    mel = np.stack([extractor(clip, sampling_rate=16_000, padding=False).input_features[0] for clip in waveforms])
    with torch.no_grad():
        encoder = model.encoder
        hidden = torch.nn.functional.gelu(encoder.conv1(torch.from_numpy(mel).float()))
        hidden = torch.nn.functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        states = []
        for layer in encoder.layers:
            result = layer(hidden, None)
            hidden = result[0] if isinstance(result, tuple) else result
            states.append(hidden.numpy())
        states[-1] = encoder.layer_norm(hidden).numpy()
    return states


def write_ctranslate2(path: Path, arrays: Mapping[str, np.ndarray], specification: str = "WhisperSpec") -> None:
    """Write arrays in the form of a CTranslate2 model, version 6."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    content = struct.pack("<I", 6) + text(specification) + struct.pack("<II", 3, len(arrays))
    for name, value in arrays.items():
        content += text(name) + struct.pack("<B", value.ndim) + struct.pack(f"<{value.ndim}I", *value.shape)
        content += struct.pack("<BI", KINDS[str(value.dtype)], value.nbytes) + value.tobytes()
    path.write_bytes(content + struct.pack("<I", 0))


def ctranslate2_arrays(folder: Path) -> dict[str, np.ndarray]:
    encoder = Whisper(folder)
    arrays = {f"encoder/{name}": value.numpy() for name, value in encoder.weights.items()}
    return {**arrays, "encoder/num_heads": np.array(encoder.heads, np.int16), "decoder/scale": np.array(1, np.int8)}


def test_frames_equal_transformers(model: Any, hugging_face: Path) -> None:
    expected = transformers_states(model, noise())[-1]
    np.testing.assert_allclose(Whisper(hugging_face).encode(noise()), expected, atol=1e-5)


def test_a_layer_can_be_chosen(model: Any, hugging_face: Path) -> None:
    expected = transformers_states(model, noise())[0]
    np.testing.assert_allclose(Whisper(hugging_face, layer=1).encode(noise()), expected, atol=1e-5)


def test_both_formats_give_equal_frames(hugging_face: Path, tmp_path: Path) -> None:
    write_ctranslate2(tmp_path / "model.bin", ctranslate2_arrays(hugging_face))
    np.testing.assert_array_equal(Whisper(tmp_path).encode(noise()), Whisper(hugging_face).encode(noise()))


def test_quantized_weights_are_read(hugging_face: Path, tmp_path: Path) -> None:
    arrays = ctranslate2_arrays(hugging_face)
    name = "encoder/layer_0/ffn/linear_0/weight"
    scale = 127.0 / np.abs(arrays[name]).max(axis=1)
    arrays[name], arrays[f"{name}_scale"] = np.round(arrays[name] * scale[:, None]).astype(np.int8), scale
    write_ctranslate2(tmp_path / "model.bin", arrays)
    np.testing.assert_allclose(Whisper(tmp_path).encode(noise()), Whisper(hugging_face).encode(noise()), atol=0.02)


def test_clips_of_a_batch_do_not_change_each_other(hugging_face: Path) -> None:
    encoder = Whisper(hugging_face)
    np.testing.assert_allclose(encoder.encode(noise())[1], encoder.encode(noise()[1:])[0], atol=1e-6)


def test_mel_filters_equal_transformers() -> None:
    from transformers import WhisperFeatureExtractor

    np.testing.assert_allclose(mel_filters(80), WhisperFeatureExtractor(feature_size=80).mel_filters.T, atol=1e-7)


def test_clips_beyond_the_positions_are_refused(hugging_face: Path) -> None:
    with pytest.raises(UserError, match="--max-seconds: Whisper reads at most 2 s"):
        Whisper(hugging_face).encode(noise(16_000 * 3))


def test_a_layer_that_is_not_there_is_refused(hugging_face: Path) -> None:
    with pytest.raises(UserError, match=r"--layer 3: .* has 2 layers; give 1 to 2"):
        Whisper(hugging_face, layer=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds neither model.bin nor config.json"),
        ({"config.json": b"{"}, "cannot be read as JSON"),
        ({"config.json": b'{"model_type": "bert"}'}, "holds a bert model, not Whisper"),
        (
            {"config.json": b'{"model_type": "whisper", "encoder_attention_heads": 2}'},
            "holds neither model.safetensors",
        ),
        ({"model.bin": b"\6\0\0\0"}, "is damaged or of another version"),
    ],
)
def test_another_folder_is_refused_in_one_line(tmp_path: Path, content: dict[str, bytes], message: str) -> None:
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        Whisper(tmp_path)
    assert "\n" not in str(caught.value)


def test_another_kind_of_ctranslate2_model_is_refused(tmp_path: Path) -> None:
    write_ctranslate2(tmp_path / "model.bin", {}, "TransformerSpec")
    with pytest.raises(UserError, match="holds a TransformerSpec, not Whisper"):
        Whisper(tmp_path)


def test_a_truncated_file_is_refused(hugging_face: Path, tmp_path: Path) -> None:
    write_ctranslate2(tmp_path / "whole.bin", ctranslate2_arrays(hugging_face))
    content = (tmp_path / "whole.bin").read_bytes()
    for share in (0.1, 0.5, 0.9):
        (tmp_path / "model.bin").write_bytes(content[: int(share * len(content))])
        with pytest.raises(UserError, match=r"is damaged|no encoder of Whisper"):
            Whisper(tmp_path)


def rising_tone(seconds: float = 0.8) -> np.ndarray:
    """Return a rising tone with a fluttering one above it, on the grid of 16-bit samples."""
    t = np.arange(int(16_000 * seconds)) / 16_000
    tones = 0.3 * np.sin(2 * np.pi * (120 + 300 * t) * t) + 0.1 * np.sin(2 * np.pi * 1900 * t) * np.sin(6 * np.pi * t)
    return (np.round(32_768 * tones) / 32_768).astype(np.float32)


def test_shipped_frames_equal_ctranslate2() -> None:
    encoder = build_speech(SpeechOptions("whisper")).encoder
    np.testing.assert_allclose(encoder.encode(rising_tone()[None])[0], np.load(REFERENCE), atol=1e-4)
    assert (encoder.dim, encoder.frame_rate) == (384, 50.0)


def test_shipped_frames_equal_those_of_the_folder_they_were_converted_from() -> None:
    folder = os.environ.get("MEMOBERT_TEST_WHISPER")
    if folder is None:
        pytest.skip("MEMOBERT_TEST_WHISPER names no folder of Whisper")
    np.testing.assert_array_equal(Whisper().encode(noise()), Whisper(Path(folder)).encode(noise()))


def test_the_last_layer_of_the_shipped_encoder_comes_with_advice_to_read_another() -> None:
    assert Whisper().remark == "the shipped encoder of tiny.en; --layer 3 tells more of emotions"
    assert Whisper(layer=3).remark == "the shipped encoder of tiny.en"


def test_a_model_of_shipped_frames_needs_no_weights() -> None:
    info = PooledEncoder(Whisper(layer=3)).info()
    rebuilt = PooledEncoder.from_info(info)
    assert rebuilt.info() == info
    np.testing.assert_array_equal(rebuilt.encoder.encode(noise()), Whisper(layer=3).encode(noise()))


def test_a_model_of_the_folder_that_was_converted_needs_no_weights(
    hugging_face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert.main([str(hugging_face), str(tmp_path / "shipped.safetensors")])
    monkeypatch.setattr(whisper, "SHIPPED", tmp_path / "shipped.safetensors")
    whisper._read_shipped.cache_clear()
    try:
        info = PooledEncoder(Whisper(hugging_face)).info()
        assert info.weights_sha256 != Whisper().weights_sha256
        rebuilt = PooledEncoder.from_info(info)
        assert rebuilt.info() == info
        np.testing.assert_allclose(rebuilt.encoder.encode(noise()), Whisper(hugging_face).encode(noise()), atol=1e-2)
    finally:
        whisper._read_shipped.cache_clear()


def test_a_model_of_other_weights_still_needs_them(hugging_face: Path) -> None:
    info = PooledEncoder(Whisper(hugging_face)).info()
    with pytest.raises(UserError, match="this model was trained on whisper frames; name its weights, a folder"):
        PooledEncoder.from_info(info)
    assert PooledEncoder.from_info(info, hugging_face).info() == info
    with pytest.raises(UserError, match=r"not the weights this model was trained with \(another sha256\)"):
        PooledEncoder.from_info(PooledEncoder(Whisper()).info(), hugging_face)


def test_a_missing_shipped_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper, "SHIPPED", tmp_path / "none.safetensors")
    whisper._read_shipped.cache_clear()
    with pytest.raises(UserError, match=r"none\.safetensors: cannot be read .*; install the package again"):
        ENCODERS.get("whisper").from_options(whisper.WhisperOptions())


def test_conversion_gives_equal_bytes_for_equal_weights(
    hugging_face: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        assert convert.main([str(hugging_face), str(tmp_path / name)]) == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "largest change of a weight: " in capsys.readouterr().out


def test_weights_beyond_half_precision_are_refused(hugging_face: Path, tmp_path: Path) -> None:
    arrays = ctranslate2_arrays(hugging_face)
    arrays["encoder/conv1/bias"] = arrays["encoder/conv1/bias"] + 1e6
    write_ctranslate2(tmp_path / "model.bin", arrays)
    with pytest.raises(UserError, match="conv1/bias does not fit into half precision"):
        convert.main([str(tmp_path), str(tmp_path / "out")])
