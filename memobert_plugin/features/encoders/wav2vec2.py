"""wav2vec 2.0 as a frozen speech encoder: fairseq's network, with published weights of fairseq or Hugging Face."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ...core.errors import UserError
from ...core.fairseq_quirks import allow_fairseq_arguments, quiet_fairseq, require_fairseq
from ...core.files import sha256_of
from ...core.names import SAMPLE_RATE
from .base import ENCODERS, SpeechEncoder, check_device, memory_for, normalize_clip, read_json

if TYPE_CHECKING:
    import numpy as np
    import torch
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Model

    from ...data.frames import ExtractorInfo

Normalize = Literal["always", "never", "auto"]

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
    """A published wav2vec 2.0 encoder in fairseq's terms."""

    settings: dict[str, Any]
    """Fields of fairseq's ``Wav2Vec2Config``; ``conv_feature_layers`` is a literal list."""
    state: dict[str, torch.Tensor] = field(repr=False)
    """Parameters under the names of fairseq's ``Wav2Vec2Model``, without those that only pre-training needs."""
    conv_layers: list[tuple[int, int, int]]
    """(channels, kernel, stride) of every convolution over the waveform."""
    wants_normalized: bool
    """True if the weights were trained on clips of zero mean and unit variance."""
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
        raise UserError(f"{path}: not a fairseq checkpoint (no 'model' in it); give a pre-trained wav2vec 2.0 model")
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
        sha256=sha256_of(path),
        source="fairseq",
    )


def _fairseq_settings(path: Path, checkpoint: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of the model and of its task, from a new checkpoint's ``cfg`` or an old one's ``args``."""
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
    """Parse fairseq's ``[(512, 10, 5)] + [(512, 3, 2)] * 4``: sums and multiples of literal lists only."""

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
    config = read_json(folder / "config.json")
    try:
        settings, layers = _hugging_face_settings(config)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'}: not a usable wav2vec 2.0 configuration ({error})") from None
    file, state = _hugging_face_state(folder)
    preprocessor = folder / "preprocessor_config.json"
    return Wav2Vec2Weights(
        settings=settings,
        state=_fairseq_names(file, state, group_norm=settings["extractor_mode"] == "default"),
        conv_layers=layers,
        wants_normalized=bool(read_json(preprocessor).get("do_normalize", True)) if preprocessor.exists() else True,
        layer_norm_eps=float(config.get("layer_norm_eps", 1e-5)),
        sha256=sha256_of(file),
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


def _fairseq_names(file: Path, state: Mapping[str, torch.Tensor], *, group_norm: bool) -> dict[str, torch.Tensor]:
    """Rename parameters; leave out heads around the encoder (names without ``wav2vec2.`` where others have it)."""
    prefix = "wav2vec2." if any(name.startswith("wav2vec2.") for name in state) else ""
    conv_norm = r"feature_extractor.conv_layers.\1.2.\2" if group_norm else r"feature_extractor.conv_layers.\1.2.1.\2"
    rules = ((r"feature_extractor\.conv_layers\.(\d+)\.layer_norm\.(weight|bias)", conv_norm), *_HUGGING_FACE_NAMES)
    renamed: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if not name.startswith(prefix) or name == f"{prefix}masked_spec_embed":
            continue
        bare = name[len(prefix) :]
        matches = (match.expand(to) for rule, to in rules if (match := re.fullmatch(rule, bare)))
        fairseq_name = next(matches, None)
        if fairseq_name is None:
            raise UserError(f"{file}: unknown parameter {name}; give a plain Wav2Vec2Model or Wav2Vec2ForPreTraining")
        renamed[fairseq_name] = value
    return renamed


def _load_pickle(path: Path) -> Any:
    import pickle

    import torch

    allow_fairseq_arguments()
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, OSError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        found = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it refers to {found[1]}, and code is never run" if found else first_line
        raise UserError(
            f"{path}: not plain weights and settings ({reason}); give the file as published, or safetensors"
        ) from None


_NO_PRETRAINING: Final = {
    "quantize_targets": False,
    "target_glu": False,
    "checkpoint_activations": False,
    "feature_grad_mult": 1.0,
    "fp16": False,
}


@dataclass(frozen=True)
class Wav2Vec2Options:
    """The weights, and the level of the clips that they are given."""

    weights: Path = field(
        metadata={
            "help": "a fairseq .pt file or a Hugging Face folder (config.json beside the weights)",
            "metavar": "PATH",
        }
    )
    normalize: Normalize = field(
        default="always",
        metadata={"help": "bring clips to zero mean and unit variance; auto: as the weights were trained"},
    )


@ENCODERS.register("wav2vec2")
class Wav2Vec2(SpeechEncoder):
    """The last hidden state of wav2vec 2.0, without masking, dropout or gradients.

    Args:
        path: a fairseq ``.pt`` file or a Hugging Face folder.
        normalize: when clips are brought to zero mean and unit variance: ``always`` as the reference implementation
            does, ``never``, or ``auto`` as the weights were trained (fairseq's base model: not, Hugging Face's: yes).
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: unusable weights, or no such device.
    """

    name = "wav2vec2"
    summary = "wav2vec 2.0"
    Options = Wav2Vec2Options
    batched = True

    def __init__(self, path: Path, *, normalize: Normalize = "always", device: str = "cpu") -> None:
        import torch

        check_device(device)
        weights = read_weights(path)
        strides = [stride for _, _, stride in weights.conv_layers]
        self.weights_sha256 = weights.sha256
        self.wants_normalized = weights.wants_normalized
        self.normalized = weights.wants_normalized if normalize == "auto" else normalize == "always"
        self.source = weights.source
        self.frame_rate = SAMPLE_RATE / math.prod(strides)
        self.shortest = 1 + sum(
            (kernel - 1) * math.prod(strides[:index]) for index, (_, kernel, _) in enumerate(weights.conv_layers)
        )
        self.network = build_network(path, weights).to(device)
        self.dim = int(self.network.cfg.encoder_embed_dim)
        self.device = device
        self.version = f"torch {torch.__version__}"

    @classmethod
    def from_options(cls, options: Wav2Vec2Options, device: str = "cpu") -> Wav2Vec2:
        """Build the encoder."""
        return cls(options.weights, normalize=options.normalize, device=device)

    @classmethod
    def from_info(cls, info: ExtractorInfo, weights: Path | None = None, device: str = "cpu") -> SpeechEncoder:
        """Build the encoder that made the frames which ``info`` describes."""
        normalize = "always" if info.options.get("normalized", True) else "never"
        return super().from_info(replace(info, options={"normalize": normalize}), weights, device)

    @property
    def options(self) -> dict[str, Any]:
        """Return the weights' format and whether clips are normalised."""
        return {"format": self.source, "normalized": self.normalized}

    @property
    def remark(self) -> str:
        """Compare the normalisation of these clips with that of the clips the weights were trained on."""
        trained, done = ("" if normalized else "not " for normalized in (self.wants_normalized, self.normalized))
        return f"the weights were trained on clips {trained}normalised, and these clips are {done}normalised"

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """Encode clips of equal length.

        The base model's first layer normalises over time, so padding clips to one length would change every frame.

        Args:
            waveforms: float32 ``(B, N)`` at 16 kHz, N >= :attr:`shortest`.

        Returns:
            float32 ``(B, T, D)``.

        Raises:
            UserError: the batch does not fit the device's memory.
        """
        import numpy as np
        import torch

        if self.normalized:
            waveforms = np.stack([normalize_clip(waveform) for waveform in waveforms])
        exactly = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with memory_for(len(waveforms)), torch.inference_mode(), exactly:
            source = torch.from_numpy(waveforms).to(self.device)
            frames = self.network(source, padding_mask=None, mask=False, features_only=True)["x"]
            found: np.ndarray = frames.float().cpu().numpy()
        return found


def build_network(path: Path, weights: Wav2Vec2Weights) -> Wav2Vec2Model:
    """Build fairseq's network, frozen and in evaluation mode, and load the weights; ``path`` is for messages only.

    Raises:
        UserError: settings that fairseq cannot build, or parameters that do not fit them.
    """
    import torch

    require_fairseq("--encoder wav2vec2")
    with quiet_fairseq():
        from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model

        known = {field.name for field in dataclasses.fields(Wav2Vec2Config)}
        settings = {name: value for name, value in weights.settings.items() if name in known and value is not None}
        try:
            network = Wav2Vec2Model(Wav2Vec2Config(**{**settings, **_NO_PRETRAINING}))
        except (AssertionError, KeyError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
            raise UserError(f"{path}: fairseq cannot build a network with these settings ({error})") from None
    network.remove_pretraining_modules()
    if network.post_extract_proj is None and "post_extract_proj.weight" in weights.state:
        network.post_extract_proj = torch.nn.Linear(network.embed, network.cfg.encoder_embed_dim)
    _fill(path, network, weights.state)
    for norm in _norms_of_hidden_size(network):
        norm.eps = weights.layer_norm_eps
    return network.float().eval().requires_grad_(False)


def _fill(path: Path, network: Wav2Vec2Model, state: dict[str, torch.Tensor]) -> None:
    own = network.state_dict()
    absent, unknown = sorted(own.keys() - state.keys() - {"mask_emb"}), sorted(state.keys() - own.keys())
    other_shape = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    for names, what in ((absent, "lacks"), (unknown, "has unknown"), (other_shape, "has other shapes of")):
        if names:
            further = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise UserError(
                f"{path}: {what} {', '.join(names[:3])}{further}; give weights and settings of one wav2vec 2.0 model"
            )
    network.load_state_dict({**state, "mask_emb": own["mask_emb"]})


def _norms_of_hidden_size(network: Wav2Vec2Model) -> Iterator[torch.nn.LayerNorm]:
    """Yield the layer norms that the configuration's ``layer_norm_eps`` governs: all but those between convolutions."""
    yield network.layer_norm
    yield network.encoder.layer_norm
    for layer in network.encoder.layers:
        yield layer.self_attn_layer_norm
        yield layer.final_layer_norm
