"""Explain an answer by gradient x input at the position that is read, and by its course over a clip.

Gradient x input (Shrikumar et al., 2016, "Not just a black box") is a first-order estimate of how much the answer's log
probability would fall if a word's vector or a frame were zero. It is cheap, and exact only for a linear network. The
answer without a whole modality, which the page shows beside it, is no estimate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.names import CLASSES, DIMENSIONS, SEVERAL
from .network import Network
from .utterance import Evidence

METHOD = (
    "Gradient × input: for every word and every frame, how much {} would fall, to first order, if its input were "
    "zero. Positive: it speaks for the answer. An estimate, not a proof."
)
_EXPLAINED = {
    CLASSES: "the logarithm of the answer's probability",
    SEVERAL: "the logarithm of the likeliest label's probability",
    DIMENSIONS: "the number that lies farthest from its mean in training, in units of its deviation there,",
}


def method(kind: str) -> str:
    """Say for readers how answers of a kind of target are explained."""
    return METHOD.format(_EXPLAINED[kind])


@dataclass(frozen=True)
class Contribution:
    """A word and the amount by which it spoke for the answer (positive) or against it."""

    word: str
    value: float


@dataclass(frozen=True)
class Explanation:
    """The contributions of words and frames to one answer.

    Attributes:
        label: the answer; the likeliest of several labels; of numbers, such as ``more arousal``.
        words: the text's words that were read.
        prompt: sum over the template and the special pieces, which are the same in every utterance.
        visual: (T,) contributions of the faces that were read.
        acoustic: (A,) contributions of the speech frames that were read.
    """

    label: str
    words: tuple[Contribution, ...]
    prompt: float
    visual: np.ndarray
    acoustic: np.ndarray

    @property
    def shares(self) -> dict[str, float]:
        """Return each modality's share of the contributions, by its letter; the prompt does not count."""
        sizes = {
            "l": sum(abs(word.value) for word in self.words),
            "v": float(np.abs(self.visual).sum()),
            "a": float(np.abs(self.acoustic).sum()),
        }
        total = sum(sizes.values())
        return {letter: size / total if total else 0.0 for letter, size in sizes.items()}


@dataclass(frozen=True)
class Course:
    """The answer as more and more of a clip's faces and sound is read; the text is whole from the start.

    Attributes:
        seconds: (S,) lengths that were read.
        values: (S, C) probabilities, or numbers.
    """

    seconds: np.ndarray
    values: np.ndarray


def explain(network: Network, evidence: Evidence) -> Explanation:
    """Explain the most probable emotion or label of one utterance, or the number farthest from its mean in training.

    Raises:
        UserError: the model was only pre-trained.
    """
    batch = network.batch([evidence], network.prompt)
    frames = {name: batch.net_input[name].float().requires_grad_() for name in ("visual", "acoustic")}
    for one in (batch, *batch.more):
        one.net_input.update(frames)
    with torch.enable_grad(), _kept_output(network.module.word_vectors()) as kept:
        scores, _ = network.scores(batch)
        kind = network.description.target_kind
        explained = {CLASSES: scores[0].log_softmax(dim=-1), SEVERAL: functional.logsigmoid(scores[0])}
        values = explained.get(kind, scores[0])
        answer = int(values.abs().argmax() if kind == DIMENSIONS else values.argmax())
        values[answer].backward()
    count = int(batch.piece_lengths[0])
    # Each template embeds its text first, some then words to compare with. The text's own pieces follow [CLS].
    pieces = [_products(one) for one in kept[:: len(kept) // (1 + len(batch.more))]]
    own = np.sum([of_template[1 : 1 + count] for of_template in pieces], axis=0)
    return Explanation(
        label=f"more {network.labels[answer]}" if kind == DIMENSIONS else network.labels[answer],
        words=tuple(_by_word(network, evidence, own)),
        prompt=float(sum(of_template.sum() for of_template in pieces) - own.sum()),
        visual=_products(frames["visual"]),
        acoustic=_products(frames["acoustic"]),
    )


def course(network: Network, evidence: Evidence, step: float = 0.4) -> Course:
    """Answer for the first ``step`` seconds, for twice as much, and so on to the end of what is read.

    Raises:
        UserError: the model was only pre-trained.
    """
    limits = network.description.limits
    ends = [
        float(times[min(len(times), limit) - 1])
        for times, limit in (
            (evidence.visual_times if evidence.visual is not None else None, limits["visual_frames"]),
            (evidence.acoustic_times if evidence.acoustic is not None else None, limits["acoustic_frames"]),
        )
        if times is not None and len(times)
    ]
    if not ends:
        return Course(np.zeros(0), np.zeros((0, len(network.labels))))
    seconds = np.arange(1, int(max(ends) / step) + 2) * step
    with torch.inference_mode():
        parts = [evidence.first_seconds(float(end)) for end in seconds]
        scores, _ = network.scores(network.batch(parts, network.prompt))
        return Course(seconds, network.answers(scores).cpu().double().numpy())


@contextmanager
def _kept_output(module: nn.Module) -> Iterator[list[Tensor]]:
    """Keep a module's output and make it a leaf of the graph, so that it gets a gradient."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    handle = module.register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()


def _products(inputs: Tensor) -> np.ndarray:
    """Multiply inputs (n, D) by their gradients and sum over D: (n,)."""
    if inputs.grad is None:
        return np.zeros(len(inputs))
    return (inputs.detach().double() * inputs.grad.double()).sum(dim=-1).cpu().numpy()


def _by_word(network: Network, evidence: Evidence, values: np.ndarray) -> Iterator[Contribution]:
    """Sum the pieces' values over each whitespace word."""
    starts = np.flatnonzero(evidence.word_start[: len(values)])
    ends = [*starts[1:].tolist(), len(values)]
    words = _words(network, evidence)
    for word, start, end in zip(words, starts.tolist(), ends, strict=False):
        yield Contribution(word, float(values[start:end].sum()))


def _words(network: Network, evidence: Evidence) -> Sequence[str]:
    """Return the text's own words; those of the pieces if the tokenizer dropped a word."""
    words = evidence.utterance.text.split()
    if len(words) == int(evidence.word_start.sum()):
        return words
    groups = np.split(evidence.pieces, np.flatnonzero(evidence.word_start)[1:])
    return [network.tokenizer.spelled(group.tolist()) for group in groups]
