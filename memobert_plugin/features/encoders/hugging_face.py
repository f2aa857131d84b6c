"""Speech encoders of Hugging Face folders, run by ``transformers``: wav2vec 2.0, HuBERT, WavLM, data2vec and their kin.

A folder holds ``config.json``, weights (``model.safetensors`` or ``pytorch_model.bin``, also in shards), and where
clips were normalised for training ``preprocessor_config.json``. Nothing of it is run, and nothing is fetched. Whisper's
encoder has a file of its own (``--encoder whisper``), which needs no ``transformers``.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...core.errors import UserError, pip_install
from ...core.files import sha256_of
from ...core.names import SAMPLE_RATE
from .base import ENCODERS, SpeechEncoder, check_device, memory_for, normalize_clip, read_json

if TYPE_CHECKING:
    import numpy as np

    from ...data.frames import ExtractorInfo

CLASSES: Final = {
    "wav2vec2": "Wav2Vec2Model",
    "hubert": "HubertModel",
    "wavlm": "WavLMModel",
    "data2vec-audio": "Data2VecAudioModel",
    "unispeech": "UniSpeechModel",
    "unispeech-sat": "UniSpeechSatModel",
    "wav2vec2-conformer": "Wav2Vec2ConformerModel",
}
"""``model_type`` of ``config.json``, and the class of transformers. All read waveforms at 16 kHz."""

_TRAINING_ONLY: Final = ("masked_spec_embed",)
"""Parameters that may be missing: they stand in for masked frames."""


@dataclass(frozen=True)
class HuggingFaceOptions:
    """The folder, and which of its hidden states are read."""

    weights: Path = field(
        metadata={"help": "a Hugging Face folder (config.json beside the weights)", "metavar": "PATH"}
    )
    layers: str | None = field(
        default=None,
        metadata={
            "help": "read layer K, or the mean of layers K-L, counted from 1; 0 is what enters the first (default: the "
            "last one, as the model gives it)",
            "metavar": "K[-L]",
        },
    )


@ENCODERS.register("transformers")
class HuggingFaceSpeech(SpeechEncoder):
    """Hidden states of a speech model, without masking, dropout or gradients.

    Args:
        folder: of the model.
        layers: ``K`` or ``K-L``; None for the last hidden state.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: transformers is missing, a folder of something else, weights that lack parameters, no such layer, or
            no such device.
    """

    name = "transformers"
    summary = "wav2vec 2.0, HuBERT, WavLM, data2vec … of a Hugging Face folder"
    Options = HuggingFaceOptions
    batched = True

    def __init__(self, folder: Path, layers: str | None = None, device: str = "cpu") -> None:
        import torch

        check_device(device)
        settings = read_json(folder / "config.json")
        kind = settings.get("model_type")
        if kind not in CLASSES:
            advice = "take --encoder whisper" if kind == "whisper" else f"known are {', '.join(CLASSES)}"
            raise UserError(f"{folder}: holds a {kind or 'nameless'} model; {advice}")
        if settings.get("add_adapter"):
            raise UserError(f"{folder}: has an adapter that skips frames; give the model without one")
        self.kind: str = kind
        # Half precision, in which some are published, is slow or unknown on a CPU.
        self.network = _load(folder, CLASSES[kind]).float().to(device).eval().requires_grad_(False)
        configuration = self.network.config
        strides, kernels = list(configuration.conv_stride), list(configuration.conv_kernel)
        self.frame_rate = SAMPLE_RATE / math.prod(strides)
        self.shortest = 1 + sum((kernel - 1) * math.prod(strides[:index]) for index, kernel in enumerate(kernels))
        self.dim = int(configuration.hidden_size)
        self.layers, self._chosen = layers, _parse_layers(folder, layers, int(configuration.num_hidden_layers))
        self.normalized = _normalizes(folder)
        self.weights_sha256 = sha256_of(*_files_of_weights(folder))
        self.device = device
        self.version = f"torch {torch.__version__}; transformers {_transformers_version()}"

    @classmethod
    def from_options(cls, options: HuggingFaceOptions, device: str = "cpu") -> HuggingFaceSpeech:
        """Build the encoder."""
        return cls(options.weights, options.layers, device)

    @classmethod
    def from_info(cls, info: ExtractorInfo, weights: Path | None = None, device: str = "cpu") -> SpeechEncoder:
        """Build the encoder that made the frames which ``info`` describes."""
        return super().from_info(
            dataclasses.replace(info, options={"layers": info.options.get("layers")}), weights, device
        )

    @property
    def options(self) -> dict[str, Any]:
        """Return the kind of model, the layers, and whether clips are normalised."""
        return {"model_type": self.kind, "layers": self.layers, "normalized": self.normalized}

    @property
    def remark(self) -> str:
        """Tell how clips are brought to the level of the weights' training."""
        return f"a {self.kind} model; clips are {'' if self.normalized else 'not '}normalised, as its folder says"

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """Encode clips of equal length, so that nothing is padded.

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
        with memory_for(len(waveforms)), torch.inference_mode():
            source = torch.from_numpy(waveforms).to(self.device)
            found = self.network(source, output_hidden_states=self._chosen is not None)
            frames = found.last_hidden_state
            if self._chosen is not None:
                first, last = self._chosen
                frames = torch.stack(found.hidden_states[first : last + 1]).mean(dim=0)
            states: np.ndarray = frames.float().cpu().numpy()
        return states


def _load(folder: Path, name: str) -> Any:
    """Build a model of transformers and load the folder's weights into it.

    Raises:
        UserError: transformers is missing, or the weights are damaged or do not fit.
    """
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            f"--encoder transformers: cannot be imported ({error}); {pip_install('transformers')}"
        ) from None
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        network, report = getattr(transformers, name).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:  # of json, safetensors, torch and transformers: whatever is wrong with a foreign folder
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder}: cannot be read by transformers ({reason}); give the folder as published") from None
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    missing = sorted(key for key in report["missing_keys"] if not key.endswith(_TRAINING_ONLY))
    if missing or report["mismatched_keys"]:
        lacking = missing[0] if missing else str(next(iter(report["mismatched_keys"])))
        raise UserError(
            f"{folder}: its weights lack {lacking}, or have another shape of it; give the folder as published"
        )
    return network


def _transformers_version() -> str:
    from importlib.metadata import version

    return version("transformers")


def _normalizes(folder: Path) -> bool:
    """Return whether clips get zero mean and unit variance, as ``preprocessor_config.json`` says; without it, not."""
    path = folder / "preprocessor_config.json"
    return bool(read_json(path).get("do_normalize", True)) if path.is_file() else False


def _parse_layers(folder: Path, text: str | None, count: int) -> tuple[int, int] | None:
    if text is None:
        return None
    first, dash, last = text.partition("-")
    last = last if dash else first
    if not first.isdecimal() or not last.isdecimal() or not int(first) <= int(last) <= count:
        raise UserError(f"--layers {text}: {folder} has {count} layers; give K or K-L from 0 to {count}")
    return int(first), int(last)


def _files_of_weights(folder: Path) -> list[Path]:
    """Return the file of weights, or all shards in the order of their names."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
