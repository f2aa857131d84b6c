"""MMIN (Zhao, Li and Jin, ACL 2021): imagine the missing modalities' vectors from those that are there.

Taken from the paper and the authors' code (MIT, state of November 2022): every layer and width, the six patterns and
their draw, the losses and their weights, the two stages, Adam (0.5, 0.999), batches of 128, the learning rate.

Ours: the inputs, which are this data-bin's; what is not there is one zero row instead of zeros in every frame, and no
encoder runs over padding; gradients are clipped together and not per sub-network; the rate falls linearly from the
start; the teacher has the student's optimiser. Word vectors are learned by the teacher where there is no text encoder,
and stay as they are afterwards.

A training has two stages. The teacher, ``--mmin-stage teacher``, classifies all three modalities. The second one starts
from its checkpoint (``--finetune-from-model``) and keeps a frozen copy of its encoders.
"""

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from fairseq.criterions import register_criterion
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import UserError, exits_in_one_line
from ..criterions.emotion import (
    METRICS,
    Decisions,
    MEmoBERTFinetuneCriterion,
    confusion_counts,
    percentage,
    read_rows,
)
from ..nn.heads import upcast
from ..nn.packing import MODALITIES, to_device
from .base import STREAM_RECIPE, ComparatorConfig, StreamNetwork, comparator, read_utterances, refuse_other_heads
from .inputs import CODE_DIM, CONCATENATED, Sequences, StreamEncoders, emotion_classifier, start_as_kaiming

NOTE = (
    "MMIN reads this data-bin's inputs, not its authors'. Its checkpoint is the one with the best UAR over the six "
    "patterns of missing modalities together; the row is its full input, the modality cases are the patterns."
)
STAGES = ("imagination", "teacher")
PATTERNS = ("a", "v", "l", "va", "la", "lv")
"""Modalities that are shown; the rest is missing."""
SHOWN = np.array([[letter in pattern for letter in "lva"] for pattern in PATTERNS])
"""``(6, 3)``: whether a pattern shows text, faces and speech."""
JOINED_DIM = len(CONCATENATED) * CODE_DIM
BOTTLENECKS = (256, 128, 64)
BLOCKS = 5


class ResidualAutoencoder(nn.Module):
    """An autoencoder of 384 numbers with a code of 64."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (JOINED_DIM, *BOTTLENECKS)
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(sizes):
            down += [nn.Linear(wide, narrow), nn.LeakyReLU(0.01)]
            up = [nn.Linear(narrow, wide), nn.ReLU(), *up]
        self.encoder, self.decoder = nn.Sequential(*down[:-1]), nn.Sequential(*up[:-1])

    def forward(self, joined: Tensor) -> tuple[Tensor, Tensor]:
        """Return the code ``(B, 64)`` and the output ``(B, 384)``."""
        code = self.encoder(joined)
        return code, self.decoder(code)


class Cascade(nn.Module):
    """Five autoencoders, each of which reads the input plus the output of the one before, and a transformation."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualAutoencoder() for _ in range(BLOCKS))
        self.transform = nn.Sequential(nn.Linear(JOINED_DIM, JOINED_DIM), nn.ReLU(), nn.Linear(JOINED_DIM, JOINED_DIM))

    def forward(self, joined: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is imagined ``(B, 384)`` and the codes ``(B, 320)``."""
        codes = []
        for block in self.blocks:
            code, output = block(joined)
            codes.append(code)
            joined = joined + output
        return self.transform(joined), torch.cat(codes, dim=-1)


@dataclass(frozen=True)
class Imagined:
    """The tensors of the second stage's loss for a batch of B utterances.

    Attributes:
        logits: ``(n, C)`` of the utterances that are read.
        joined: ``(B, 384)`` vectors of what is shown.
        imagined: ``(B, 384)`` vectors of what is missing, as imagined.
        missing: ``(B, 384)`` the same as the teacher sees them.
        back: ``(B, 384)`` vectors of what is shown, imagined from ``imagined``.
    """

    logits: Tensor
    joined: Tensor
    imagined: Tensor
    missing: Tensor
    back: Tensor


@dataclass
class MminConfig(ComparatorConfig):
    """The authors' sizes are fixed."""

    encoder_embed_dim: int = field(
        default=128, metadata={"help": "width of word vectors, which the teacher learns without a text encoder"}
    )
    dropout: float = field(default=0.5, metadata={"help": "dropout in the text's encoder and the classifier"})
    teacher_dropout: float = field(default=0.3, metadata={"help": "dropout in the teacher's classifier"})
    mmin_stage: ChoiceEnum(STAGES) = field(  # type: ignore[valid-type]
        default=STAGES[0],
        metadata={"help": "teacher: classify all modalities; imagination: start from a teacher's checkpoint"},
    )
    share_cascades: bool = field(
        default=False, metadata={"help": "imagine back with the same weights, as the authors do on MSP-IMPROV"}
    )


@comparator(
    "mmin",
    "MMIN",
    MminConfig,
    # It draws what is missing itself, and its teacher sees the rest.
    flags={"criterion": "memobert_mmin", "best_checkpoint_metric": "patterns_uar", "modality_mixture": False},
    first={"mmin_stage": "teacher", "best_checkpoint_metric": "uar"},
    # The authors' values for IEMOCAP's second stage.
    recipe={**STREAM_RECIPE, "adam_betas": "(0.5, 0.999)"},
    note=NOTE,
)
class Mmin(StreamNetwork):
    """Encoders, a cascade that imagines what is missing, a classifier of its codes, and a cascade back."""

    own_criterion = "memobert_mmin"

    def __init__(self, config: MminConfig, vocabulary: int, visual_dim: int, acoustic_dim: int, labels: int) -> None:
        super().__init__(config, vocabulary, visual_dim, acoustic_dim)
        self.stage = str(config.mmin_stage)
        self.encoders = StreamEncoders(self.widths, config.dropout)
        if self.stage == "teacher":
            self.fusion = emotion_classifier(JOINED_DIM, labels, config.teacher_dropout)
        else:
            self.teacher = StreamEncoders(self.widths, 0.0).requires_grad_(False)
            self.cascade = Cascade()
            self.back = None if config.share_cascades else Cascade()
            self.classifier = emotion_classifier(BLOCKS * BOTTLENECKS[-1], labels, config.dropout)
            self.text_embedder.requires_grad_(False)
            self.taught: Tensor
            self.register_buffer("taught", torch.zeros(1))
        self._is_taught = False
        start_as_kaiming(self)

    def forward(self, head: str, rows: np.ndarray, shown: np.ndarray | None = None, **inputs: Any) -> Tensor | Imagined:
        """Classify utterances.

        Args:
            head: ``classify``, or in the second stage ``patterns`` for the logits ``(6, n, C)`` of all patterns and
                ``imagine`` for the tensors of its loss.
            rows: rows of the [CLS] of the n utterances that are read.
            shown: ``(B, 3)`` for ``imagine``: whether text, faces and speech are shown.
            inputs: of :meth:`.base.StreamNetwork.streams`.

        Returns:
            ``(n, C)``, unless the head says otherwise.
        """
        streams = self.streams(**inputs)
        read = to_device(read_utterances(inputs["text_lengths"], rows), self.visual_embedder.mean.device)
        if self.stage != "teacher" and head == "imagine":
            assert shown is not None  # the criterion gives them
            return self._imagine(streams, shown, read)
        if self.stage != "teacher" and head == "patterns":
            each = [_by_modality(np.tile(pattern, (len(inputs["text_lengths"]), 1)), read.device) for pattern in SHOWN]
            return self.classifier(self.cascade(self.encoders(streams, each)[:, read])[1])
        refuse_other_heads(head)
        joined = self.encoders(streams)[read]
        return self.fusion(joined) if self.stage == "teacher" else self.classifier(self.cascade(joined)[1])

    def _imagine(self, streams: dict[str, Sequences], shown: np.ndarray, read: Tensor) -> Imagined:
        self._refuse_without_teacher()
        joined = self.encoders(streams, [_by_modality(shown, read.device)])
        imagined, codes = self.cascade(joined)
        back, _ = (self.back or self.cascade)(imagined)
        with torch.no_grad():  # the teacher has no dropout
            missing = self.teacher(streams, [_by_modality(~shown, read.device)])
        return Imagined(self.classifier(codes[read]), joined, imagined, missing, back)

    @exits_in_one_line
    def _refuse_without_teacher(self) -> None:
        if not self._is_taught and not bool(self.taught):
            raise UserError(
                "--mmin-stage imagination: it starts from a teacher; train one with --mmin-stage teacher, and give its "
                "checkpoint to --finetune-from-model"
            )
        self._is_taught = True

    def from_earlier_stage(self, state: dict[str, Tensor]) -> None:
        """Make a teacher's checkpoint loadable into the second stage, in place."""
        if self.stage == "teacher" or not any(name.startswith("fusion.") for name in state):
            return
        for name in [name for name in state if name.startswith("fusion.")]:
            del state[name]
        for name in [name for name in state if name.startswith("encoders.")]:
            state[f"teacher.{name.removeprefix('encoders.')}"] = state[name].clone()
        fresh = {"cascade", "back", "classifier"}
        own = self.state_dict()
        state.update({name: own[name].clone() for name in own if name.split(".")[0] in fresh})
        state["taught"] = torch.ones_like(self.taught)


def _by_modality(shown: np.ndarray, device: torch.device) -> dict[str, Tensor]:
    columns = to_device(shown, device) > 0
    return {name: columns[:, place] for place, name in enumerate(MODALITIES)}


@dataclass(frozen=True)
class PatternDecisions(Decisions):
    """Decisions for the input as it is, and for the six patterns of it.

    Attributes:
        patterns: ``(6, B)`` the most probable emotions.
    """

    patterns: Tensor | None = None


@dataclass
class MminCriterionConfig(FairseqDataclass):
    """Weights of the losses; the defaults are the authors' for IEMOCAP."""

    imagination_weight: float = field(
        default=4.0, metadata={"help": "weight of the distance of what is imagined (authors, MSP-IMPROV: 2)"}
    )
    cycle_weight: float = field(
        default=2.0, metadata={"help": "weight of the distance of what is imagined back (authors, MSP-IMPROV: 0.5)"}
    )


@register_criterion("memobert_mmin", dataclass=MminCriterionConfig)
class MminCriterion(MEmoBERTFinetuneCriterion):
    """Cross-entropy, and in the second stage the distances of what is imagined; validation also counts all patterns.

    In training one of the six patterns is drawn for every utterance of an update. fairseq seeds that draw with the
    number of the update, so that a resumed training goes on with the same ones.
    """

    of_comparator = True

    def __init__(self, task: Any, imagination_weight: float, cycle_weight: float) -> None:
        super().__init__(task)
        self.imagination_weight, self.cycle_weight = imagination_weight, cycle_weight

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Return the loss summed over utterances, their number, and what is logged."""
        if model.stage == "teacher" or not model.training:
            return super().forward(model, sample, reduce)
        drawn = SHOWN[torch.randint(len(PATTERNS), (len(sample["net_input"]["text_lengths"]),)).numpy()]
        seen = model(**sample["net_input"], head="imagine", rows=read_rows(sample), shown=drawn)
        logits, count = upcast(seen.logits), sample["nsentences"]
        imagination = functional.mse_loss(upcast(seen.imagined), upcast(seen.missing))
        cycle = functional.mse_loss(upcast(seen.back), upcast(seen.joined.detach()))
        loss = functional.cross_entropy(logits, sample["target"], reduction="sum")
        loss = loss + count * (self.imagination_weight * imagination + self.cycle_weight * cycle)
        loss, size, logged = self.summarise(Decisions(loss, logits.detach().softmax(dim=-1)), sample)
        logged |= {"imagination": count * imagination.detach(), "cycle": count * cycle.detach()}
        return loss, size, logged

    def decide(self, model: nn.Module, sample: dict[str, Any]) -> Decisions:
        """Classify the input as it is, and after the first stage also its patterns."""
        decisions = super().decide(model, sample)
        if model.stage == "teacher":
            return decisions
        patterns = model(**sample["net_input"], head="patterns", rows=read_rows(sample))
        return PatternDecisions(decisions.loss, decisions.probabilities, patterns=patterns.argmax(dim=-1))

    def summarise(self, decisions: Decisions, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """Return fairseq's triple, with the counts of all patterns together."""
        loss, size, logged = super().summarise(decisions, sample)
        if isinstance(decisions, PatternDecisions) and decisions.patterns is not None:
            target = sample["target"].expand_as(decisions.patterns).flatten()
            classes = decisions.probabilities.shape[1]
            logged["patterns_confusion"] = confusion_counts(target, decisions.patterns.flatten(), classes)
        return loss, size, logged

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log the base's metrics, the same over all patterns as ``patterns_uar`` and so on, and both distances."""
        super().reduce_metrics(logging_outputs)
        count = sum(log.get("sample_size", 0) for log in logging_outputs)
        for name in ("imagination", "cycle"):
            if any(name in log for log in logging_outputs):
                mean = sum(log.get(name, 0) for log in logging_outputs) / max(count, 1)
                metrics.log_scalar(f"{name}_loss", mean, count, round=6)
        counts = [log["patterns_confusion"] for log in logging_outputs if "patterns_confusion" in log]
        if counts:
            metrics.log_scalar_sum("_patterns_confusion", sum(counts))
            for metric in METRICS:
                metrics.log_derived(f"patterns_{metric}", percentage("_patterns_confusion", metric))
