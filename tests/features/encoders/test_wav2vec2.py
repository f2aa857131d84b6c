"""wav2vec 2.0 of both published formats gives the features of transformers and of fairseq."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.frames import frame_file, read_frames
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from memobert_plugin.features.encoders.base import PooledEncoder
from memobert_plugin.features.encoders.wav2vec2 import Wav2Vec2, normalize_clip
from memobert_plugin.features.extraction.acoustic import AcousticJob
from memobert_plugin.features.extraction.job import extract

transformers = pytest.importorskip("transformers")
pytest.importorskip("fairseq")

TOLERANCE = 1e-4
CONV = {"conv_dim": (16,) * 7, "conv_kernel": (10, 3, 3, 3, 3, 2, 2), "conv_stride": (5, 2, 2, 2, 2, 2, 2)}
TINY = {
    **CONV,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "initializer_range": 0.3,
}
SHAPES: dict[str, dict[str, Any]] = {
    "base": {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False},
    "large": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True, "layer_norm_eps": 1e-3},
    "as_wide_as_its_convolutions": {"hidden_size": 16, "num_conv_pos_embeddings": 15},
}


def save_hugging_face(folder: Path, shape: str, *, head: bool = False, normalize: bool = True) -> Any:
    """A random model in transformers' format; returns the bare encoder."""
    torch.manual_seed(3)
    config = transformers.Wav2Vec2Config(**{**TINY, **SHAPES[shape]})
    kind = transformers.Wav2Vec2ForPreTraining if head else transformers.Wav2Vec2Model
    model = kind(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=normalize).save_pretrained(folder)
    return model.wav2vec2 if head else model


def clips(*lengths: int) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [random.normal(0.1, 0.2, size=length).clip(-1, 1).astype(np.float32) for length in lengths]


def hidden_state(model: Any, waveform: np.ndarray) -> np.ndarray:
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    values = extractor(waveform, sampling_rate=16_000, return_tensors="pt").input_values
    with torch.inference_mode():
        return model(values).last_hidden_state[0].numpy()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("head", [False, True])
def test_hugging_face_weights_give_the_last_hidden_state_of_transformers(
    tmp_path: Path, shape: str, head: bool
) -> None:
    model = save_hugging_face(tmp_path, shape, head=head)
    encoder = Wav2Vec2(tmp_path)
    for waveform in clips(encoder.shortest, 3210, 16_000):
        frames = encoder.encode(waveform[None])[0]
        expected = hidden_state(model, waveform)
        assert frames.shape == expected.shape
        assert np.abs(frames - expected).max() < TOLERANCE
    assert (encoder.shortest, encoder.frame_rate, encoder.dim) == (400, 50.0, model.config.hidden_size)


@pytest.mark.parametrize(
    "names", [("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1")]
)
@pytest.mark.parametrize("prefix", ["", "wav2vec2."])
def test_pytorch_model_bin_under_old_and_new_names_gives_the_same(
    tmp_path: Path, names: tuple[str, str], prefix: str
) -> None:
    from safetensors.torch import load_file

    save_hugging_face(tmp_path, "base")
    waveform = clips(4000)[0][None]
    expected = Wav2Vec2(tmp_path).encode(waveform)
    state = {}
    for name, value in load_file(tmp_path / "model.safetensors").items():
        for new, old in zip(names, (("weight_g", "original0"), ("weight_v", "original1")), strict=True):
            if name.startswith("encoder.pos_conv_embed.conv.") and name.endswith(old):
                name = f"encoder.pos_conv_embed.conv.{new}"
        state[prefix + name] = value
    (tmp_path / "model.safetensors").unlink()
    torch.save({**state, **({"lm_head.weight": torch.zeros(3)} if prefix else {})}, tmp_path / "pytorch_model.bin")
    np.testing.assert_array_equal(Wav2Vec2(tmp_path).encode(waveform), expected)


def save_fairseq(path: Path, *, large: bool = False, settings: str = "cfg", normalize: bool = False) -> Any:
    """Save a random model of fairseq's class as a fairseq checkpoint and return it."""
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Model as HostModel

    values = {
        "conv_feature_layers": "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16,2,2)] + [(16,2,2)]",
        "extractor_mode": "layer_norm" if large else "default",
        "layer_norm_first": large,
        "conv_bias": large,
        "encoder_layers": 3,
        "encoder_embed_dim": 24,
        "encoder_ffn_embed_dim": 48,
        "encoder_attention_heads": 4,
        "conv_pos": 16,
        "conv_pos_groups": 4,
        "quantize_targets": True,
        "final_dim": 8,
        "latent_vars": 4,
        "encoder_layerdrop": 0.5,
        "dropout_input": 0.1,
        "feature_grad_mult": 0.1,
    }
    torch.manual_seed(4)
    model = HostModel(Wav2Vec2Config(**values)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    checkpoint: dict[str, Any] = {"model": model.state_dict(), "args": None, "cfg": None, "extra_state": {"epoch": 1}}
    if settings == "cfg":
        checkpoint["cfg"] = {
            "model": {"_name": "wav2vec2", **values},
            "task": {"_name": "audio_pretraining", "normalize": normalize},
            "common": argparse.Namespace(seed=1),
        }
    else:
        checkpoint["args"] = argparse.Namespace(
            arch="wav2vec2", task="audio_pretraining", normalize=normalize, **values
        )
    torch.save(checkpoint, path)
    return model


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("settings", ["cfg", "args"])
def test_fairseq_weights_give_the_features_of_fairseq(tmp_path: Path, large: bool, settings: str) -> None:
    model = save_fairseq(tmp_path / "w2v.pt", large=large, settings=settings)
    encoder = Wav2Vec2(tmp_path / "w2v.pt")
    for waveform in clips(400, 3211, 16_000):
        with torch.inference_mode():
            source = torch.from_numpy(normalize_clip(waveform))[None]
            expected = model.extract_features(source, padding_mask=None, mask=False)["x"][0].numpy()
        assert np.abs(encoder.encode(waveform[None])[0] - expected).max() < TOLERANCE


@pytest.mark.parametrize("shape", ["base", "large"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_clips_of_different_lengths_are_encoded_as_if_alone(tmp_path: Path, shape: str, batch_size: int) -> None:
    model = save_hugging_face(tmp_path / "weights", shape)
    waveforms = clips(16_000, 8_000, 16_000, 9_999, 8_000, 16_000, 16_000, 12_345)
    rows = []
    for index, waveform in enumerate(waveforms):
        soundfile.write(tmp_path / f"{index}.wav", waveform, 16_000, subtype="FLOAT")
        rows.append(ManifestRow(line=0, id=f"u{index}", audio=f"{index}.wav"))
    write_manifest(tmp_path / "m.tsv", rows)
    speech = PooledEncoder(Wav2Vec2(tmp_path / "weights"))
    extract(tmp_path / "m.tsv", tmp_path / "out", AcousticJob(speech, batch_size))
    for index, waveform in enumerate(waveforms):
        alone = hidden_state(model, waveform)
        expected = np.stack([alone[first : first + 3].mean(axis=0) for first in range(0, len(alone), 3)])
        written = read_frames(frame_file(tmp_path / "out", f"u{index}"))
        assert written is not None
        assert np.abs(written.frames - expected).max() < TOLERANCE


def test_normalisation_is_always_as_trained_or_never(tmp_path: Path) -> None:
    save_fairseq(tmp_path / "raw.pt", normalize=False)
    save_fairseq(tmp_path / "normalised.pt", normalize=True)
    save_hugging_face(tmp_path / "hf_raw", "base", normalize=False)
    save_hugging_face(tmp_path / "hf", "base")
    (tmp_path / "hf" / "preprocessor_config.json").unlink()
    wanted = {
        name: Wav2Vec2(tmp_path / name, normalize="auto").normalized
        for name in ("raw.pt", "normalised.pt", "hf_raw", "hf")
    }
    assert wanted == {"raw.pt": False, "normalised.pt": True, "hf_raw": False, "hf": True}


def test_always_is_never_on_a_normalised_clip_and_is_recorded(tmp_path: Path) -> None:
    save_fairseq(tmp_path / "w2v.pt", large=True)
    always, never = Wav2Vec2(tmp_path / "w2v.pt"), Wav2Vec2(tmp_path / "w2v.pt", normalize="never")
    assert (always.options["normalized"], never.options["normalized"]) == (True, False)
    waveform = clips(8000)[0]
    np.testing.assert_array_equal(always.encode(waveform[None]), never.encode(normalize_clip(waveform)[None]))
    assert np.abs(always.encode(waveform[None]) - never.encode(waveform[None])).max() > 1e-3


def test_a_normalised_clip_has_zero_mean_and_unit_variance_and_silence_stays_zero() -> None:
    normalised = normalize_clip(clips(5000)[0])
    assert abs(normalised.mean()) < 1e-5
    assert abs(normalised.std() - 1.0) < 1e-3
    assert not normalize_clip(np.zeros(500, dtype=np.float32)).any()


def test_the_network_is_frozen_and_gives_the_same_twice(tmp_path: Path) -> None:
    save_fairseq(tmp_path / "w2v.pt")
    encoder = Wav2Vec2(tmp_path / "w2v.pt")
    assert not encoder.network.training
    assert not any(parameter.requires_grad for parameter in encoder.network.parameters())
    waveform = clips(8000)[0][None]
    np.testing.assert_array_equal(encoder.encode(waveform), encoder.encode(waveform))


def test_half_precision_weights_are_used_in_float32(tmp_path: Path) -> None:
    save_fairseq(tmp_path / "w2v.pt")
    checkpoint = torch.load(tmp_path / "w2v.pt", weights_only=True)
    checkpoint["model"] = {name: value.half() for name, value in checkpoint["model"].items()}
    torch.save(checkpoint, tmp_path / "half.pt")
    encoder = Wav2Vec2(tmp_path / "half.pt")
    assert {parameter.dtype for parameter in encoder.network.parameters()} == {torch.float32}


def test_cuda_on_a_machine_without_it_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    save_fairseq(tmp_path / "w2v.pt")
    with pytest.raises(UserError, match="--device cuda: this machine has no usable CUDA device"):
        Wav2Vec2(tmp_path / "w2v.pt", device="cuda")


def test_a_batch_that_does_not_fit_names_the_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_fairseq(tmp_path / "w2v.pt")
    encoder = Wav2Vec2(tmp_path / "w2v.pt")

    def full(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(encoder.network, "forward", full)
    with pytest.raises(UserError, match="--batch-size 2"):
        encoder.encode(np.zeros((2, 800), dtype=np.float32))
