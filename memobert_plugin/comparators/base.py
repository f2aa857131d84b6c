"""Base of the comparators: systems without pre-training that learn the same task on the same folds as MEmoBERT.

A comparator is one file. It derives a configuration from :class:`ComparatorConfig` and a network from
:class:`EmotionNetwork` (each modality embedded, one vector per utterance, MEmoBERT's classifier) or from
:class:`StreamNetwork` (vectors as they are, everything else its own), and names both with :func:`comparator`. That
makes it an architecture of ``fairseq-train``, a setting of ``memobert-sweep`` and a row of ``memobert-report``.
The file lies in this folder, or in another package with an entry point of the group ``memobert_plugin.comparators``.
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
from ..nn.heads import EMOTION_HEAD, EmotionHead
from ..nn.network import FINGERPRINT, TextEncoderFlags, dictionary_fingerprint, text_encoder_sizes
from ..nn.packing import MODALITIES, to_device
from .inputs import FrameSequences, FrameVectors, Sequences, TextSequences, TextVectors

logger = logging.getLogger(__name__)


@dataclass
class ComparatorConfig(TextEncoderFlags, FairseqDataclass):
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
    text_encoder: str = field(
        default="",
        metadata={
            "help": "read text as the last layer's states of this frozen BERT (a Hugging Face folder, the file of "
            "memobert-import bert, or a checkpoint trained from it) instead of learning word vectors"
        },
    )


STREAM_RECIPE: dict[str, Any] = {
    "adam_betas": "(0.9, 0.999)",
    "adam_eps": 1e-8,
    "weight_decay": 0.0,
    "clip_norm": 1.0,
    "lr": 2e-4,
    "warmup_updates": 0,
    "batch_size": 128,
    "max_epoch": 60,
}
"""The values by which MMIN's authors train it on IEMOCAP, but for the first of Adam's betas."""


def refuse_other_heads(head: str) -> None:
    """Raise a :class:`UserError` for any head but the emotion classifier."""
    if head != EMOTION_HEAD:
        raise UserError(f"head {head!r}: a comparator has an emotion classifier only")


def read_utterances(text_lengths: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the numbers ``(n,)`` of the utterances whose [CLS] are at ``rows``."""
    return np.searchsorted(first_rows(text_lengths), rows)


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
        UserError: :meth:`check_flags` refuses the sizes.
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
        self.check_flags(config)
        width = config.encoder_embed_dim
        self.text_embedder = TextSequences(vocabulary, width, config.dropout, text_encoder_sizes(config))
        self.visual_embedder = FrameSequences(visual_dim, width, config.dropout)
        self.acoustic_embedder = FrameSequences(acoustic_dim, width, config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = EmotionHead(fused_dim, labels)

    @staticmethod
    def check_flags(config: Any) -> None:
        """Refuse sizes of which no network can be built; a sweep's plan is checked by it too.

        Raises:
            UserError: the line names the flag.
        """
        width = config.encoder_embed_dim
        if width < 2 or width % 2:
            raise UserError(f"--encoder-embed-dim {width}: give an even width")

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
        refuse_other_heads(head)
        fused = self.fuse(
            self.text_embedder(text, text_lengths),
            self.visual_embedder(visual, visual_lengths),
            self.acoustic_embedder(acoustic, acoustic_lengths),
        )
        utterances = to_device(read_utterances(text_lengths, rows), fused.device)
        return self.classifier(self.dropout(fused.index_select(0, utterances)))


class StreamNetwork(nn.Module):
    """Base of published systems that read the vectors of the three modalities as they are.

    An absent modality is one zero row, which is the mean frame where frames are standardised.

    Args:
        config: the width of word vectors, or the sizes of the frozen text encoder.
        vocabulary: rows of the dictionary.
        visual_dim: size of a face frame's feature; 0 where the corpus has none.
        acoustic_dim: size of a speech frame's feature; 0 where the corpus has none.
    """

    def __init__(self, config: ComparatorConfig, vocabulary: int, visual_dim: int, acoustic_dim: int) -> None:
        super().__init__()
        self.text_embedder = TextVectors(vocabulary, config.encoder_embed_dim, text_encoder_sizes(config))
        self.visual_embedder = FrameVectors(visual_dim)
        self.acoustic_embedder = FrameVectors(acoustic_dim)

    @property
    def widths(self) -> dict[str, int]:
        """Return the width of each modality's vectors."""
        return {name: getattr(self, f"{name}_embedder").width for name in MODALITIES}

    def streams(
        self,
        text: Tensor,
        text_lengths: np.ndarray,
        visual: Tensor | None,
        visual_lengths: np.ndarray,
        acoustic: Tensor | None,
        acoustic_lengths: np.ndarray,
    ) -> dict[str, Sequences]:
        """Return the vectors of each modality; arguments as in :meth:`EmotionNetwork.forward`."""
        return {
            "text": self.text_embedder(text, text_lengths, self.visual_embedder.mean.dtype),
            "visual": self.visual_embedder(visual, visual_lengths),
            "acoustic": self.acoustic_embedder(acoustic, acoustic_lengths),
        }


class Comparator(StagedModel):
    """The part of a comparator that fairseq calls; :func:`comparator` joins it with a network.

    A network that is trained in stages may define ``from_earlier_stage(state)``, which makes the checkpoint of one
    stage loadable into the next, in place.

    Attributes:
        setting: its place in a sweep's plan and its title in reports.
        own_criterion: the criterion that alone trains it; empty for that of the task.
        reads_dialogues: it reads whole dialogues, in order.
    """

    setting: Setting
    own_criterion = ""
    reads_dialogues = False

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

    def upgrade_state_dict_named(self, state_dict: dict[str, Tensor], name: str) -> None:
        """Fit a checkpoint, also one of the time when embedders had other names, to this model, in place."""
        for key in list(state_dict):
            modality, _, rest = key.partition(".")
            if modality in MODALITIES:
                state_dict[f"{modality}_embedder.{rest}"] = state_dict.pop(key)
        from_earlier_stage = getattr(self, "from_earlier_stage", None)
        if from_earlier_stage is not None:
            from_earlier_stage(state_dict)
        super().upgrade_state_dict_named(state_dict, name)


COMPARATORS: Registry[type[Comparator]] = Registry(
    "comparator", "memobert_plugin.comparators", "memobert_plugin.comparators"
)

Network = TypeVar("Network", bound=nn.Module)


def comparator(
    name: str, title: str, config: type[ComparatorConfig], **of_setting: Any
) -> Callable[[type[Network]], type[Network]]:
    """Return a decorator that makes a network a comparator.

    Args:
        name: the setting's name in a plan; fairseq's ``--arch`` is ``memobert_NAME``.
        title: its name in tables and pictures.
        config: its sizes, which become flags of ``fairseq-train``.
        of_setting: more of its :class:`~memobert_plugin.core.names.Setting`: ``flags``, ``note`` and so on.

    Raises:
        ValueError: the name is no identifier, or another setting's.
    """
    if not name.isidentifier() or name in SETTINGS:
        raise ValueError(f"a comparator cannot be called {name!r}: give an identifier that no other setting has")

    def join(network: type[Network]) -> type[Network]:
        architecture = f"memobert_{name}"
        setting = Setting(title, "memobert_finetune", "nothing", architecture, **of_setting)
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
