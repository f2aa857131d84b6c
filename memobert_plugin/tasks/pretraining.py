"""Pre-training by conditional masked modelling: one objective per update, one modality masked (MEmoBERT, section 3)."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Optional

import numpy as np
import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.logging import metrics
from fairseq.tasks import register_task
from omegaconf import MISSING
from torch import Tensor, nn

from ..core.errors import UserError, exits_in_one_line
from ..data.corpus import Corpus
from ..objectives.base import ConditionalMasking
from ..objectives.words import FRAME_MASKING, OBJECTIVES, WORD_MASKING, draw_objective
from .corpus_task import MASK, CorpusTask
from .corpus_task_config import CorpusTaskConfig
from .utterance_dataset import Modalities, UtteranceDataset

logger = logging.getLogger(__name__)

WORD_MASKING_CHOICES = ChoiceEnum(WORD_MASKING)
FRAME_MASKING_CHOICES = ChoiceEnum(FRAME_MASKING)
VALIDATION_UPDATE = -1
"""Takes the place of the update number in validation: masks there depend on the seed and the utterance alone."""


@dataclass
class PretrainingConfig(CorpusTaskConfig):
    """Defaults are the paper's (sections 3 and 4) unless a help text says otherwise."""

    data: str = field(default=MISSING, metadata={"help": "data-bin, or several shards a:b:c, one per epoch"})
    wwmlm_ratio: float = field(
        default=2.0, metadata={"help": "share of updates for whole-word masked language modelling; 0 leaves it out"}
    )
    mvfr_ratio: float = field(
        default=1.0, metadata={"help": "share of updates for masked visual feature regression; 0 leaves it out"}
    )
    mvfc_ratio: float = field(
        default=1.0, metadata={"help": "share of updates for masked visual expression classification; 0 leaves it out"}
    )
    mafr_ratio: float = field(
        default=1.0, metadata={"help": "share of updates for masked acoustic feature regression; 0 leaves it out"}
    )
    word_masking: WORD_MASKING_CHOICES = field(  # type: ignore[valid-type]
        default="whole_word", metadata={"help": "mask whole whitespace words, or single pieces (ablation)"}
    )
    frame_masking: FRAME_MASKING_CHOICES = field(  # type: ignore[valid-type]
        default="span",
        metadata={
            "help": "mask spans; span_reference follows the authors' code to the letter; random masks single frames "
            "(ablation)"
        },
    )
    word_mask_ratio: float = field(default=0.15, metadata={"help": "probability of a word (or piece) to be masked"})
    visual_mask_ratio: Optional[float] = field(
        default=None, metadata={"help": "share of face frames masked (default: 0.15, and 0.20 with span_reference)"}
    )
    acoustic_mask_ratio: float = field(default=0.15, metadata={"help": "share of speech frames masked"})
    mask_span_length: int = field(default=3, metadata={"help": "frames in a masked span"})
    exclude_speakers: str = field(
        default="",
        metadata={
            "help": "comma-separated speakers whose utterances are left out, such as the one that a fold will test on"
        },
    )
    max_pieces: int = field(default=30, metadata={"help": "utterances with more word pieces are dropped"})
    max_visual_frames: int = field(
        default=36, metadata={"help": "face frames read from the start of an utterance (10 per second: 3.6 s)"}
    )
    max_acoustic_frames: int = field(
        default=64, metadata={"help": "speech frames read from the start (60 ms each: 3.84 s)"}
    )


@register_task("memobert_pretraining", dataclass=PretrainingConfig)
class MEmoBERTPretrainingTask(CorpusTask):
    """Masks are made in the step from (seed, update, utterance id): they change with every update and depend on nothing
    else.
    """

    cfg: PretrainingConfig

    @cached_property
    def ratios(self) -> Mapping[str, float]:
        """Sampling ratio of every objective that is asked for and that the data can serve.

        Raises:
            UserError: nothing is left.
        """
        served = {
            "wwmlm": True,
            "mvfr": self.state.visual_dim > 0,
            "mvfc": len(self.state.expression_classes) > 0,
            "mafr": self.state.acoustic_dim > 0,
        }
        asked = {name: getattr(self.cfg, f"{name}_ratio") for name in OBJECTIVES}
        if min(asked.values()) < 0:
            raise UserError(f"objective ratios must not be negative: {asked}")
        for name in OBJECTIVES:
            if asked[name] and not served[name]:
                logger.warning("objective %s is left out: the data-bin has no frames or distributions for it", name)
        ratios = {name: asked[name] for name in OBJECTIVES if asked[name] and served[name]}
        if not ratios:
            raise UserError(
                "no objective is left; set one of --wwmlm-ratio, --mvfr-ratio, --mvfc-ratio, --mafr-ratio above 0"
            )
        return ratios

    @exits_in_one_line
    def build_model(self, cfg: FairseqDataclass, from_checkpoint: bool = False) -> nn.Module:
        """Decide on the objectives, and refuse masks that cannot be drawn, before anything long starts."""
        logger.info("objectives and their sampling ratios: %s", dict(self.ratios))
        for objective in self.ratios:
            self.masking.check(objective)
        return super().build_model(cfg, from_checkpoint)

    @exits_in_one_line
    def load_dataset(
        self, split: str, combine: bool = False, task_cfg: Any = None, epoch: int = 1, **kwargs: Any
    ) -> None:
        """Load ``train`` or ``valid`` of the manifest's split column; utterances with too many pieces are dropped, not
        cut.
        """
        training = split == "train"
        corpus = self.fitting_corpus(epoch if training else 1)
        if split not in corpus.splits:
            raise UserError(
                f"{corpus.path}: the split column has no '{split}' (it has: {', '.join(corpus.splits) or 'nothing'})"
            )
        of_split = np.flatnonzero((corpus.split == corpus.splits.index(split)) & self._included(corpus))
        rows = of_split[corpus.text_lengths[of_split] <= self.cfg.max_pieces]
        dropped = len(of_split) - len(rows)
        logger.info(
            "%s: %d utterances, %d dropped for more than %d pieces", split, len(rows), dropped, self.cfg.max_pieces
        )
        self.datasets[split] = UtteranceDataset(
            corpus, self.nonempty(corpus, rows, split), self.limits(), Modalities(), shuffle=training, with_words=True
        )

    def _included(self, corpus: Corpus) -> np.ndarray:
        """Which utterances are not of an excluded speaker, ``(N,)`` bool."""
        excluded = [name.strip() for name in self.cfg.exclude_speakers.split(",") if name.strip()]
        unknown = [name for name in excluded if name not in corpus.speakers]
        if unknown:
            raise UserError(
                f"--exclude-speakers: {corpus.path} has no speaker {', '.join(unknown)}; "
                f"it has {', '.join(corpus.speakers[:20])}{', …' if len(corpus.speakers) > 20 else ''}"
            )
        return ~np.isin(corpus.speaker, [corpus.speakers.index(name) for name in excluded])

    def train_step(
        self,
        sample: dict[str, Any],
        model: nn.Module,
        criterion: nn.Module,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Mask for the update's objective, which all ranks and micro-batches share, then step as the host does."""
        objective = draw_objective(self.cfg.seed, update_num, self.ratios)
        masked = self.masked(sample, objective, update_num)
        return super().train_step(masked, model, criterion, optimizer, update_num, ignore_grad, **kwargs)

    def valid_step(
        self, sample: dict[str, Any], model: nn.Module, criterion: nn.Module
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Evaluate every objective on the batch, with the same masks each time; nothing on a rank without a batch."""
        if not sample:
            return torch.zeros(()), 0, {}
        results = [
            super(MEmoBERTPretrainingTask, self).valid_step(
                self.masked(sample, objective, VALIDATION_UPDATE), model, criterion
            )
            for objective in self.ratios
        ]
        merged: dict[str, Any] = {}
        for _, _, logging_output in results:
            for key, value in logging_output.items():
                merged[key] = merged.get(key, 0) + value
        merged["ntokens"], merged["nsentences"] = sample["ntokens"], sample["nsentences"]
        return torch.stack([loss for loss, _, _ in results]).sum(), sum(size for _, size, _ in results), merged

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: nn.Module) -> None:
        """Beside each objective's own loss, ``loss``: their mean weighted by the sampling ratios."""
        super().reduce_metrics(logging_outputs, criterion)
        ratios = self.ratios
        metrics.log_derived("loss", lambda meters: _weighted_loss(meters, ratios))

    def masked(self, sample: dict[str, Any], objective: str, update: int) -> dict[str, Any]:
        """A new sample with one modality masked; see :mod:`.conditional_masking`."""
        return self.masking.masked(sample, objective, update)

    @cached_property
    def masking(self) -> ConditionalMasking:
        """The masking that the flags ask for."""
        visual_ratio = self.cfg.visual_mask_ratio
        if visual_ratio is None:
            visual_ratio = 0.20 if str(self.cfg.frame_masking) == "span_reference" else 0.15
        return ConditionalMasking(
            seed=self.cfg.seed,
            word_mode=str(self.cfg.word_masking),
            frame_mode=str(self.cfg.frame_masking),
            word_ratio=self.cfg.word_mask_ratio,
            visual_ratio=visual_ratio,
            acoustic_ratio=self.cfg.acoustic_mask_ratio,
            span_length=self.cfg.mask_span_length,
            mask_index=self.symbols.index(MASK),
            vocabulary=len(self.symbols),
            widths={
                "mvfr": self.state.visual_dim,
                "mvfc": len(self.state.expression_classes),
                "mafr": self.state.acoustic_dim,
            },
        )


def _weighted_loss(meters: Any, ratios: Mapping[str, float]) -> float:
    # Between the host's log intervals a meter can be there without a value.
    means = {name: meters[f"{name}_loss"].avg for name in ratios if f"{name}_loss" in meters}
    seen = {name: float(mean) for name, mean in means.items() if mean is not None}
    if not seen:
        return float("nan")
    weights = sum(ratios[name] for name in seen)
    return round(sum(ratios[name] * mean for name, mean in seen.items()) / weights, 6)
