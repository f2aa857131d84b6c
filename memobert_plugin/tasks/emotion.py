"""Classify emotion by prompting or by finetuning: two tasks with the same folds, subsets, modality cases and files."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.tasks import register_task
from omegaconf import II, OmegaConf
from torch import Tensor, nn

from ..checkpoints.fairseq_checkpoint import read_plain_checkpoint
from ..checkpoints.model_description import MASK_WORDS
from ..core.errors import UserError, exits_in_one_line
from ..core.names import CLASSES, DIMENSIONS, SELECTED_BY, SEVERAL
from ..criterions.dimensions import DimensionsCriterion
from ..criterions.emotion import METRICS, ClassificationCriterion, PromptCriterionConfig
from ..criterions.several import RANKED, SeveralLabelsCriterion
from ..data.corpus import TOKENIZER_FOLDER, Corpus
from ..data.prompts import PAPER_TEMPLATE, PAPER_WORDS, PromptPieces, Template, Verbalizer
from ..data.targets import Target, asked_dimensions, asked_labels, target_of
from ..data.tokenizer import load_tokenizer
from ..evaluation.metrics.calibration import weights_of_templates
from ..evaluation.metrics.several import mean_average_precision
from ..nn.embedders import prompt_rows
from ..nn.network import MEmoBERTNetwork, frozen_copy
from .classification import EmotionClassificationConfig, EmotionClassificationTask
from .dialogues import in_dialogues
from .resuming import fairseq_configuration
from .utterance_dataset import Modalities, UtteranceDataset, rows_to_train_on

logger = logging.getLogger(__name__)

MASK_WORDS_CHOICES = ChoiceEnum(MASK_WORDS)
TEMPLATE_WEIGHTS = ChoiceEnum(("uniform", "validation"))


@dataclass
class PromptConfig(EmotionClassificationConfig):
    """Template and emotion words; defaults are the paper's."""

    template: str = field(
        default=PAPER_TEMPLATE,
        metadata={"help": "appended to the text; holds [MASK] exactly once and is never cut off"},
    )
    more_templates: str = field(
        default="",
        metadata={
            "help": "further templates, separated by ||: each batch of training shows one of all, evaluation averages "
            "their log-probabilities (Schick and Schütze 2021), as bundles do"
        },
    )
    template_weights: TEMPLATE_WEIGHTS = field(  # type: ignore[valid-type]
        default="uniform",
        metadata={
            "help": "weights of the templates in that average: the same for all, or those with the least cross-entropy "
            "on the validation utterances, for tests and bundles; validation itself averages plainly"
        },
    )
    contextual_calibration: bool = field(
        default=False,
        metadata={
            "help": "in evaluation divide the emotions' probabilities by those for an utterance without words, faces "
            "and voice (Zhao et al. 2021), as bundles do"
        },
    )
    soft_prompt_length: int = field(
        default=0,
        metadata={
            "help": "learn this many vectors before the template's words, on a network that stays as it is but for "
            "--tuned and --lora-rank (Lester et al. 2021), such as 20, with a rate such as 1e-2"
        },
    )
    mask_words: MASK_WORDS_CHOICES = field(  # type: ignore[valid-type]
        default="vocabulary",
        metadata={
            "help": "words that compete at the mask: all of the vocabulary (the paper), or the label words alone, "
            "which suits few labels and a text encoder"
        },
    )
    keep_pretrained: float = field(
        default=0.0,
        metadata={
            "help": "share of the loss that is the distance (KL) to the answers of the network of "
            "--finetune-from-model on the same utterance (learning without forgetting, Li and Hoiem 2016), such as 0.5"
        },
    )
    verbalizer: str = field(
        default="",
        metadata={
            "help": "the words of each emotion: label=word[,word...] with blanks between labels (default: those of the "
            f"paper for {', '.join(PAPER_WORDS)}, as far as the data-bin has these labels)"
        },
    )


@register_task("memobert_prompt", dataclass=PromptConfig)
class MEmoBERTPromptTask(EmotionClassificationTask):
    """Emotion by prompting, "… i am [MASK]." (MEmoBERT, section 3.3).

    There are no new parameters: the masked-language head reads the prompt's mask.
    """

    cfg: PromptConfig
    is_zero_shot = False
    """The checkpoint was pre-trained only, and its criterion is that of pre-training."""
    teacher: nn.Module | None = None
    """The network that training started from, for ``--keep-pretrained``."""

    def weights_of_templates(self) -> list[float] | None:
        """Return the weights of ``--template-weights validation``; None for equal ones, as during a training.

        Raises:
            UserError: the checkpoint has none, or those of other templates.
        """
        if not self._learns_template_weights or "train" in self.datasets:
            return None
        weights = self.state.state_dict.get("template_weights")
        if weights is None or len(weights) != 1 + len(self.more_prompts()):
            known = f"weights of {len(weights)} templates" if weights else "none"
            raise UserError(f"--template-weights validation: the checkpoint has {known}; train with these flags")
        return list(weights)

    @property
    def _learns_template_weights(self) -> bool:
        return str(self.cfg.template_weights) == "validation"

    @exits_in_one_line
    def valid_step(
        self, sample: dict[str, Any], model: nn.Module, criterion: ClassificationCriterion
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Step as the base does; after a training's last step on ``valid`` also choose the weights of the templates."""
        result = super().valid_step(sample, model, criterion)
        found = self._collected
        fits = self._learns_template_weights and "train" in self.datasets
        if fits and found and found.collected is not None and found.dataset is self.datasets.get("valid"):
            truth, scores = found.truth_and_templates()
            weights = [round(float(one), 4) for one in weights_of_templates(scores, truth)]
            self.state.merge_state_dict({"template_weights": weights})
            logger.info("weights of the templates in validation: %s", ", ".join(f"{one:g}" for one in weights))
        return result

    @exits_in_one_line
    def build_model(self, cfg: FairseqDataclass, from_checkpoint: bool = False) -> nn.Module:
        """Build the model; for ``--keep-pretrained`` also the network that it starts from.

        Raises:
            SystemExit: one line, when there is no such network, or the share is none.
        """
        path = None if from_checkpoint else fairseq_configuration(self.cfg).checkpoint.finetune_from_model
        if not from_checkpoint:
            self.check_flags(self.cfg, path)
        model = super().build_model(cfg, from_checkpoint)
        if self.cfg.keep_pretrained and path and isinstance(model, MEmoBERTNetwork):
            teacher: Any = frozen_copy(model)
            state = read_plain_checkpoint(Path(path)).get("model")
            if not isinstance(state, Mapping):
                raise UserError(f"--finetune-from-model {path}: holds no model; give a checkpoint of fairseq-train")
            teacher.upgrade_state_dict(state)
            teacher.load_state_dict(state)
            self.teacher = teacher
        return model

    @staticmethod
    def check_flags(config: PromptConfig, start: str | None) -> None:
        """Refuse what can be refused before a training begins; a sweep's plan is checked by it too.

        Args:
            config: flags of the task.
            start: ``--finetune-from-model``.

        Raises:
            UserError: the line names the flag.
        """
        share = config.keep_pretrained
        if not 0 <= share < 1:
            raise UserError(f"--keep-pretrained {share:g}: give a share from 0 to below 1")
        if share and not start:
            raise UserError(
                "--keep-pretrained: this training starts from nothing; give it to trainings that start from a "
                "checkpoint (--finetune-from-model)"
            )
        if str(config.template_weights) == "validation":
            if not config.more_templates.strip():
                raise UserError("--template-weights validation: there is one template; give --more-templates")
            if config.fold and str(config.protocol) != "strict":
                raise UserError(
                    f"--template-weights validation: --protocol {config.protocol} has no validation apart from the "
                    "test; give --protocol strict"
                )

    def build_criterion(self, cfg: FairseqDataclass, from_checkpoint: bool = False) -> nn.Module:
        """Build the criterion; without any training on labels the task's own."""
        own = OmegaConf.structured(PromptCriterionConfig(_name=self.cfg._name)) if self.is_zero_shot else cfg
        return super().build_criterion(own, from_checkpoint)

    def __init__(self, cfg: PromptConfig, **kwargs: Any) -> None:
        super().__init__(cfg, **kwargs)
        self.reads_all_decisions = "--template-weights validation" if self._learns_template_weights else ""
        self.state.add_factory("prompt", self._encoded)

    def _encoded(self) -> dict[str, Any]:
        """Return template and emotion words as dictionary rows, in plain types for the checkpoint."""
        tokenizer = load_tokenizer(self.corpus().path / TOKENIZER_FOLDER)
        pieces = Template.parse(self.cfg.template).encode(tokenizer)
        if self.cfg.verbalizer:
            words = Verbalizer.parse(self.cfg.verbalizer, self.labels)
        else:
            words = Verbalizer.of_labels(self.labels, tokenizer)
        return {
            "template": self.cfg.template,
            "verbalizer": self.cfg.verbalizer or words.text(),
            "pieces": [int(piece) for piece in pieces.ids],
            "mask_offset": int(pieces.mask_offset),
            "label_words": [[int(piece) for piece in of_label] for of_label in words.encode(tokenizer)],
        }

    def _prompt_state(self) -> dict[str, Any]:
        """Return the encoded prompt, encoded again if template or verbalizer differ from those of the checkpoint."""
        known = self.state.prompt
        # Without --verbalizer a checkpoint keeps its words, also an older one's "angry".
        asked = (self.cfg.template, self.cfg.verbalizer or known["verbalizer"])
        if (known["template"], known["verbalizer"]) != asked:
            self.state.merge_state_dict({"prompt": self._encoded()})
        return self.state.prompt

    @property
    def mask_words(self) -> str:
        """Return ``vocabulary`` or ``labels``."""
        return str(self.cfg.mask_words)

    @property
    def label_words(self) -> list[list[int]]:
        """Return the dictionary rows of each emotion's words."""
        return self._prompt_state()["label_words"]

    def prompt(self) -> PromptPieces:
        """Return the encoded template, behind the places of learned vectors."""
        pieces = PromptPieces(ids=self._prompt_state()["pieces"], mask_offset=self._prompt_state()["mask_offset"])
        return pieces.after_vectors(self._soft_prompt_length)

    @property
    def _soft_prompt_length(self) -> int:
        if self.cfg.soft_prompt_length < 0:
            raise UserError(f"--soft-prompt-length {self.cfg.soft_prompt_length}: give 0 or more")
        return self.cfg.soft_prompt_length

    def model_sizes(self) -> dict[str, Any]:
        """Return the sizes of a model; learned vectors of the prompt start as those of the label words."""
        rows = [row for of_label in self.label_words for row in of_label]
        return {**super().model_sizes(), "soft_prompt": prompt_rows(self._soft_prompt_length, rows)}

    def more_prompts(self) -> list[PromptPieces]:
        """Return the encoded further templates.

        Raises:
            UserError: one is not a template.
        """
        return list(self._more_prompts)

    @cached_property
    def _more_prompts(self) -> list[PromptPieces]:
        texts = [text.strip() for text in self.cfg.more_templates.split("||") if text.strip()]
        tokenizer = load_tokenizer(self.corpus().path / TOKENIZER_FOLDER) if texts else None
        length = self._soft_prompt_length
        return [Template.parse(text).encode(tokenizer).after_vectors(length) for text in texts if tokenizer is not None]

    def longest_text(self) -> int:
        """Return the most positions of a text with its special pieces, prompt and the full stop that may precede it."""
        return super().longest_text() + max(len(one.ids) for one in (self.prompt(), *self.more_prompts())) + 1


@dataclass
class FinetuneConfig(EmotionClassificationConfig):
    """Flags of finetuning: those of both tasks, other targets, and what some comparators read beside the utterance."""

    dimensions: str = field(
        default="",
        metadata={
            "help": "learn these numbers of the manifest instead of the emotion, such as valence,arousal,dominance; "
            "select the checkpoint with --best-checkpoint-metric ccc"
        },
    )
    several_labels: bool = field(
        default=False,
        metadata={
            "help": "learn any number of labels of an utterance (the manifest's column labels) instead of its emotion; "
            "--labels chooses among them; select the checkpoint with --best-checkpoint-metric map"
        },
    )

    dialogues: bool = field(
        default=False,
        metadata={
            "help": "read whole dialogues, in the order of the manifest's times, with other speakers' and unlabelled "
            "utterances as context (in training: of training speakers only); --batch-size then counts dialogues. "
            "For --arch memobert_clstm_mma"
        },
    )
    unlabelled: str = field(
        default="",
        metadata={
            "help": "data-bin, usually that of pre-training, of which as many utterances as of each batch are read "
            "without labels, never the test speaker's. For --criterion memobert_ssmm"
        },
    )
    best_checkpoint_metric: str = II("checkpoint.best_checkpoint_metric")


@register_task("memobert_finetune", dataclass=FinetuneConfig)
class MEmoBERTFinetuneTask(EmotionClassificationTask):
    """Emotion by finetuning a classifier on the pooled [CLS] (MEmoBERT, section 4)."""

    cfg: FinetuneConfig
    _own_criterion: str | None = None

    def __init__(self, cfg: FinetuneConfig, **kwargs: Any) -> None:
        super().__init__(cfg, **kwargs)
        if cfg.dimensions and cfg.several_labels:
            raise UserError("--dimensions and --several-labels: give only one of the two")
        if cfg.dimensions and cfg.labels:
            raise UserError("--dimensions: --labels is for one emotion of several; leave it out")
        self.kind = DIMENSIONS if cfg.dimensions else SEVERAL if cfg.several_labels else CLASSES
        self.reads_all_decisions = "--several-labels" if self.kind == SEVERAL else ""
        if self.kind != CLASSES:
            self.state.add_factory("target", self._target_state)

    def _keep_target(self) -> None:
        if self.kind != CLASSES:
            self.state.target  # noqa: B018

    def _labels(self) -> list[str]:
        if self.kind == DIMENSIONS:
            return asked_dimensions(self.corpus(), self.cfg.dimensions)
        return asked_labels(self.corpus(), self.cfg.labels) if self.kind == SEVERAL else super()._labels()

    def target(self, corpus: Corpus) -> Target:
        """Return what is predicted of the utterances of a data-bin."""
        return target_of(corpus, self.kind, self.labels)

    def _target_state(self) -> dict[str, Any]:
        """Return, in plain types for the checkpoint, the kind, and of numbers their scale in training."""
        if self.kind == SEVERAL:
            return {"kind": SEVERAL}
        corpus = self.fitting_corpus()
        target = self.target(corpus)
        values = target.values(corpus, self.rows_that_train(corpus, target)).astype(np.float64)
        deviation = values.std(axis=0)
        for place in np.flatnonzero(deviation < 1e-6):
            deviation[place] = 1.0
            told = f"all {len(values)} training utterances have {self.labels[place]} {values[0, place]:g}"
            logger.warning("%s: no difference to learn", told)
        scale = {"mean": values.mean(axis=0).tolist(), "deviation": deviation.tolist()}
        return {"kind": DIMENSIONS, **scale, "ranges": [corpus.meta.dimensions[name] for name in self.labels]}

    def _refuse_flags_of_classes(self, cfg: FairseqDataclass) -> None:
        """Refuse flags that only make sense for one emotion of several.

        Raises:
            UserError: one was given, or the loss is a comparator's own.
        """
        flag = "--dimensions" if self.cfg.dimensions else "--several-labels"
        changed = [name for name in ("soft_labels", "mix_streams") if getattr(self.cfg, name)]
        changed += [name for name in ("label_smoothing", "focal_gamma") if getattr(cfg, name, 0)]
        changed += ["class_weights"] if str(getattr(cfg, "class_weights", "none")) != "none" else []
        if changed:
            raise UserError(f"{flag}: --{changed[0].replace('_', '-')} is for one emotion of several; leave it out")
        selects = self.cfg.best_checkpoint_metric
        if selects in METRICS and (selects, self.kind) != ("macro_f1", SEVERAL):
            raise UserError(f"--best-checkpoint-metric {selects}: {flag} has none; give {SELECTED_BY[self.kind]}")
        if cfg._name != "memobert_finetune":
            raise UserError(
                f"{flag}: the loss of --criterion {cfg._name} is its own; give --criterion memobert_finetune"
            )

    def model_sizes(self) -> dict[str, Any]:
        """Return the sizes of a model, with the number of emotions."""
        return {**super().model_sizes(), "labels": len(self.labels)}

    def beside(self, corpus: Corpus, rows: np.ndarray, split: str, target: Target) -> tuple[np.ndarray, dict[str, Any]]:
        """Add the dialogues of ``--dialogues`` and, in training, the utterances of ``--unlabelled``."""
        found: dict[str, Any] = {}
        if self.cfg.dialogues:
            context = self._part(corpus, split, target) if split == "train" else np.arange(len(corpus))
            rows, found["dialogues"] = in_dialogues(corpus, rows, context)
        if split == "train" and self.cfg.unlabelled:
            found["unlabelled"] = self.unlabelled_dataset(corpus, target)
        return rows, found

    def unlabelled_dataset(self, corpus: Corpus, target: Target) -> UtteranceDataset:
        """Return the training utterances of ``--unlabelled`` without the fold's test speakers.

        Raises:
            UserError: its dictionary or frames are not the corpus', or nothing is left.
        """
        pool = self.refuse_unfit(Corpus(self.cfg.unlabelled))
        tested = {corpus.speakers[code] for code in np.unique(corpus.speaker[self._part(corpus, "test", target)])}
        rows = self.nonempty(pool, rows_to_train_on(pool, tested), "train")
        logger.info("unlabelled: %d utterances", len(rows))
        return UtteranceDataset(pool, rows, self.limits(), Modalities(self.modalities, seed=self.cfg.seed))

    @exits_in_one_line
    def build_model(self, cfg: FairseqDataclass, from_checkpoint: bool = False) -> nn.Module:
        """Build the model, which must read dialogues if and only if the task gives them."""
        model = super().build_model(cfg, from_checkpoint)
        if getattr(model, "reads_dialogues", False) != self.cfg.dialogues:
            raise UserError(f"--arch {cfg._name}: {'leave out' if self.cfg.dialogues else 'give'} --dialogues")
        self._own_criterion = getattr(model, "own_criterion", "")
        return model

    @exits_in_one_line
    def build_criterion(self, cfg: FairseqDataclass, from_checkpoint: bool = False) -> nn.Module:
        """Build the criterion: the model's own if it has one, and one that reads unlabelled utterances if there are."""
        if self.kind != CLASSES:
            self._refuse_flags_of_classes(cfg)
        criterion: nn.Module
        if self.kind == DIMENSIONS:
            criterion = DimensionsCriterion(self, str(cfg.dimension_loss))
        elif self.kind == SEVERAL:
            criterion = SeveralLabelsCriterion(self)
        else:
            criterion = super().build_criterion(cfg, from_checkpoint)
        if self.cfg.unlabelled and not getattr(criterion, "reads_unlabelled", False):
            raise UserError(f"--unlabelled: --criterion {cfg._name} does not read unlabelled utterances; leave it out")
        if self.cfg.soft_labels and getattr(criterion, "training_loss", None) is None:
            raise UserError(f"--soft-labels: the loss of --criterion {cfg._name} is its own; leave the flag out")
        own = self._own_criterion
        if own is not None and cfg._name != own and (own or getattr(criterion, "of_comparator", False)):
            raise UserError(f"--criterion {cfg._name}: this --arch takes --criterion {own or 'memobert_finetune'}")
        return criterion

    def valid_step(
        self, sample: dict[str, Any], model: nn.Module, criterion: ClassificationCriterion
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Step as the base does; the last step of a subset also ranks the answers to all of its utterances."""
        loss, size, logging_output = super().valid_step(sample, model, criterion)
        ready = self._collected is not None and self._collected.collected is not None
        if self.kind == SEVERAL and ready and logging_output:
            assert self._collected is not None
            truth, shares = self._collected.truth_and_outputs()
            score = mean_average_precision(truth > 0.5, shares)
            logging_output[RANKED] = torch.tensor([score, 1.0], dtype=torch.float64, device=loss.device)
        return loss, size, logging_output
