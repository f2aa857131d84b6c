"""fairseq's adapter of MEmoBERT: configurations, registered architectures, and loading checkpoints of other stages."""

# Annotations are not postponed: fairseq reads the types of the configurations' fields.
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.models import register_model
from torch import nn

from ..core.errors import UserError, exits_in_one_line
from ..nn.attention import CHANGE
from ..nn.embedders import PROMPT, TextEmbedder
from ..nn.heads import EMOTION_HEAD, WORD_HEAD, emotion_head
from ..nn.network import MEmoBERTNetwork, NetworkSizes, SmallSizes, TinySizes, check_sizes, dictionary_fingerprint
from ..objectives.base import OBJECTIVES, InputSizes, in_order
from .state_upgrade import StagedModel

TUNED = ChoiceEnum(("all", "biases", "head", "words"))


def freeze(model: nn.Module, tuned: str, low_rank: bool, head: str, soft_prompt: bool = False) -> None:
    """Leave parameters as they are, but for those that are tuned.

    Args:
        model: the network.
        tuned: ``all``, ``biases``, ``head`` or ``words``.
        low_rank: only low-rank changes and a new classifier are trained.
        head: the one that is read.
        soft_prompt: the learned vectors of the prompt are trained, and what is tuned beside them.

    Raises:
        UserError: two ways at once, or words where none are read.
    """
    if low_rank and tuned != "all":
        raise UserError(f"--lora-rank and --tuned {tuned}: give only one of the two")
    if tuned == "words" and head != WORD_HEAD:
        raise UserError("--tuned words: only a prompt has label words; give biases or head")
    if tuned == "all" and not low_rank and not soft_prompt:
        return
    # A classifier starts at random, and the pooler before it is not pre-trained.
    trained = [f"heads.{EMOTION_HEAD}.", "pooler."] if head == EMOTION_HEAD else []
    if tuned in ("head", "words"):
        trained.append(f"heads.{head}." if tuned == "head" else f"heads.{head}.bias")
    trained += [PROMPT] if soft_prompt else []
    for name, parameter in model.named_parameters():
        of_way = CHANGE in name if low_rank else tuned == "biases" and name.endswith("bias")
        # A frozen text encoder stays so.
        parameter.requires_grad_(parameter.requires_grad and (of_way or name.startswith(tuple(trained))))


@dataclass
class MEmoBERTConfig(NetworkSizes, FairseqDataclass):
    """BERT-base, the backbone of the paper (section 4)."""

    text_encoder: str = field(
        default="",
        metadata={
            "help": "embed text by the last layer of this frozen BERT: a Hugging Face folder, the file of "
            "memobert-import bert, or a checkpoint trained from it; give it in every training of such a model"
        },
    )
    tuned: TUNED = field(  # type: ignore[valid-type]
        default="all",
        metadata={
            "help": "parameters that are trained: all; biases and a new classifier (BitFit, Ben Zaken et al. 2022); "
            "the head alone, on a network that stays as it is; or words: the weight of each label word, which is its "
            "bias in the masked-language head (weights of several words: Hu et al. 2022, knowledgeable prompt-tuning)"
        },
    )


@dataclass
class MEmoBERTSmallConfig(SmallSizes, MEmoBERTConfig):
    """MiniLM's size."""


@dataclass
class MEmoBERTTinyConfig(TinySizes, MEmoBERTConfig):
    """BERT-tiny's size, for trials on a CPU."""


@register_model("memobert", dataclass=MEmoBERTConfig)
class MEmoBERTModel(MEmoBERTNetwork, StagedModel):
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
        objectives: Sequence[str] = (),
        soft_prompt: Sequence[int] = (),
    ) -> "MEmoBERTModel":
        """Build the network with random weights.

        It always has the heads of the paper's objectives that its inputs serve, so that a finetuned checkpoint can be
        prompted or pre-trained further. Heads of other objectives are built where they are asked for.

        Args:
            config: sizes and dropout.
            vocabulary: rows of the dictionary.
            visual_dim: size of a face frame's feature; 0 leaves the modality and its heads out.
            acoustic_dim: size of a speech frame's feature; 0 leaves the modality and its head out.
            expression_classes: K, classes of the facial-expression distribution; 0 leaves MVFC out.
            labels: number of emotions for the finetuning head; None builds none (prompting needs none).
            symbols: the dictionary's symbols in row order, so that weights of another dictionary are refused.
            objectives: names of the pre-training objectives that are asked for.
            soft_prompt: for each learned vector of the prompt the row of the word whose vector it starts as.
        """
        sizes = InputSizes(vocabulary, visual_dim, acoustic_dim, expression_classes)
        own = OBJECTIVES.own()
        heads = {
            name: own[name].head(sizes)
            for name in in_order(own)
            if own[name].in_every_model and own[name].serves(sizes)
        }
        if labels is not None:
            heads[EMOTION_HEAD] = emotion_head(labels)
        model = cls(config, vocabulary, visual_dim, acoustic_dim, heads, dictionary_fingerprint(symbols))
        for name in objectives:
            objective = OBJECTIVES.get(name)
            if (objective.head_name or name) not in heads:
                # Afterwards, so that the other parameters start as they would without it.
                model.add_head(objective.head_name or name, objective.head(sizes))
        if soft_prompt:
            if isinstance(model.text_embedder, TextEmbedder):
                started = model.text_embedder.word.weight.detach()[list(soft_prompt)].clone()
                model.prompt_starts_as = list(soft_prompt)
            else:  # of the size of the states of words, which only the frozen encoder's weights give
                started = torch.randn(len(soft_prompt), config.encoder_embed_dim)
            model.text_embedder.add_prompt(started)
        low_rank, tuned = config.lora_rank > 0, str(getattr(config, "tuned", "all"))
        if (low_rank or tuned != "all") and objectives:
            raise UserError("--lora-rank and --tuned: for prompts and classifiers; pre-training trains everything")
        freeze(model, tuned, low_rank, WORD_HEAD if labels is None else EMOTION_HEAD, bool(soft_prompt))
        return model

    @staticmethod
    def check_flags(config: MEmoBERTConfig) -> None:
        """Refuse what can be refused before a model is built, such as sizes; a sweep's plan is checked by it too.

        Raises:
            UserError: the line names the flag.
        """
        check_sizes(config)

    @classmethod
    @exits_in_one_line
    def build_model(cls, config: MEmoBERTConfig, task: Any) -> "MEmoBERTModel":
        """Build the model that a task needs: sizes of dictionary and frames come from the task."""
        return cls.build(config, **task.model_sizes())

    def max_positions(self) -> None:
        """Return None: the task limits each modality, the packed sequence has no limit of its own."""
        return None


@register_model("memobert_base", dataclass=MEmoBERTConfig)
class MEmoBERTBase(MEmoBERTModel):
    """12 layers x 768 x 12 heads, BERT-base."""


@register_model("memobert_small", dataclass=MEmoBERTSmallConfig)
class MEmoBERTSmall(MEmoBERTModel):
    """6 layers x 384 x 12 heads, MiniLM's size."""


@register_model("memobert_tiny", dataclass=MEmoBERTTinyConfig)
class MEmoBERTTiny(MEmoBERTModel):
    """2 layers x 128 x 2 heads, for trials on a CPU."""
