"""Base of the comparators: systems without pre-training that learn the same task on the same folds as MEmoBERT.

A comparator is one file. It derives a configuration from :class:`ComparatorConfig` and a network from
:class:`EmotionNetwork`, and names both with :func:`comparator`. That makes it an architecture of ``fairseq-train``, a
setting of ``memobert-sweep`` and a row of ``memobert-report``. The file lies in this folder, or in another package
that declares an entry point of the group ``memobert_plugin.comparators``.
"""

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.models import register_model
from torch import Tensor, nn

from ..core.errors import UserError, exits_in_one_line
from ..core.names import SETTINGS, Setting
from ..core.ragged import first_rows
from ..core.registry import Registry
from ..models.state_upgrade import StagedModel
from ..nn.heads import EmotionHead
from ..nn.network import FINGERPRINT, dictionary_fingerprint
from ..nn.packing import to_device

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sequences:
    """One modality of B utterances without padding.

    Attributes:
        rows: ``(N, D)``, utterance after utterance.
        lengths: ``(B,)`` rows of each utterance, a numpy array; none is 0.
    """

    rows: Tensor
    lengths: np.ndarray


class TextSequences(nn.Module):
    """``Dropout(LN(word))``; an utterance without text still has its [CLS] and [SEP].

    Args:
        vocabulary: rows of the dictionary.
        embed_dim: width D.
        dropout: applied to the result.
    """

    def __init__(self, vocabulary: int, embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary, embed_dim)
        self.norm = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.word.weight, std=embed_dim**-0.5)

    def forward(self, pieces: Tensor, lengths: np.ndarray) -> Sequences:
        """Embed pieces ``(sum(lengths),)`` int64 with [CLS] and [SEP]."""
        return Sequences(self.dropout(self.norm(self.word(pieces))), lengths)


class FrameSequences(nn.Module):
    """``Dropout(LN(Linear(frames)))``, and one learned row for an utterance without frames.

    Args:
        frame_dim: size of a frame's feature; 0 where the corpus has none, every utterance then is the learned row.
        embed_dim: width D.
        dropout: applied to the result.
    """

    def __init__(self, frame_dim: int, embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(frame_dim, embed_dim) if frame_dim else None
        self.norm = nn.LayerNorm(embed_dim) if frame_dim else None
        self.absent = nn.Parameter(torch.empty(1, embed_dim))
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.absent, std=embed_dim**-0.5)

    def forward(self, frames: Tensor | None, lengths: np.ndarray) -> Sequences:
        """Project frames ``(sum(lengths), F)`` of any float type, or None when no utterance has any.

        Every parameter has a gradient whatever the batch holds: without frames the projection runs on zero rows, and
        where every utterance has frames the learned row is still part of the table that rows are selected from.
        """
        with_one = np.maximum(lengths, 1)
        is_absent = np.repeat(lengths == 0, with_one)
        source = np.full(len(is_absent), int(lengths.sum()))
        source[~is_absent] = np.arange(int(lengths.sum()))
        rows = torch.cat([self._projected(frames), self.absent])
        return Sequences(self.dropout(rows.index_select(0, to_device(source, rows.device))), with_one)

    def _projected(self, frames: Tensor | None) -> Tensor:
        if self.linear is None or self.norm is None:
            if frames is not None and len(frames):
                raise ValueError("the batch has frames of a modality that the model was built without")
            return self.absent[:0]
        weight = self.linear.weight
        frames = weight.new_empty(0, weight.shape[1]) if frames is None else frames.to(weight.dtype)
        return self.norm(self.linear(frames))


@dataclass
class ComparatorConfig(FairseqDataclass):
    """Sizes that all comparators have."""

    encoder_embed_dim: int = field(
        default=64, metadata={"help": "width D of each modality's vectors, even (chosen for corpora of some hours)"}
    )
    dropout: float = field(
        default=0.1, metadata={"help": "dropout on embeddings, sub-layer outputs and the classifier's input"}
    )
    max_positions: int = field(
        default=512,
        metadata={"help": "longest sequence of a modality, in pieces or frames; the task's limits must not exceed it"},
    )


class EmotionNetwork(nn.Module):
    """A network that turns three modalities into one vector per utterance, with MEmoBERT's classifier on it.

    A subclass defines :meth:`fuse`, which turns the modalities into that vector. Words are embedded at random, frames
    are projected, and an absent modality is a learned row.

    Args:
        config: sizes and dropout.
        vocabulary: rows of the dictionary.
        visual_dim: size of a face frame's feature; 0 where the corpus has none.
        acoustic_dim: size of a speech frame's feature; 0 where the corpus has none.
        labels: number of emotions C.
        fused_dim: width of the vector that :meth:`fuse` returns.

    Raises:
        UserError: the width is odd.
    """

    def __init__(
        self,
        config: ComparatorConfig,
        vocabulary: int,
        visual_dim: int,
        acoustic_dim: int,
        labels: int,
        fused_dim: int,
    ) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        if width % 2:
            raise UserError(f"--encoder-embed-dim {width}: give an even width")
        self.text = TextSequences(vocabulary, width, config.dropout)
        self.visual = FrameSequences(visual_dim, width, config.dropout)
        self.acoustic = FrameSequences(acoustic_dim, width, config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = EmotionHead(fused_dim, labels)

    @abstractmethod
    def fuse(self, text: Sequences, visual: Sequences, acoustic: Sequences) -> Tensor:
        """Return one vector for each of B utterances, ``(B, fused_dim)``."""

    def forward(
        self,
        text: Tensor,
        text_lengths: np.ndarray,
        visual: Tensor | None,
        visual_lengths: np.ndarray,
        acoustic: Tensor | None,
        acoustic_lengths: np.ndarray,
        head: str,
        rows: np.ndarray,
    ) -> Tensor:
        """Classify utterances; arguments as in ``MEmoBERTModel.forward``, so that one criterion serves both.

        Args:
            text: ``(sum(text_lengths),)`` piece ids with [CLS] first and [SEP] last in each utterance.
            text_lengths: ``(B,)``, a numpy array like the other lengths; frames may be 0 where a modality is absent.
            visual: ``(sum(visual_lengths), V)`` face frames of any float type, or None when no utterance has any.
            visual_lengths: ``(B,)``.
            acoustic: ``(sum(acoustic_lengths), A)`` speech frames, or None.
            acoustic_lengths: ``(B,)``.
            head: ``classify``, the only one.
            rows: rows of the [CLS] of the n utterances that are read, a numpy array.

        Returns:
            ``(n, C)``. Every parameter has a gradient whatever the batch lacks.
        """
        if head != "classify":
            raise UserError(f"head {head!r}: a comparator has an emotion classifier only")
        fused = self.fuse(
            self.text(text, text_lengths),
            self.visual(visual, visual_lengths),
            self.acoustic(acoustic, acoustic_lengths),
        )
        utterances = to_device(np.searchsorted(first_rows(text_lengths), rows), fused.device)
        return self.classifier(self.dropout(fused.index_select(0, utterances)))


class Comparator(StagedModel):
    """The part of a comparator that fairseq calls; :func:`comparator` joins it with a network.

    Attributes:
        setting: its place in a sweep's plan and its title in reports.
    """

    setting: Setting

    @classmethod
    @exits_in_one_line
    def build_model(cls, config: ComparatorConfig, task: Any) -> "Comparator":
        """Build the network with random weights; sizes of dictionary, frames and labels come from the task.

        Raises:
            SystemExit: one line, when the task needs a head that a comparator does not have.
        """
        sizes = task.model_sizes() if hasattr(task, "model_sizes") else {}
        if sizes.get("labels") is None:
            raise UserError(
                f"--arch {config._name}: a comparator has an emotion classifier and no head for pre-training or "
                f"prompting; train it with --task memobert_finetune --criterion memobert_finetune"
            )
        names = ("vocabulary", "visual_dim", "acoustic_dim", "labels")
        model: Comparator = cls(config, *(sizes[name] for name in names))  # type: ignore[call-arg]
        # Weights of another dictionary are refused when a checkpoint is loaded.
        model.dictionary_fingerprint.fill_(dictionary_fingerprint(sizes["symbols"]))
        return model

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer(FINGERPRINT, torch.zeros(1, dtype=torch.int64))


COMPARATORS: Registry[type[Comparator]] = Registry(
    "comparator", "memobert_plugin.comparators", "memobert_plugin.comparators"
)

Network = TypeVar("Network", bound=EmotionNetwork)


def comparator(name: str, title: str, config: type[ComparatorConfig]) -> Callable[[type[Network]], type[Network]]:
    """Return a decorator that makes a network a comparator.

    Args:
        name: the setting's name in a plan; fairseq's ``--arch`` is ``memobert_NAME``.
        title: its name in tables and pictures.
        config: its sizes, which become flags of ``fairseq-train``.

    Raises:
        ValueError: the name is no identifier, or another setting's.
    """
    if not name.isidentifier() or name in SETTINGS:
        raise ValueError(f"a comparator cannot be called {name!r}: give an identifier that no other setting has")

    def join(network: type[Network]) -> type[Network]:
        architecture = f"memobert_{name}"
        setting = Setting(title, "memobert_finetune", "nothing", architecture)
        attributes = {"__doc__": network.__doc__, "__module__": network.__module__, "setting": setting}
        # The network comes first: its constructor runs, and calls the adapter's, which takes no arguments.
        model = type(f"{network.__name__}Model", (network, Comparator), attributes)
        COMPARATORS.register(name)(model)
        register_model(architecture, dataclass=config)(model)
        return network

    return join


def comparator_settings() -> Mapping[str, Setting]:
    """Return the settings of all installed comparators by name; a defective one is logged and left out."""
    settings = {}
    for name, model in COMPARATORS.items():
        if isinstance(model, type) and issubclass(model, Comparator):
            settings[name] = model.setting
        else:
            logger.warning("entry point %r of %s names no comparator of that name", name, COMPARATORS.group)
    return settings
