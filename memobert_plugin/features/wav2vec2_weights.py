"""wav2vec 2.0 weights in their two published formats, brought to the host's names and settings. Nothing in them is run.

A fairseq checkpoint is a pickle and may hold any object; it is read with ``weights_only=True``. The host also evaluates
one of its settings (``conv_feature_layers``) as Python, so that text is parsed here and written anew from numbers.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import UserError
from ..pickled_classes import allow_host_arguments
from ..regular_file import regular

if TYPE_CHECKING:
    import torch

_PRETRAINING_ONLY: Final = ("quantizer.", "project_q.", "final_proj.", "target_glu.", "mask_emb")

_MOST_CONV_LAYERS: Final = 100

_WEIGHT_NORM: Final = r"encoder\.pos_conv_embed\.conv\.(?:weight_{}|parametrizations\.weight\.original{})"
_HUGGING_FACE_NAMES: Final = (
    (r"feature_extractor\.conv_layers\.(\d+)\.conv\.(weight|bias)", r"feature_extractor.conv_layers.\1.0.\2"),
    (r"feature_projection\.layer_norm\.(weight|bias)", r"layer_norm.\1"),
    (r"feature_projection\.projection\.(weight|bias)", r"post_extract_proj.\1"),
    (r"encoder\.pos_conv_embed\.conv\.bias", r"encoder.pos_conv.0.bias"),
    (_WEIGHT_NORM.format("g", 0), r"encoder.pos_conv.0.weight_g"),
    (_WEIGHT_NORM.format("v", 1), r"encoder.pos_conv.0.weight_v"),
    (r"encoder\.layer_norm\.(weight|bias)", r"encoder.layer_norm.\1"),
    (r"encoder\.layers\.(\d+)\.attention\.([qkv]|out)_proj\.(weight|bias)", r"encoder.layers.\1.self_attn.\2_proj.\3"),
    (r"encoder\.layers\.(\d+)\.layer_norm\.(weight|bias)", r"encoder.layers.\1.self_attn_layer_norm.\2"),
    (r"encoder\.layers\.(\d+)\.feed_forward\.intermediate_dense\.(weight|bias)", r"encoder.layers.\1.fc1.\2"),
    (r"encoder\.layers\.(\d+)\.feed_forward\.output_dense\.(weight|bias)", r"encoder.layers.\1.fc2.\2"),
    (r"encoder\.layers\.(\d+)\.final_layer_norm\.(weight|bias)", r"encoder.layers.\1.final_layer_norm.\2"),
)


@dataclass(frozen=True)
class Wav2Vec2Weights:
    """A published wav2vec 2.0 encoder in the host's terms."""

    settings: dict[str, Any]
    """Fields of the host's ``Wav2Vec2Config``; ``conv_feature_layers`` is a literal list."""
    state: dict[str, torch.Tensor] = field(repr=False)
    """Parameters under the names of the host's ``Wav2Vec2Model``, without what only pre-training needs."""
    conv_layers: list[tuple[int, int, int]]
    """(channels, kernel, stride) of every convolution over the waveform."""
    wants_normalized: bool
    """Whether the weights were trained on clips of zero mean and unit variance."""
    layer_norm_eps: float
    sha256: str
    """Of the file that holds the weights."""
    source: str
    """``fairseq`` or ``hugging_face``."""


def read_weights(path: Path) -> Wav2Vec2Weights:
    """Read a fairseq ``.pt`` file or a Hugging Face folder (``config.json`` beside the weights).

    Raises:
        UserError: missing, damaged, another kind of model, or objects besides weights and settings inside.
    """
    if path.is_dir():
        return _read_hugging_face(path)
    if path.is_file():
        return _read_fairseq(path)
    raise UserError(f"{path}: no such file or folder; give a fairseq .pt file or a Hugging Face folder")


def _read_fairseq(path: Path) -> Wav2Vec2Weights:
    checkpoint = _load_pickle(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("model"), dict):
        raise UserError(f"{path}: no fairseq checkpoint (it has no 'model'); give a pre-trained wav2vec 2.0 model")
    model, task = _fairseq_settings(path, checkpoint)
    kind = model.get("_name") or model.get("arch") or "wav2vec2"
    if kind != "wav2vec2" or model.get("layer_type", "transformer") != "transformer" or model.get("quantize_input"):
        raise UserError(
            f"{path}: holds a {kind} model with {model.get('layer_type', 'transformer')} layers; "
            "give the pre-trained wav2vec 2.0 (transformer) it started from"
        )
    layers = _conv_layers(path, model.get("conv_feature_layers", "[(512,10,5)]+[(512,3,2)]*4+[(512,2,2)]*2"))
    return Wav2Vec2Weights(
        settings={**model, "conv_feature_layers": str(layers)},
        state={name: value for name, value in checkpoint["model"].items() if not name.startswith(_PRETRAINING_ONLY)},
        conv_layers=layers,
        wants_normalized=bool(task.get("normalize", False)),
        layer_norm_eps=1e-5,
        sha256=_sha256(path),
        source="fairseq",
    )


def _fairseq_settings(path: Path, checkpoint: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the model and of its task, from a new checkpoint's ``cfg`` or an old one's ``args``."""
    cfg, args = checkpoint.get("cfg"), checkpoint.get("args")
    if isinstance(cfg, dict) and cfg.get("model") is not None:
        return _plain(cfg["model"]), _plain(cfg.get("task"))
    if isinstance(args, argparse.Namespace):
        return _plain(args), _plain(args)
    raise UserError(f"{path}: has no settings ('cfg' or 'args'); give the fairseq checkpoint as it was published")


def _plain(settings: object) -> dict[str, Any]:
    if isinstance(settings, argparse.Namespace):
        return dict(vars(settings))
    return dict(settings) if isinstance(settings, Mapping) else {}


def _conv_layers(path: Path, text: object) -> list[tuple[int, int, int]]:
    """The host's ``[(512, 10, 5)] + [(512, 3, 2)] * 4`` as a list: sums and multiples of literal lists only."""

    def layers(node: ast.expr) -> list[Any]:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return layers(node.left) + layers(node.right)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            repeated, times = layers(node.left), ast.literal_eval(node.right)
            if not isinstance(times, int) or len(repeated) * times > _MOST_CONV_LAYERS:
                raise ValueError(times)
            return repeated * times
        value = ast.literal_eval(node)
        if not isinstance(value, list):
            raise ValueError(value)
        return value

    try:
        return _checked_layers(layers(ast.parse(str(text), mode="eval").body))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise UserError(
            f"{path}: conv_feature_layers is {str(text)[:80]!r}; expected a list of (channels, kernel, stride)"
        ) from None


def _checked_layers(layers: list[Any]) -> list[tuple[int, int, int]]:
    checked = [tuple(layer) for layer in layers]
    if not checked or not all(len(layer) == 3 and all(type(n) is int and n > 0 for n in layer) for layer in checked):
        raise ValueError(layers)
    return checked


def _read_hugging_face(folder: Path) -> Wav2Vec2Weights:
    config = _read_json(folder / "config.json")
    try:
        settings, layers = _hugging_face_settings(config)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'}: not a usable wav2vec 2.0 configuration ({error})") from None
    file, state = _hugging_face_state(folder)
    preprocessor = folder / "preprocessor_config.json"
    return Wav2Vec2Weights(
        settings=settings,
        state=_host_names(file, state, group_norm=settings["extractor_mode"] == "default"),
        conv_layers=layers,
        wants_normalized=bool(_read_json(preprocessor).get("do_normalize", True)) if preprocessor.exists() else True,
        layer_norm_eps=float(config.get("layer_norm_eps", 1e-5)),
        sha256=_sha256(file),
        source="hugging_face",
    )


def _hugging_face_settings(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[int, int, int]]]:
    expected: dict[str, tuple[object, ...]] = {
        "model_type": ("wav2vec2",),
        "feat_extract_activation": ("gelu",),
        "hidden_act": ("gelu", "relu"),
        "feat_extract_norm": ("group", "layer"),
        "add_adapter": (False, None),
        "adapter_attn_dim": (None,),
    }
    defaults = {"feat_extract_activation": "gelu", "hidden_act": "gelu", "feat_extract_norm": "group"}
    for name, values in expected.items():
        value = config.get(name, defaults.get(name))
        if value not in values:
            raise ValueError(f"{name} is {value!r}, supported: {' or '.join(map(repr, values))}")
    layers = _checked_layers(list(zip(config["conv_dim"], config["conv_kernel"], config["conv_stride"], strict=True)))
    settings = {
        "extractor_mode": "layer_norm" if config.get("feat_extract_norm") == "layer" else "default",
        "conv_feature_layers": str(layers),
        "conv_bias": bool(config.get("conv_bias", False)),
        "encoder_layers": int(config["num_hidden_layers"]),
        "encoder_embed_dim": int(config["hidden_size"]),
        "encoder_ffn_embed_dim": int(config["intermediate_size"]),
        "encoder_attention_heads": int(config["num_attention_heads"]),
        "activation_fn": config.get("hidden_act", "gelu"),
        "layer_norm_first": bool(config.get("do_stable_layer_norm", False)),
        "conv_pos": int(config.get("num_conv_pos_embeddings", 128)),
        "conv_pos_groups": int(config.get("num_conv_pos_embedding_groups", 16)),
    }
    return settings, layers


def _hugging_face_state(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    safetensors_file, pickle_file = folder / "model.safetensors", folder / "pytorch_model.bin"
    if safetensors_file.is_file():
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return safetensors_file, load_file(safetensors_file)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{safetensors_file}: damaged ({error}); fetch it again") from None
    if pickle_file.is_file():
        state = _load_pickle(pickle_file)
        if isinstance(state, dict):
            return pickle_file, state
        raise UserError(f"{pickle_file}: not a dictionary of weights; give the folder as it was published")
    raise UserError(f"{folder}: no model.safetensors and no pytorch_model.bin (weights in several files are not read)")


def _host_names(file: Path, state: Mapping[str, torch.Tensor], *, group_norm: bool) -> dict[str, torch.Tensor]:
    """Rename parameters; heads around the encoder (names without ``wav2vec2.`` where others have it) are left out."""
    prefix = "wav2vec2." if any(name.startswith("wav2vec2.") for name in state) else ""
    conv_norm = r"feature_extractor.conv_layers.\1.2.\2" if group_norm else r"feature_extractor.conv_layers.\1.2.1.\2"
    rules = ((r"feature_extractor\.conv_layers\.(\d+)\.layer_norm\.(weight|bias)", conv_norm), *_HUGGING_FACE_NAMES)
    renamed: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if not name.startswith(prefix) or name == f"{prefix}masked_spec_embed":
            continue
        bare = name[len(prefix) :]
        matches = (match.expand(to) for rule, to in rules if (match := re.fullmatch(rule, bare)))
        host_name = next(matches, None)
        if host_name is None:
            raise UserError(f"{file}: unknown parameter {name}; give a plain Wav2Vec2Model or Wav2Vec2ForPreTraining")
        renamed[host_name] = value
    return renamed


def _load_pickle(path: Path) -> Any:
    import pickle

    import torch

    allow_host_arguments()
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, OSError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        found = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it refers to {found[1]}, and code is never run" if found else first_line
        raise UserError(
            f"{path}: not plain weights and settings ({reason}); give the file as published, or safetensors"
        ) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(regular(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; a Hugging Face folder has config.json beside the weights") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object")
    return content


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
