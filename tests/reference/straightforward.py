"""The published network written down as plainly as possible: one utterance at a time, float64, no packing, no dropout.

Nothing here comes from the plugin. Parameters are one flat dictionary under the names of the authors' checkpoints; tied
decoders appear under their own name too, as the same tensor, so that automatic differentiation adds both uses up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .parameters import Config, Parameters, random_parameters, to_plugin_names

__all__ = ["Config", "Parameters", "Utterance", "gradients", "random_parameters", "to_plugin_names"]

LAYER_NORM_EPSILON = 1e-12

Rows = Sequence[Tensor]


@dataclass(frozen=True)
class Utterance:
    """One utterance: ``text`` (L,) ids with [CLS] first and [SEP] last, frames (T, D) or None where absent.

    ``*_masked`` (T,) bool marks the frames that the learned mask vector replaces.
    """

    text: Tensor
    visual: Tensor | None = None
    acoustic: Tensor | None = None
    visual_masked: Tensor | None = None
    acoustic_masked: Tensor | None = None


def gelu(x: Tensor) -> Tensor:
    """The exact Gaussian error linear unit."""
    return 0.5 * x * (1.0 + torch.erf(x / math.sqrt(2.0)))


def linear(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """``x W^T + b`` with the weight and bias called ``name``."""
    return x @ parameters[f"{name}.weight"].T + parameters[f"{name}.bias"]


def layer_norm(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """Normalisation over the last dimension with biased variance, then scale and shift."""
    mean = x.mean(dim=-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
    normal = (x - mean) / torch.sqrt(variance + LAYER_NORM_EPSILON)
    return normal * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]


def softmax(scores: Tensor) -> Tensor:
    """Softmax over the last dimension."""
    exponentials = torch.exp(scores - scores.max(dim=-1, keepdim=True).values)
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


def log_softmax(scores: Tensor) -> Tensor:
    """Logarithm of the softmax over the last dimension."""
    shifted = scores - scores.max(dim=-1, keepdim=True).values
    return shifted - torch.log(torch.exp(shifted).sum(dim=-1, keepdim=True))


def embed_text(parameters: Parameters, ids: Tensor) -> Tensor:
    """(L,) ids to (L, hidden): LN(word + position + type 0)."""
    prefix = "uniter.embeddings"
    word = parameters[f"{prefix}.word_embeddings.weight"][ids]
    position = parameters[f"{prefix}.position_embeddings.weight"][: len(ids)]
    segment = parameters[f"{prefix}.token_type_embeddings.weight"][0]
    return layer_norm(parameters, f"{prefix}.LayerNorm", word + position + segment)


def embed_frames(
    parameters: Parameters, prefix: str, names: str, segment: Tensor, frames: Tensor, masked: Tensor | None
) -> Tensor:
    """(T, dim) frames to (T, hidden): LN(LN(Linear(frames with the masked ones replaced)) + position + segment)."""
    if masked is not None:
        mask_vector = parameters[f"{prefix}.mask_embedding.weight"][1]
        frames = frames * (~masked)[:, None] + masked[:, None] * mask_vector
    projected = linear(parameters, f"{prefix}.{names}_linear", frames)
    normal = layer_norm(parameters, f"{prefix}.{names}_layer_norm", projected)
    position = parameters[f"{prefix}.position_embeddings.weight"][: len(frames)]
    return layer_norm(parameters, f"{prefix}.LayerNorm", normal + position + segment)


def embed_visual(parameters: Parameters, frames: Tensor, masked: Tensor | None = None) -> Tensor:
    """(V, visual_dim) to (V, hidden); the type is row 1 of the text's table."""
    segment = parameters["uniter.embeddings.token_type_embeddings.weight"][1]
    return embed_frames(parameters, "uniter.img_embeddings", "img", segment, frames, masked)


def embed_acoustic(parameters: Parameters, frames: Tensor, masked: Tensor | None = None) -> Tensor:
    """(A, acoustic_dim) to (A, hidden); the type is a row of its own."""
    segment = parameters["uniter.speech_embeddings.token_type_embeddings.weight"][0]
    return embed_frames(parameters, "uniter.speech_embeddings", "speech", segment, frames, masked)


def attend(parameters: Parameters, prefix: str, x: Tensor, heads: int) -> Tensor:
    """Self-attention of every position (T, hidden) to every position, one head after the other."""
    query = linear(parameters, f"{prefix}.query", x)
    key = linear(parameters, f"{prefix}.key", x)
    value = linear(parameters, f"{prefix}.value", x)
    width = x.shape[-1] // heads
    outputs = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = query[:, part] @ key[:, part].T / math.sqrt(width)
        outputs.append(softmax(scores) @ value[:, part])
    return torch.cat(outputs, dim=-1)


def encode(parameters: Parameters, x: Tensor, heads: int) -> Tensor:
    """All post-LN layers over one utterance's sequence (T, hidden)."""
    layer = 0
    while f"uniter.encoder.layer.{layer}.intermediate.dense.weight" in parameters:
        prefix = f"uniter.encoder.layer.{layer}"
        attended = attend(parameters, f"{prefix}.attention.self", x, heads)
        attended = linear(parameters, f"{prefix}.attention.output.dense", attended)
        x = layer_norm(parameters, f"{prefix}.attention.output.LayerNorm", x + attended)
        inner = gelu(linear(parameters, f"{prefix}.intermediate.dense", x))
        inner = linear(parameters, f"{prefix}.output.dense", inner)
        x = layer_norm(parameters, f"{prefix}.output.LayerNorm", x + inner)
        layer += 1
    return x


@dataclass(frozen=True)
class Hidden:
    """Last hidden states of one utterance, per modality; an absent modality has no rows."""

    text: Tensor
    visual: Tensor
    acoustic: Tensor


def hidden_states(parameters: Parameters, utterance: Utterance, heads: int) -> Hidden:
    """The network's body: sequence order text, visual, acoustic."""
    parts = [embed_text(parameters, utterance.text)]
    lengths = [len(utterance.text), 0, 0]
    if utterance.visual is not None:
        parts.append(embed_visual(parameters, utterance.visual, utterance.visual_masked))
        lengths[1] = len(utterance.visual)
    if utterance.acoustic is not None:
        parts.append(embed_acoustic(parameters, utterance.acoustic, utterance.acoustic_masked))
        lengths[2] = len(utterance.acoustic)
    encoded = encode(parameters, torch.cat(parts), heads)
    return Hidden(*encoded.split(lengths))


def pool(parameters: Parameters, hidden: Hidden) -> Tensor:
    """(hidden,) of the [CLS] position after the pooler."""
    return torch.tanh(linear(parameters, "uniter.pooler.dense", hidden.text[0]))


def wwmlm_head(parameters: Parameters, x: Tensor) -> Tensor:
    """(n, hidden) to vocabulary logits; the decoder is the word embedding table."""
    x = gelu(linear(parameters, "cls.predictions.transform.dense", x))
    x = layer_norm(parameters, "cls.predictions.transform.LayerNorm", x)
    return x @ parameters["uniter.embeddings.word_embeddings.weight"].T + parameters["cls.predictions.bias"]


def regression_head(parameters: Parameters, name: str, input_weight: str, x: Tensor) -> Tensor:
    """(n, hidden) to features; the decoder is the transposed weight of the modality's input layer."""
    x = layer_norm(parameters, f"{name}.net.2", gelu(linear(parameters, f"{name}.net.0", x)))
    return x @ parameters[input_weight] + parameters[f"{name}.bias"]


def mvfr_head(parameters: Parameters, x: Tensor) -> Tensor:
    """(n, hidden) to visual features (n, visual_dim)."""
    return regression_head(parameters, "feat_regress", "uniter.img_embeddings.img_linear.weight", x)


def mafr_head(parameters: Parameters, x: Tensor) -> Tensor:
    """(n, hidden) to acoustic features (n, acoustic_dim)."""
    return regression_head(parameters, "speech_feat_regress", "uniter.speech_embeddings.speech_linear.weight", x)


def mvfc_head(parameters: Parameters, x: Tensor) -> Tensor:
    """(n, hidden) to expression logits (n, K)."""
    x = gelu(linear(parameters, "region_classifier.net.0", x))
    x = layer_norm(parameters, "region_classifier.net.2", x)
    return linear(parameters, "region_classifier.net.3", x)


def classify_head(parameters: Parameters, pooled: Tensor) -> Tensor:
    """(..., hidden) pooled to label logits."""
    x = gelu(linear(parameters, "output.output.0", pooled))
    x = layer_norm(parameters, "output.output.2", x)
    return linear(parameters, "output.output.3", x)


def wwmlm_loss(
    parameters: Parameters, heads: int, utterances: Sequence[Utterance], rows: Rows, targets: Rows
) -> Tensor:
    """Mean cross-entropy over all masked pieces: ``targets[i]`` at positions ``rows[i]`` of utterance i's text."""
    losses = []
    for utterance, positions, pieces in zip(utterances, rows, targets, strict=True):
        hidden = hidden_states(parameters, utterance, heads).text[positions]
        logarithms = log_softmax(wwmlm_head(parameters, hidden))
        losses.append(-logarithms[torch.arange(len(pieces)), pieces])
    return torch.cat(losses).mean()


def mvfr_loss(parameters: Parameters, heads: int, utterances: Sequence[Utterance], rows: Rows, targets: Rows) -> Tensor:
    """Squared error averaged over all target frames and dimensions; ``targets[i]`` (n, visual_dim) true frames."""
    predictions = [
        mvfr_head(parameters, hidden_states(parameters, utterance, heads).visual[positions])
        for utterance, positions in zip(utterances, rows, strict=True)
    ]
    return ((torch.cat(predictions) - torch.cat(list(targets))) ** 2).mean()


def mafr_loss(parameters: Parameters, heads: int, utterances: Sequence[Utterance], rows: Rows, targets: Rows) -> Tensor:
    """Squared error averaged over all target frames and dimensions; ``targets[i]`` (n, acoustic_dim) true frames."""
    predictions = [
        mafr_head(parameters, hidden_states(parameters, utterance, heads).acoustic[positions])
        for utterance, positions in zip(utterances, rows, strict=True)
    ]
    return ((torch.cat(predictions) - torch.cat(list(targets))) ** 2).mean()


def mvfc_loss(parameters: Parameters, heads: int, utterances: Sequence[Utterance], rows: Rows, targets: Rows) -> Tensor:
    """KL(target || prediction) averaged over frames and classes; ``targets[i]`` (n, K) distributions, zeros allowed."""
    terms = []
    for utterance, positions, distributions in zip(utterances, rows, targets, strict=True):
        hidden = hidden_states(parameters, utterance, heads).visual[positions]
        logarithms = log_softmax(mvfc_head(parameters, hidden))
        entropies = torch.where(distributions > 0, distributions * torch.log(distributions.clamp(min=1e-300)), 0.0)
        terms.append(entropies - distributions * logarithms)
    return torch.cat(terms).mean()


def prompt_loss(
    parameters: Parameters,
    heads: int,
    utterances: Sequence[Utterance],
    positions: Sequence[int],
    answers: Sequence[int],
) -> Tensor:
    """Mean over utterances of the cross-entropy over the whole vocabulary at the template's mask."""
    losses = []
    for utterance, position, answer in zip(utterances, positions, answers, strict=True):
        hidden = hidden_states(parameters, utterance, heads).text[position]
        losses.append(-log_softmax(wwmlm_head(parameters, hidden))[answer])
    return torch.stack(losses).mean()


def finetune_loss(parameters: Parameters, heads: int, utterances: Sequence[Utterance], labels: Sequence[int]) -> Tensor:
    """Mean over utterances of the cross-entropy of the classification head."""
    losses = []
    for utterance, label in zip(utterances, labels, strict=True):
        pooled = pool(parameters, hidden_states(parameters, utterance, heads))
        losses.append(-log_softmax(classify_head(parameters, pooled))[label])
    return torch.stack(losses).mean()


def gradients(loss: Tensor, parameters: Parameters) -> Parameters:
    """The loss's gradient for every parameter, zero where it does not depend on one."""
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(parameters.items(), found, strict=True)
    }
