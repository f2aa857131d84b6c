"""Base classes of pre-training objectives, their registry, and the choice of an update's objective (section 3).

An objective is one file of this folder, or an entry point ``memobert_plugin.objectives`` of another package. Its head,
its ``--NAME-ratio`` flag, its mask, its loss, its place in ablations and its title in reports follow from its class.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.errors import UserError
from ..core.registry import Registry
from ..core.rng import Stream, uniform
from ..data.tokenizer import Tokenizer
from ..data.vocabulary import SPECIALS
from ..nn.heads import HeadPlan
from ..nn.network import MEmoBERTNetwork
from ..nn.packing import to_device
from .draws import Draws
from .spans import mask_frames


@dataclass(frozen=True)
class InputSizes:
    """Sizes of what a network reads.

    Attributes:
        vocabulary: rows of the dictionary.
        visual_dim: numbers of a face frame; 0 without faces.
        acoustic_dim: numbers of a speech frame; 0 without speech.
        expression_classes: classes of the facial-expression distributions; 0 without them.
    """

    vocabulary: int
    visual_dim: int = 0
    acoustic_dim: int = 0
    expression_classes: int = 0

    def frame_dim(self, modality: str) -> int:
        """Return ``visual_dim`` or ``acoustic_dim``."""
        return self.visual_dim if modality == "visual" else self.acoustic_dim


@dataclass(frozen=True)
class MaskingOptions:
    """Flags of the pre-training task about masking.

    Attributes:
        word_mode: one of :data:`.words.WORD_MASKING`.
        frame_mode: one of :data:`.spans.FRAME_MASKING`.
        word_ratio: probability of a word (or piece) to be masked.
        visual_ratio: share of face frames masked.
        acoustic_ratio: share of speech frames masked.
        span_length: frames in a masked span.
    """

    word_mode: str = "whole_word"
    frame_mode: str = "span"
    word_ratio: float = 0.15
    visual_ratio: float = 0.15
    acoustic_ratio: float = 0.15
    span_length: int = 3


@dataclass(frozen=True)
class Masked:
    """One objective's view of a batch.

    Attributes:
        rows: ascending rows of the modality's flat array that the head reads, numpy.
        target: ``(len(rows), ...)`` what the head's outputs are compared with.
        inputs: arguments of the network that replace or join the batch's own; the batch's tensors must stay as they
            are.
    """

    rows: npt.NDArray[np.int64]
    target: Tensor
    inputs: Mapping[str, Any] = field(default_factory=dict)


class Training(Protocol):
    """The training as an objective sees it before an update."""

    update: int
    """The number of the update."""
    trains: bool
    """False in validation."""

    @property
    def first_update(self) -> int:
        """Return the first update since the start or the resume: 0 in a new training."""

    @property
    def network(self) -> MEmoBERTNetwork:
        """Return the network as it is now."""

    def sampled_batches(self) -> Iterable[Mapping[str, Any]]:
        """Yield batches of about a thousand training utterances, always the same."""

    def remember(self, name: str, state: Mapping[str, Tensor]) -> None:
        """Keep tensors beside the checkpoints, under a name that ends in a number.

        What was kept under the name with other numbers goes once no checkpoint needs it.
        """

    def recall(self, name: str) -> dict[str, Tensor] | None:
        """Return what was kept under a name; None where nothing was."""


class Objective(ABC):
    """A pre-training objective: it masks one modality of a batch and predicts what it masked.

    Args:
        name: under which it is registered.
        sizes: of the data.
        symbols: the dictionary, in row order.
        options: the flags of masking.

    Class attributes:
        title: a few words for reports, such as ``"masked words"``.
        help: for the ratio's flag, such as ``"whole-word masked language modelling"``.
        modality: ``"text"``, ``"visual"`` or ``"acoustic"``.
        default_ratio: share of updates unless the flag says otherwise; 0 leaves the objective out until the flag asks.
        order: place in flags, draws and logs; the paper's four come first.
        in_every_model: also build the head where the objective is not asked for, as checkpoints of the paper's four
            have it: a finetuned checkpoint can then be pre-trained further.
        ablation: name of the ablation that leaves the objective out; empty for none.
        advice: for a checkpoint whose head has another shape.
        scores_of_loss: scores made of the mean loss, by name, such as the perplexity.
        shares: names of what :meth:`count` counts in validation, logged as a share of the targets in percent.
        stream: of its random numbers; None takes one that follows from the name.
        head_name: of the head that it trains; empty for a head of its own, called as the objective.
        Options: a dataclass whose fields become flags of pre-training; None for none.
        regresses_frames: its targets are frames, which are standardised as the network's input is.
    """

    title: ClassVar[str]
    help: ClassVar[str]
    modality: ClassVar[str]
    default_ratio: ClassVar[float] = 0.0
    order: ClassVar[int] = 100
    in_every_model: ClassVar[bool] = False
    ablation: ClassVar[str] = ""
    advice: ClassVar[str] = "train with the data and the settings that the checkpoint was made with"
    scores_of_loss: ClassVar[Mapping[str, Callable[[float], float]]] = {}
    shares: ClassVar[Sequence[str]] = ()
    stream: ClassVar[int | None] = None
    head_name: ClassVar[str] = ""
    Options: ClassVar[type | None] = None
    regresses_frames: ClassVar[bool] = False

    def __init__(self, name: str, sizes: InputSizes, symbols: Sequence[str], options: MaskingOptions) -> None:
        self.name, self.sizes, self.symbols, self.options = name, sizes, symbols, options

    def configure(self, settings: Any, tokenizer: Tokenizer, expression_classes: Sequence[str]) -> None:  # noqa: B027
        """Take the values of the flags; called once before any other method, where there are :attr:`Options`.

        Args:
            settings: an instance of :attr:`Options`.
            tokenizer: the data-bin's.
            expression_classes: names of the data-bin's facial expressions.

        Raises:
            UserError: a value is not allowed.
        """

    def check_network(self, network: MEmoBERTNetwork) -> None:  # noqa: B027
        """Refuse a new network that the objective cannot train.

        Raises:
            UserError: it lacks a part.
        """

    def prepare(self, training: Training) -> None:  # noqa: B027
        """Get ready for an update of this objective; called before each of them."""

    @classmethod
    @abstractmethod
    def serves(cls, sizes: InputSizes) -> bool:
        """Return True where the data has what the objective needs."""

    @classmethod
    @abstractmethod
    def head(cls, sizes: InputSizes) -> HeadPlan:
        """Return how to build and call the head."""

    @abstractmethod
    def mask(self, batch: Mapping[str, Any], draws: Draws) -> Masked:
        """Choose what to predict, and hide it.

        Args:
            batch: of the pre-training task: ``net_input`` (arguments of the network), ``pieces``, ``piece_lengths`` and
                ``word_start`` (numpy), and ``expression`` where the data has distributions.
            draws: random numbers of this update, by utterance and counter.

        Raises:
            UserError: the options allow no draw.
        """

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Return the loss summed over its elements, and their number; ``output`` is float32 at least.

        Counting elements keeps fairseq's ``sum / sample_size`` right over micro-batches and ranks.
        """

    def count(self, output: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """Return one count of targets for each of :attr:`shares`."""
        return {}

    def masked(self, batch: Mapping[str, Any], seed: int, update: int) -> dict[str, Any]:
        """Return a new batch that the pre-training criterion reads; the given one stays as it is.

        fairseq keeps its dummy batch and hands it out again.
        """
        stream = self.stream if self.stream is not None else stream_of(self.name)
        found = self.mask(batch, Draws(seed, update, stream, batch["uids"]))
        head = self.head_name or self.name
        return {
            **{key: batch[key] for key in ("id", "uids", "ntokens", "nsentences")},
            "objective": self.name,
            "target": found.target,
            "net_input": {
                **batch["net_input"],
                **found.inputs,
                "head": head,
                "rows": found.rows,
            },
        }

    def check(self) -> None:
        """Mask an utterance of one piece and one frame, so that wrong options are refused before training.

        Raises:
            UserError: a ratio, mode or span length with which nothing can be drawn.
        """
        one, sizes = np.ones(1, dtype=np.int64), self.sizes
        self.mask(
            {
                "uids": np.zeros(1, dtype=np.uint64),
                "pieces": one * len(SPECIALS),
                "piece_lengths": one,
                "word_start": one,
                "expression": torch.zeros(1, sizes.expression_classes),
                "net_input": {
                    "text": torch.tensor([0, len(SPECIALS), 2]),
                    "text_lengths": 3 * one,
                    "visual": torch.zeros(1, sizes.visual_dim),
                    "visual_lengths": one,
                    "acoustic": torch.zeros(1, sizes.acoustic_dim),
                    "acoustic_lengths": one,
                },
            },
            Draws(0, 0, 0, np.zeros(1, dtype=np.uint64)),
        )


OBJECTIVES: Registry[type[Objective]] = Registry("objective", __package__, "memobert_plugin.objectives")


class FrameObjective(Objective):
    """Base of the objectives that mask face or speech frames; a subclass says what is predicted of them."""

    def source(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the array ``(frames, width)`` whose rows are predicted: the frames themselves."""
        return batch["net_input"][self.modality]

    def width(self) -> int:
        """Return the columns of the target."""
        return self.sizes.frame_dim(self.modality)

    def mask(self, batch: Mapping[str, Any], draws: Draws) -> Masked:
        """Hide spans of frames, or single frames (:func:`.spans.mask_frames`)."""
        frames, options = batch["net_input"][self.modality], self.options
        chosen = mask_frames(
            batch["net_input"][f"{self.modality}_lengths"],
            draws,
            mode=options.frame_mode,
            ratio=options.visual_ratio if self.modality == "visual" else options.acoustic_ratio,
            span_length=options.span_length,
        )
        if not len(chosen.targets):
            # A shard without the modality does not even know the width of its frames.
            return Masked(chosen.targets, frames.new_empty(0, self.width()))
        inputs = {}
        if len(chosen.replaced):
            others = frames.index_select(0, to_device(chosen.sources, frames.device))
            inputs[self.modality] = frames.index_copy(0, to_device(chosen.replaced, frames.device), others)
        if len(chosen.masked):
            inputs[f"{self.modality}_masked"] = to_device(chosen.masked, frames.device)
        target = self.source(batch).index_select(0, to_device(chosen.targets, frames.device))
        return Masked(chosen.targets, target, inputs)


def stream_of(name: str) -> int:
    """Return the random stream of an objective that has none of :class:`~memobert_plugin.core.rng.Stream`."""
    digest = hashlib.sha256(f"objective {name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") | 1 << 32  # the enumerated streams are small numbers


def in_order(names: Iterable[str]) -> list[str]:
    """Return objectives in the order of flags, draws and logs.

    Raises:
        UserError: one is unknown.
    """
    return sorted(names, key=lambda name: (OBJECTIVES.get(name).order, name))


def draw_objective(seed: int, update: int, ratios: Mapping[str, float]) -> str:
    """Return the objective of one update, the same on every rank and for every micro-batch of it.

    Args:
        seed: the run's seed.
        update: the number of the update.
        ratios: weights by objective (those not given count 0); the paper's are wwmlm 2, mvfr 1, mvfc 1, mafr 1.

    Raises:
        UserError: an unknown objective, a negative weight, or no positive one.
    """
    names = in_order(ratios)
    if not all(0 <= ratio < np.inf for ratio in ratios.values()):
        raise UserError(f"objective ratios must be finite and not negative, not {dict(ratios)}")
    drawable = [name for name in names if ratios[name] > 0]
    if not drawable:
        raise UserError("every objective has ratio 0; leave at least one above 0")
    limits = np.cumsum([ratios[name] for name in drawable])
    point = float(uniform(seed, update, Stream.OBJECTIVE, 0, 0)) * limits[-1]
    return drawable[int(np.searchsorted(limits[:-1], point, side="right"))]


def ablations() -> dict[str, list[str]]:
    """Return the objectives that each ablation leaves out, by the ablation's name."""
    found: dict[str, list[str]] = {}
    for name, objective in OBJECTIVES.items():
        if objective.ablation:
            found.setdefault(objective.ablation, []).append(name)
    return {ablation: in_order(names) for ablation, names in found.items()}
