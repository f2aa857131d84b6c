"""Speech models of Hugging Face folders give transformers' hidden states, whatever their kind."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memobert_plugin.core.errors import UserError
from memobert_plugin.features.encoders.base import PooledEncoder, SpeechOptions, build_speech
from memobert_plugin.features.encoders.hugging_face import CLASSES, HuggingFaceOptions, HuggingFaceSpeech

transformers = pytest.importorskip("transformers")

TINY: dict[str, Any] = {
    "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
    "conv_dim": (16, 16, 16), "conv_kernel": (10, 3, 2), "conv_stride": (5, 4, 4), "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip


def saved(folder: Path, kind: str, normalize: bool | None = True) -> Any:
    """Write a small random model of a kind into a folder; return it."""
    torch.manual_seed(0)
    name = CLASSES[kind]
    extra = {"conv_pos_kernel_size": 3} if kind == "data2vec-audio" else {}
    config = getattr(transformers, name.replace("Model", "Config"))(**TINY, **extra)
    model = getattr(transformers, name)(config).eval()
    model.save_pretrained(folder)
    if normalize is not None:
        transformers.Wav2Vec2FeatureExtractor(do_normalize=normalize).save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def hubert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hubert")
    saved(folder, "hubert")
    return folder


def noise(*shape: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(1).normal(size=shape) + 0.02).astype(np.float32)


@pytest.mark.parametrize("kind", CLASSES)
def test_hidden_states_are_those_of_transformers(tmp_path: Path, kind: str) -> None:
    model = saved(tmp_path, kind)
    clips = noise(2, 4000)
    normalised = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)(
        list(clips), sampling_rate=16_000, return_tensors="pt"
    ).input_values
    with torch.no_grad():
        expected = model(normalised, output_hidden_states=True)
    last = HuggingFaceSpeech(tmp_path)
    # Rounding: transformers normalises in single precision.
    np.testing.assert_allclose(last.encode(clips), expected.last_hidden_state.numpy(), atol=1e-5, rtol=2e-5)
    middle = HuggingFaceSpeech(tmp_path, "1-2")
    mean = (expected.hidden_states[1] + expected.hidden_states[2]) / 2
    np.testing.assert_allclose(middle.encode(clips), mean.numpy(), atol=1e-5, rtol=2e-5)
    assert (last.dim, last.frame_rate) == (24, 200.0)
    assert last.encode(noise(1, last.shortest)).shape == (1, 1, 24)


@pytest.mark.parametrize(("normalize", "level_counts"), [(True, False), (False, True), (None, True)])
def test_clips_are_normalised_as_the_folder_says(tmp_path: Path, normalize: bool | None, level_counts: bool) -> None:
    saved(tmp_path, "wav2vec2", normalize)
    encoder = HuggingFaceSpeech(tmp_path)
    loud, soft = (encoder.encode(factor * noise(1, 3000)) for factor in (1.0, 0.01))
    assert (np.abs(loud - soft).max() > 1e-2) == level_counts


def test_half_precision_weights_are_read_in_single_precision(tmp_path: Path) -> None:
    saved(tmp_path, "hubert").half().save_pretrained(tmp_path)
    assert HuggingFaceSpeech(tmp_path).encode(noise(1, 3000)).dtype == np.float32


def test_prediction_rebuilds_it_from_the_description(hubert: Path) -> None:
    options = SpeechOptions("transformers", HuggingFaceOptions(hubert, "2"), pool=3)
    made = build_speech(options)
    again = PooledEncoder.from_info(made.info(), hubert)
    sound = noise(8000)
    np.testing.assert_array_equal(again.encode(sound), made.encode(sound))
    with pytest.raises(UserError, match="name its weights"):
        PooledEncoder.from_info(made.info())


def test_the_callers_logging_is_left_alone(hubert: Path) -> None:
    before = transformers.utils.logging.get_verbosity(), logging.getLogger().level
    HuggingFaceSpeech(hubert)
    assert (transformers.utils.logging.get_verbosity(), logging.getLogger().level) == before


@pytest.mark.parametrize("layers", ["4", "-1", "2-1", "x", "1-4", "1-"])
def test_layers_that_are_not_there_are_refused(hubert: Path, layers: str) -> None:
    with pytest.raises(UserError, match=r"has 3 layers; give K or K-L from 0 to 3"):
        HuggingFaceSpeech(hubert, layers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "whisper"}, "holds a whisper model; take --encoder whisper"),
        ({"model_type": "bert"}, "holds a bert model; known are wav2vec2, hubert"),
        ({"model_type": None}, "holds a nameless model"),
        ({"add_adapter": True}, "has an adapter that skips frames"),
        ({"num_hidden_layers": 4}, "its weights lack encoder.layers.3"),
    ],
)
def test_other_models_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    saved(tmp_path, "hubert")
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        HuggingFaceSpeech(tmp_path)


def test_a_damaged_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file; a Hugging Face folder has config\.json"):
        HuggingFaceSpeech(tmp_path)
    saved(tmp_path, "hubert")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(
        UserError, match=r"cannot be read by transformers \(.*\); give the folder as published"
    ) as error:
        HuggingFaceSpeech(tmp_path)
    assert "\n" not in str(error.value)
