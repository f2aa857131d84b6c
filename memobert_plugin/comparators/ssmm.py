"""SSMM, semi-supervised multi-modal emotion recognition (Liang, Li and Jin, ACM Multimedia 2020), as we read it.

No code of it is public, and its sizes and weights could not be found. Taken from the paper: one autoencoder for each
modality gives a code; a classifier reads the concatenated codes; the maximum mean discrepancy (MMD) between the codes
of each pair of modalities is a consistency loss; unlabelled utterances take part in reconstruction and MMD only.

Our reading: the encoders are MMIN's, with codes of 128 numbers; a decoder mirrors its encoder's layers after pooling
and reconstructs the mean of the modality's vectors; the classifier is that of MMIN's teacher. The loss is cross-entropy
+ a x the mean of the three reconstruction errors + b x the sum of the three MMDs, with Gaussian kernels of five widths.
With ``--unlabelled`` a batch has as many unlabelled utterances as labelled ones. a and b are flags, to be chosen on
validation speakers. A modality that an utterance lacks takes no part in reconstruction and MMD.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import torch
from fairseq.criterions import register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor, nn
from torch.nn import functional

from ..criterions.emotion import Decisions, MEmoBERTFinetuneCriterion, read_rows
from ..nn.heads import upcast
from ..nn.packing import MODALITIES, to_device
from .base import STREAM_RECIPE, ComparatorConfig, StreamNetwork, comparator, read_utterances, refuse_other_heads
from .inputs import (
    CODE_DIM,
    CONCATENATED,
    EMPTY_TEXT,
    HEIGHTS,
    StreamEncoders,
    emotion_classifier,
    row_means,
    start_as_kaiming,
)

NOTE = (
    "SSMM is our reading of its paper, whose sizes and weights are not public, on this data-bin's inputs. It also "
    "reads the pre-training data, without labels and without the test speaker."
)
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Squared widths of the Gaussian kernels, as multiples of the mean squared distance."""


def discrepancy(first: Tensor, second: Tensor, first_weights: Tensor, second_weights: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy of two samples, the mean over kernels of five widths.

    Args:
        first: ``(n, D)``.
        second: ``(m, D)``.
        first_weights: ``(n,)``, which sum to 1, or all 0 for an empty sample.
        second_weights: ``(m,)``. What weighs 0 has no influence.
    """
    points = torch.cat([first, second])
    distances = (points[:, None] - points[None]).square().sum(dim=-1)
    signed = torch.cat([first_weights, -second_weights])
    there = (signed != 0).to(distances.dtype)
    pairs = (there.sum() * (there.sum() - 1)).clamp(min=1)
    scale = (there @ distances.detach() @ there / pairs).clamp(min=torch.finfo(distances.dtype).tiny)
    kernels = [torch.exp(-distances / (2 * width * scale)) for width in WIDTHS]
    both_there = (first_weights.sum() > 0) & (second_weights.sum() > 0)
    return both_there * (signed @ (sum(kernels) / len(WIDTHS)) @ signed)


@dataclass
class SsmmConfig(ComparatorConfig):
    """The sizes are MMIN's."""

    encoder_embed_dim: int = field(
        default=128, metadata={"help": "width of word vectors, which are learned without a text encoder"}
    )
    dropout: float = field(default=0.5, metadata={"help": "dropout in the text's encoder"})
    classifier_dropout: float = field(default=0.3, metadata={"help": "dropout in the classifier"})


@dataclass(frozen=True)
class Autoencoded:
    """The tensors of the loss for labelled and unlabelled utterances together.

    Attributes:
        logits: ``(n, C)`` of the labelled utterances that are read.
        reconstruction: mean of the three squared errors.
        discrepancy: sum of the three discrepancies.
    """

    logits: Tensor
    reconstruction: Tensor
    discrepancy: Tensor


@comparator(
    "ssmm",
    "SSMM (our reading)",
    SsmmConfig,
    flags={"criterion": "memobert_ssmm"},
    unlabelled=True,
    # Those of MMIN, from the same group; the paper gives none.
    recipe=STREAM_RECIPE,
    note=NOTE,
)
class Ssmm(StreamNetwork):
    """An autoencoder per modality and a classifier of the codes."""

    own_criterion = "memobert_ssmm"

    def __init__(self, config: SsmmConfig, vocabulary: int, visual_dim: int, acoustic_dim: int, labels: int) -> None:
        super().__init__(config, vocabulary, visual_dim, acoustic_dim)
        self.encoders = StreamEncoders(self.widths, config.dropout)
        pooled = {name: len(HEIGHTS) * CODE_DIM if name == "text" else CODE_DIM for name in MODALITIES}
        self.decoders = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(CODE_DIM, pooled[name]), nn.ReLU(), nn.Linear(pooled[name], width))
                for name, width in self.widths.items()
            }
        )
        self.classifier = emotion_classifier(len(MODALITIES) * CODE_DIM, labels, config.classifier_dropout)
        start_as_kaiming(self)

    def forward(
        self, head: str, rows: np.ndarray, unlabelled: Mapping[str, Any] | None = None, **inputs: Any
    ) -> Tensor | Autoencoded:
        """Classify utterances.

        Args:
            head: ``classify``, or ``autoencode`` for the tensors of the loss.
            rows: rows of the [CLS] of the n utterances that are read.
            unlabelled: the same as ``inputs`` for further utterances, for ``autoencode``.
            inputs: of :meth:`.base.StreamNetwork.streams`.

        Returns:
            ``(n, C)``, unless the head says otherwise.
        """
        parts: list[Mapping[str, Any]] = [inputs]
        if unlabelled is not None and head == "autoencode":
            parts.append(unlabelled)
        streams = [self.streams(**part) for part in parts]
        codes = torch.cat([self.encoders(part) for part in streams])
        read = to_device(read_utterances(inputs["text_lengths"], rows), codes.device)
        logits = self.classifier(codes.index_select(0, read))
        if head != "autoencode":
            refuse_other_heads(head)
            return logits
        weights = self._weights(parts, upcast(codes))
        code_of = dict(zip(CONCATENATED, codes.chunk(len(CONCATENATED), dim=1), strict=True))
        errors = []
        for name in MODALITIES:
            means = torch.cat([row_means(part[name]) for part in streams]).detach()
            squared = (upcast(self.decoders[name](code_of[name])) - upcast(means)).square()
            errors.append(weights[name] @ squared.mean(dim=1))
        distances = [
            discrepancy(upcast(code_of[one]), upcast(code_of[other]), weights[one], weights[other])
            for one, other in combinations(MODALITIES, 2)
        ]
        return Autoencoded(logits, torch.stack(errors).mean(), torch.stack(distances).sum())

    @staticmethod
    def _weights(parts: list[Mapping[str, Any]], codes: Tensor) -> dict[str, Tensor]:
        """Return by modality each utterance's share ``(B,)`` among those that have it, 0 for the others."""
        weights = {}
        for name in MODALITIES:
            lengths = np.concatenate([part[f"{name}_lengths"] for part in parts])
            present = lengths > (EMPTY_TEXT if name == "text" else 0)
            shares = to_device(present, codes.device).to(codes.dtype)
            weights[name] = shares / max(int(present.sum()), 1)
        return weights


@dataclass
class SsmmCriterionConfig(FairseqDataclass):
    """Weights of the losses, to be chosen on validation speakers."""

    reconstruction_weight: float = field(default=1.0, metadata={"help": "weight a of the reconstruction error"})
    mmd_weight: float = field(default=1.0, metadata={"help": "weight b of the discrepancy of the modalities' codes"})


@register_criterion("memobert_ssmm", dataclass=SsmmCriterionConfig)
class SsmmCriterion(MEmoBERTFinetuneCriterion):
    """Cross-entropy, and in training reconstruction and discrepancy, also of unlabelled utterances."""

    of_comparator = True
    reads_unlabelled = True

    def __init__(self, task: Any, reconstruction_weight: float, mmd_weight: float) -> None:
        super().__init__(task)
        self.reconstruction_weight, self.mmd_weight = reconstruction_weight, mmd_weight

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Return the loss summed over the labelled utterances, their number, and what is logged."""
        if not model.training:
            return super().forward(model, sample, reduce)
        inputs = {**sample["net_input"], "unlabelled": sample.get("unlabelled")}
        seen = model(**inputs, head="autoencode", rows=read_rows(sample))
        logits, count = upcast(seen.logits), sample["nsentences"]
        reconstruction, mmd = upcast(seen.reconstruction), upcast(seen.discrepancy)
        loss = functional.cross_entropy(logits, sample["target"], reduction="sum")
        loss = loss + count * (self.reconstruction_weight * reconstruction + self.mmd_weight * mmd)
        loss, size, logged = self.summarise(Decisions(loss, logits.detach().softmax(dim=-1)), sample)
        logged |= {"reconstruction": count * reconstruction.detach(), "mmd": count * mmd.detach()}
        return loss, size, logged

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log the base's metrics, the reconstruction error and the discrepancy."""
        super().reduce_metrics(logging_outputs)
        count = sum(log.get("sample_size", 0) for log in logging_outputs)
        for name in ("reconstruction", "mmd"):
            if any(name in log for log in logging_outputs):
                mean = sum(log.get(name, 0) for log in logging_outputs) / max(count, 1)
                metrics.log_scalar(f"{name}_loss", mean, count, round=6)
