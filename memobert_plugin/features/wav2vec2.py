"""wav2vec 2.0 as a frozen acoustic encoder: the host's own network under published weights of either format."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ..errors import UserError
from ..quiet_host import quiet_host
from .audio import SAMPLE_RATE
from .encoders import Normalize
from .wav2vec2_weights import Wav2Vec2Weights, read_weights

if TYPE_CHECKING:
    import torch
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Model

_VARIANCE_FLOOR: Final = 1e-7
_NO_PRETRAINING: Final = {
    "quantize_targets": False,
    "target_glu": False,
    "checkpoint_activations": False,
    "feature_grad_mult": 1.0,
    "fp16": False,
}


class Wav2Vec2:
    """Last hidden state of wav2vec 2.0, without masking, dropout or gradients.

    Args:
        path: a fairseq ``.pt`` file or a Hugging Face folder.
        normalize: whether clips are brought to zero mean and unit variance: ``always`` as the reference implementation
            does, ``never``, or ``auto`` as the weights were trained (fairseq's base model: not, Hugging Face's: yes).
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: unusable weights, or no such device.
    """

    name: Final = "wav2vec2"
    batched: Final = True

    def __init__(self, path: Path, *, normalize: Normalize = "always", device: str = "cpu") -> None:
        import torch

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError(f"--device {device}: this machine has no usable CUDA device; give --device cpu")
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

    @property
    def options(self) -> dict[str, object]:
        """What the frames depend on besides the weights, for ``extractor.json``."""
        return {"format": self.source, "normalized": self.normalized}

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """Frames of equally long clips; clips of other lengths must not be padded into one batch.

        The base model's first layer normalises over time, so that padding would change every frame.

        Args:
            waveforms: float32 ``(B, N)`` at 16 kHz, N >= :attr:`shortest`.

        Returns:
            float32 ``(B, T, D)``.

        Raises:
            UserError: the batch does not fit the device's memory.
        """
        import torch

        if self.normalized:
            waveforms = np.stack([normalize_clip(waveform) for waveform in waveforms])
        exactly = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        try:
            with torch.inference_mode(), exactly:
                source = torch.from_numpy(waveforms).to(self.device)
                frames = self.network(source, padding_mask=None, mask=False, features_only=True)["x"]
                return frames.float().cpu().numpy()
        except torch.cuda.OutOfMemoryError:
            raise UserError(
                f"--batch-size {len(waveforms)}: the batch does not fit the device's memory; give a smaller one"
            ) from None


def normalize_clip(waveform: np.ndarray) -> np.ndarray:
    """Bring one clip ``(N,)`` to zero mean and unit variance; silence stays zero."""
    mean, variance = waveform.mean(dtype=np.float64), waveform.var(dtype=np.float64)
    return ((waveform - mean) / np.sqrt(variance + _VARIANCE_FLOOR)).astype(np.float32)


def build_network(path: Path, weights: Wav2Vec2Weights) -> Wav2Vec2Model:
    """Build the host's network, frozen and in evaluation mode, and fill it; ``path`` is for messages only.

    Raises:
        UserError: settings the host cannot build, or parameters that do not fit them.
    """
    import torch

    with quiet_host():
        from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model

        known = {field.name for field in dataclasses.fields(Wav2Vec2Config)}
        settings = {name: value for name, value in weights.settings.items() if name in known and value is not None}
        try:
            network = Wav2Vec2Model(Wav2Vec2Config(**{**settings, **_NO_PRETRAINING}))
        except (AssertionError, KeyError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
            raise UserError(f"{path}: the host cannot build a network with these settings ({error})") from None
    network.remove_pretraining_modules()
    if network.post_extract_proj is None and "post_extract_proj.weight" in weights.state:
        network.post_extract_proj = torch.nn.Linear(network.embed, network.cfg.encoder_embed_dim)
    _fill(path, network, weights.state)
    for norm in _norms_of_hidden_size(network):
        norm.eps = weights.layer_norm_eps
    return network.float().eval().requires_grad_(False)


def _fill(path: Path, network: Wav2Vec2Model, state: dict[str, torch.Tensor]) -> None:
    own = network.state_dict()
    absent = sorted(own.keys() - state.keys() - {"mask_emb"})
    unknown = sorted(state.keys() - own.keys())
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
