"""Read a BERT that embeds text without being trained: a Hugging Face folder, the file of ``memobert-import``, or a
checkpoint of a network that was trained from one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..core.errors import UserError
from ..core.names import LAYER_NORM_EPS
from ..nn.embedders import PROMPT
from ..nn.network import (
    DIVERGED,
    FINGERPRINT,
    all_finite,
    dictionary_fingerprint,
    weights_of_checkpoint,
    with_changes,
)
from ..nn.text_encoder import TextEncoderSizes
from .bert import import_bert
from .fairseq_checkpoint import read_plain_checkpoint

_ADVICE = "give a Hugging Face BERT folder, the file of memobert-import bert, or a checkpoint trained from it"


@dataclass(frozen=True)
class TextEncoder:
    """A frozen BERT.

    Attributes:
        sizes: of it.
        weights: float32 under the names of :class:`memobert_plugin.nn.text_encoder.FrozenTextEncoder`, rounded to half
            precision, in which checkpoints keep them: a training that resumes goes on with the same numbers.
    """

    sizes: TextEncoderSizes
    weights: Mapping[str, Tensor]


def read_text_encoder(path: Path, symbols: Sequence[str]) -> TextEncoder:
    """Read a BERT whose dictionary has these symbols.

    Raises:
        UserError: no BERT there, a damaged file, another dictionary, or values that half precision cannot hold.
    """
    if path.is_dir():
        try:
            imported = import_bert(path)
        except UserError as error:
            raise UserError(f"--text-encoder {path}: holds no BERT ({error}); {_ADVICE}") from None
        weights, heads = imported.weights, imported.config.heads
        epsilon = imported.config.layer_norm_eps
    else:
        weights, heads, epsilon = _of_checkpoint(path)
    if int(weights[FINGERPRINT]) != dictionary_fingerprint(symbols):
        raise UserError(
            f"--text-encoder {path}: its vocabulary is not the data-bin's; binarize the corpus with its vocabulary"
        )
    own = {}
    for name, value in weights.items():
        for prefix, renamed in (("text_embedder.", "embedder."), ("encoder.", "body.")):
            if name.startswith(prefix) and name != PROMPT:
                rounded = value.half().float()
                if not all_finite(rounded):
                    raise UserError(f"--text-encoder {path}: {name} {DIVERGED}")
                own[renamed + name.removeprefix(prefix)] = rounded
    layers = sum(name.endswith("attention_norm.weight") for name in own)
    positions, width = own["embedder.position.weight"].shape
    ffn = own["body.layers.0.ffn_in.weight"].shape[0]
    return TextEncoder(TextEncoderSizes(layers, width, ffn, heads, positions, epsilon), own)


def _of_checkpoint(path: Path) -> tuple[dict[str, Tensor], int, float]:
    if not path.is_file():
        raise UserError(f"--text-encoder {path}: no such file or folder; {_ADVICE}")
    try:
        content = read_plain_checkpoint(path, _ADVICE)
    except UserError as error:
        raise UserError(f"--text-encoder {error}") from None
    try:
        model = content["cfg"]["model"]
        heads, epsilon = int(model["encoder_attention_heads"]), float(model.get("layer_norm_eps", LAYER_NORM_EPS))
        tensors = {name: value for name, value in content["model"].items() if isinstance(value, Tensor)}
        found = with_changes(weights_of_checkpoint(tensors))
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UserError(f"--text-encoder {path}: holds no BERT; {_ADVICE}") from None
    needed = (FINGERPRINT, "text_embedder.position.weight", "encoder.layers.0.ffn_in.weight")
    if any(name not in found for name in needed):
        raise UserError(f"--text-encoder {path}: holds no BERT; {_ADVICE}")
    return found, heads, epsilon
