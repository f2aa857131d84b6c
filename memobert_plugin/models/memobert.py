"""fairseq's adapter of MEmoBERT: configurations, registered architectures, and loading checkpoints of other stages."""

# Annotations are not postponed: fairseq reads the types of the configurations' fields.
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model
from torch import Tensor

from ..nn.heads import EMOTION_HEAD, WORD_HEAD, ClassHead, HeadPlan, TiedHead, emotion_head, word_head
from ..nn.network import MEmoBERTNetwork, NetworkSizes, SmallSizes, TinySizes, dictionary_fingerprint
from .state_upgrade import complete_state


@dataclass
class MEmoBERTConfig(NetworkSizes, FairseqDataclass):
    """BERT-base, the backbone of the paper (section 4)."""


@dataclass
class MEmoBERTSmallConfig(SmallSizes, MEmoBERTConfig):
    """MiniLM's size."""


@dataclass
class MEmoBERTTinyConfig(TinySizes, MEmoBERTConfig):
    """BERT-tiny's size, for trials on a CPU."""


@register_model("memobert", dataclass=MEmoBERTConfig)
class MEmoBERTModel(MEmoBERTNetwork, BaseFairseqModel):
    """The network as fairseq builds, saves and loads it."""

    @classmethod
    def build(
        cls,
        config: NetworkSizes,
        vocabulary: int,
        visual_dim: int,
        acoustic_dim: int,
        expression_classes: int,
        labels: int | None = None,
        symbols: Sequence[str] = (),
    ) -> "MEmoBERTModel":
        """Build the network with random weights.

        Args:
            config: sizes and dropout.
            vocabulary: rows of the dictionary.
            visual_dim: size of a face frame's feature; 0 leaves the modality and its heads out.
            acoustic_dim: size of a speech frame's feature; 0 leaves the modality and its head out.
            expression_classes: K, classes of the facial-expression distribution; 0 leaves MVFC out.
            labels: number of emotions for the finetuning head; None builds none (prompting needs none).
            symbols: the dictionary's symbols in row order, so that weights of another dictionary are refused.
        """
        heads = {WORD_HEAD: word_head(vocabulary)}
        if visual_dim:
            heads["mvfr"] = HeadPlan(lambda width: TiedHead(width, visual_dim), "visual", tied=True)
            if expression_classes:
                heads["mvfc"] = HeadPlan(lambda width: ClassHead(width, expression_classes), "visual")
        if acoustic_dim:
            heads["mafr"] = HeadPlan(lambda width: TiedHead(width, acoustic_dim), "acoustic", tied=True)
        if labels is not None:
            heads[EMOTION_HEAD] = emotion_head(labels)
        return cls(config, vocabulary, visual_dim, acoustic_dim, heads, dictionary_fingerprint(symbols))

    @classmethod
    def build_model(cls, config: MEmoBERTConfig, task: Any) -> "MEmoBERTModel":
        """Build the model that a task needs: sizes of dictionary and frames come from the task."""
        return cls.build(config, **task.model_sizes())

    def max_positions(self) -> None:
        """Return None: the task limits each modality, the packed sequence has no limit of its own."""
        return None

    def upgrade_state_dict_named(self, state_dict: dict[str, Tensor], name: str) -> None:
        """Fit a checkpoint of another stage (imported BERT, pre-trained, finetuned) to this model, in place.

        See :mod:`.state_upgrade`.
        """
        super().upgrade_state_dict_named(state_dict, name)
        complete_state(state_dict, self.state_dict())


@register_model("memobert_base", dataclass=MEmoBERTConfig)
class MEmoBERTBase(MEmoBERTModel):
    """12 layers x 768 x 12 heads, BERT-base."""


@register_model("memobert_small", dataclass=MEmoBERTSmallConfig)
class MEmoBERTSmall(MEmoBERTModel):
    """6 layers x 384 x 12 heads, MiniLM's size."""


@register_model("memobert_tiny", dataclass=MEmoBERTTinyConfig)
class MEmoBERTTiny(MEmoBERTModel):
    """2 layers x 128 x 2 heads, for trials on a CPU."""
