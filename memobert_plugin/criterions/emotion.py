"""Recognise emotions and expressions: losses, decisions, confusion counts and the metrics made of them."""

# Annotations are not postponed: fairseq reads the types of the flags.

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.logging import metrics
from fairseq.logging.meters import MetersDict
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import UserError
from ..core.ragged import first_rows
from ..evaluation.metrics.scores import Scores
from ..nn.heads import EMOTION_HEAD, WORD_HEAD, upcast
from ..nn.label_words import CandidateWords, LabelWords

METRICS = ("wa", "uar", "wf1", "macro_f1")


@dataclass(frozen=True)
class Decisions:
    """A model's answers for a batch of B utterances with C emotions.

    Attributes:
        loss: sum of the training loss over the batch.
        probabilities: ``(B, C)``, normalised over the emotions.
        vocabulary_predictions: prompting only: ``(B,)`` the emotion of the most likely piece of the whole vocabulary, C
            for any other piece.
        of_templates: evaluation of a prompt with several templates: ``(B, T, C)`` the scores of each.
    """

    loss: Tensor
    probabilities: Tensor
    vocabulary_predictions: Tensor | None = None
    of_templates: Tensor | None = None

    @property
    def predictions(self) -> Tensor:
        """Return the most probable emotion, ``(B,)``."""
        return self.probabilities.argmax(dim=-1)


def confusion_counts(target: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Count ``(C, C + 1)`` pairs of truth (row) and prediction (column) without waiting for the device.

    The last column is for "none of the emotions".
    """
    counts = torch.zeros(classes * (classes + 1), dtype=torch.float32, device=target.device)
    cells = target * (classes + 1) + predicted
    return counts.index_add_(0, cells, torch.ones_like(cells, dtype=torch.float32)).view(classes, classes + 1)


class ClassificationCriterion(FairseqCriterion):
    """Base of the criterions for recognition; a subclass says how to :meth:`decide`."""

    @abstractmethod
    def decide(self, model: nn.Module, sample: dict[str, Any]) -> Decisions:
        """Run the model on a batch of the task."""

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Return the loss summed over utterances, their number, and what is logged."""
        return self.summarise(self.decide(model, sample), sample)

    def summarise(self, decisions: Decisions, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """Return fairseq's triple (loss, sample size, logging output) for decisions."""
        target, classes = sample["target"], decisions.probabilities.shape[1]
        logging_output: dict[str, Any] = {
            "loss": decisions.loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": sample["nsentences"],
            "confusion": confusion_counts(target, decisions.predictions, classes),
        }
        if decisions.vocabulary_predictions is not None:
            logging_output["vocabulary_confusion"] = confusion_counts(target, decisions.vocabulary_predictions, classes)
        return decisions.loss, sample["nsentences"], logging_output

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log the mean loss, and WA, UAR and F1 in percent.

        They come from counts summed over batches and ranks: averages over batches would be wrong for UAR and F1.
        """
        count = sum(log.get("sample_size", 0) for log in logging_outputs)
        metrics.log_scalar("loss", sum(log.get("loss", 0) for log in logging_outputs) / max(count, 1), count, round=6)
        for counts, prefix in (("confusion", ""), ("vocabulary_confusion", "vocabulary_")):
            if any(counts in log for log in logging_outputs):
                metrics.log_scalar_sum(f"_{counts}", sum(log[counts] for log in logging_outputs if counts in log))
                for metric in METRICS:
                    metrics.log_derived(f"{prefix}{metric}", percentage(f"_{counts}", metric))

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Return True: everything logged is a sum or a count."""
        return True


def percentage(counts: str, metric: str) -> Callable[[MetersDict], float]:
    """Return the function that computes a metric in per cent from the confusion counts logged under a name."""

    def derived(meters: MetersDict) -> float:
        matrix = meters[counts].sum
        if not torch.is_tensor(matrix):  # just reset, nothing counted yet
            return float("nan")
        matrix = matrix.double().cpu().numpy()
        return 100.0 * getattr(Scores.from_confusion(matrix), metric)

    return derived


class TargetCriterion(ClassificationCriterion):
    """Base of the criterions of ``memobert_finetune`` whose target is not one emotion.

    A subclass says how to :meth:`decide`, what is summed over a subset (:meth:`statistics`), and what is logged of it.
    """

    @abstractmethod
    def statistics(self, decisions: Decisions, sample: dict[str, Any]) -> dict[str, Tensor]:
        """Return what is summed over batches and ranks."""

    @classmethod
    @abstractmethod
    def log_statistics(cls, summed: dict[str, Tensor]) -> None:
        """Log the scores of summed statistics."""

    def summarise(self, decisions: Decisions, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """Return fairseq's triple (loss, sample size, logging output)."""
        size = sample["nsentences"]
        counted = {"ntokens": sample["ntokens"], "nsentences": size, "sample_size": size}
        return decisions.loss, size, {"loss": decisions.loss.detach(), **counted, **self.statistics(decisions, sample)}

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log the mean loss and the scores of the summed statistics."""
        own = {"loss", "ntokens", "nsentences", "sample_size"}
        count = sum(log.get("sample_size", 0) for log in logging_outputs)
        metrics.log_scalar("loss", sum(log.get("loss", 0) for log in logging_outputs) / max(count, 1), count, round=6)
        keys = dict.fromkeys(key for log in logging_outputs for key in log if key not in own)
        if keys:
            cls.log_statistics({key: sum(log[key] for log in logging_outputs if key in log) for key in keys})


def derived(keys: Sequence[str], score: Callable[[Any], Any]) -> Callable[[MetersDict], float]:
    """Return the function that computes the mean score of the sums logged under some keys, stacked; nan before any."""

    def compute(meters: MetersDict) -> float:
        sums = [meters[key].sum for key in keys]
        if not all(map(torch.is_tensor, sums)):  # just reset
            return float("nan")
        return float(np.mean(score(np.stack([one.double().cpu().numpy() for one in sums]))))

    return compute


CLASS_WEIGHTS = ChoiceEnum(("none", "balanced"))
DIMENSION_LOSS = ChoiceEnum(("mse", "ccc"))


@dataclass
class LossConfig(FairseqDataclass):
    """Changes of the training loss for few labels; validation is always by plain cross-entropy. All are off by default.

    Label smoothing: Szegedy et al., CVPR 2016, section 7. Focal loss: Lin et al., ICCV 2017. Weights by inverse
    frequency: King and Zeng, Political Analysis 2001.
    """

    class_weights: CLASS_WEIGHTS = field(  # type: ignore[valid-type]
        default="none",
        metadata={"help": "balanced: weigh each utterance by the inverse frequency of its emotion in training"},
    )
    label_smoothing: float = field(
        default=0.0, metadata={"help": "share of the target that is spread over all emotions, such as 0.1"}
    )
    focal_gamma: float = field(
        default=0.0, metadata={"help": "weigh down what is known already by (1 - p)^gamma (focal loss), such as 2"}
    )


class TrainingLoss:
    """The loss of a batch in training.

    Args:
        config: its flags.
        task: tells how often each emotion occurs in training, where weights are asked for.

    Raises:
        UserError: a share or an exponent out of range.
    """

    def __init__(self, config: LossConfig, task: Any) -> None:
        self.config, self._task = config, task
        if not 0 <= config.label_smoothing < 1:
            raise UserError(f"--label-smoothing {config.label_smoothing:g}: give a share from 0 to below 1")
        if config.focal_gamma < 0:
            raise UserError(f"--focal-gamma {config.focal_gamma:g}: give 0 or more")
        self._weights: Tensor | None = None

    def __call__(self, log_probabilities: Tensor, target: Tensor, shares: Tensor | None = None) -> Tensor:
        """Return the loss summed over the batch.

        Args:
            log_probabilities: ``(B, C)``; they need not add up to 1.
            target: ``(B,)`` the emotions.
            shares: ``(B, C)`` of votes, for soft labels; a row of zeros stands for the emotion alone.
        """
        config = self.config
        chosen = log_probabilities.gather(1, target[:, None])[:, 0]
        losses = -chosen
        if shares is not None:
            soft = -(shares.to(log_probabilities) * log_probabilities).sum(dim=1)
            losses = torch.where(shares.sum(dim=1) > 0, soft, losses)
        if config.label_smoothing:
            share = config.label_smoothing
            losses = (1 - share) * losses - share * log_probabilities.mean(dim=1)
        if config.focal_gamma:
            # At 0 the gradient of an exponent below 1 is infinite.
            losses = losses * (1 - chosen.exp()).clamp(min=1e-7) ** config.focal_gamma
        if str(config.class_weights) == "balanced":
            losses = losses * self._class_weights(losses)[target]
        return losses.sum()

    def _class_weights(self, like: Tensor) -> Tensor:
        """Return (C,) weights, whose mean over the training utterances is 1."""
        if self._weights is None:
            counts = torch.as_tensor(self._task.label_counts(), dtype=torch.float64)
            self._weights = counts.sum() / (counts.count_nonzero() * counts.clamp(min=1))
        self._weights = self._weights.to(like)
        return self._weights


@dataclass
class PromptCriterionConfig(LossConfig):
    """Flags of the loss; template and verbalizer belong to the task."""


@register_criterion("memobert_prompt", dataclass=PromptCriterionConfig)
class MEmoBERTPromptCriterion(ClassificationCriterion):
    """Cross-entropy at the mask, over the full vocabulary or over the label words alone (``--mask-words``).

    Probabilities of several words for one emotion are added. The decision is taken among the label words. The most
    likely piece of the full vocabulary, which the reference implementation takes, is logged beside it with the prefix
    ``vocabulary_``.
    """

    training_loss: TrainingLoss | None = None

    def __init__(self, task: Any) -> None:
        super().__init__(task)
        self.label_words = LabelWords(task.label_words, len(task.symbols))
        self.prompts = [task.prompt(), *task.more_prompts()]
        self.calibrated = bool(task.cfg.contextual_calibration)
        self.kept = float(task.cfg.keep_pretrained)
        self.candidates: list[CandidateWords | None] = [None] * len(self.prompts)
        if task.mask_words == "labels":
            rows = self.label_words.rows
            self.candidates = [CandidateWords(rows, *prompt.around_mask()) for prompt in self.prompts]

    @classmethod
    def build_criterion(cls, cfg: PromptCriterionConfig, task: Any) -> "MEmoBERTPromptCriterion":
        """Build the criterion; the label words come from the task."""
        criterion = cls(task)
        criterion.training_loss = TrainingLoss(cfg, task)
        return criterion

    def decide(self, model: nn.Module, sample: dict[str, Any]) -> Decisions:
        """Read the mask position of every utterance; in evaluation, of each template."""
        template = sample.get("template", 0)
        scores, logits = self._scores(model, sample, template)
        if self.candidates[template] is not None:
            loss, chosen = self._loss(scores.log_softmax(dim=-1), sample), None
        else:
            loss = self._loss(scores - logits.logsumexp(dim=-1, keepdim=True), sample)
            chosen = self.label_words.emotions(logits.argmax(dim=-1))
        if self.training and self.kept:
            loss = (1 - self.kept) * loss + self.kept * self._distance(scores, model, sample)
        answers, of_templates = scores.detach(), None
        if not self.training and (self.calibrated or "more" in sample):
            others = [self._scores(model, other, number)[0] for number, other in enumerate(sample.get("more", ()), 1)]
            of_each = [one.log_softmax(dim=-1) for one in (answers, *others)]
            if self.calibrated:
                of_each = [one - self._without_content(model, number) for number, one in enumerate(of_each)]
            of_templates = torch.stack(of_each, dim=1)
            weights = self.task.weights_of_templates() or [1 / len(of_each)] * len(of_each)
            answers = torch.einsum("t,btc->bc", torch.tensor(weights).to(of_templates), of_templates)
        return Decisions(loss, answers.softmax(dim=-1), chosen, of_templates)

    def _scores(self, model: nn.Module, sample: dict[str, Any], template: int) -> tuple[Tensor, Tensor]:
        """Return the emotions' scores ``(B, C)`` and the logits that they are made of."""
        words = self.candidates[template]
        logits = upcast(model(**sample["net_input"], head=WORD_HEAD, rows=sample["mask_rows"], words=words))
        if words is not None:
            return self.label_words.scores_of_candidates(logits), logits
        return self.label_words.scores(logits), logits

    def _distance(self, scores: Tensor, model: nn.Module, sample: dict[str, Any]) -> Tensor:
        """Return KL(answers of the network that training started from || answers), summed over the batch."""
        teacher, like = self.task.teacher, next(model.parameters())
        assert teacher is not None  # the task builds it for a training
        if next(teacher.parameters()).device != like.device or next(teacher.parameters()).dtype != like.dtype:
            teacher.to(like.device, like.dtype)
        with torch.no_grad():
            before, _ = self._scores(teacher, sample, sample.get("template", 0))
        answers = scores.log_softmax(dim=-1)
        return functional.kl_div(answers, before.log_softmax(dim=-1), reduction="sum", log_target=True)

    def _without_content(self, model: nn.Module, template: int) -> Tensor:
        """Return the emotions' log-probabilities ``(1, C)`` for a prompt without words, faces and voice."""
        before, after = self.prompts[template].around_mask()
        mask = self.prompts[template].ids[self.prompts[template].mask_offset]
        device = next(model.parameters()).device
        nothing = np.zeros(1, dtype=np.int64)
        text = torch.tensor([*before, mask, *after], device=device)
        lengths = {"text_lengths": np.array([len(text)]), "visual_lengths": nothing, "acoustic_lengths": nothing}
        net_input = {"text": text, "visual": None, "acoustic": None, **lengths}
        scores, _ = self._scores(model, {"net_input": net_input, "mask_rows": np.array([len(before)])}, template)
        return scores.log_softmax(dim=-1)

    def _loss(self, log_probabilities: Tensor, sample: dict[str, Any]) -> Tensor:
        """Return the summed loss; in validation that of plain cross-entropy."""
        target = sample["target"]
        if self.training and self.training_loss is not None:
            return self.training_loss(log_probabilities, target, sample.get("target_shares"))
        return -log_probabilities.gather(1, target[:, None]).sum()


def read_rows(sample: dict[str, Any]) -> np.ndarray:
    """Return the rows of the [CLS] of a batch's utterances that have a target."""
    rows = first_rows(sample["net_input"]["text_lengths"])
    return rows[sample["read"]] if "read" in sample else rows


@dataclass
class FinetuneCriterionConfig(LossConfig):
    """Flags of the loss."""

    dimension_loss: DIMENSION_LOSS = field(  # type: ignore[valid-type]
        default="ccc",
        metadata={
            "help": "with --dimensions: ccc, 1 - CCC of each batch (Lin 1989), noisy in batches of few utterances; or "
            "mse, squared error in units of the training's deviation, a mean over utterances whatever the batch"
        },
    )


@register_criterion("memobert_finetune", dataclass=FinetuneCriterionConfig)
class MEmoBERTFinetuneCriterion(ClassificationCriterion):
    """Cross-entropy over the emotions."""

    training_loss: TrainingLoss | None = None
    """None for comparators, whose losses are their own."""

    @classmethod
    def build_criterion(cls, cfg: FairseqDataclass, task: Any) -> ClassificationCriterion:
        """Build the criterion; that of a comparator takes the fields of its own configuration."""
        if not isinstance(cfg, FinetuneCriterionConfig) and "label_smoothing" not in cfg:
            return super().build_criterion(cfg, task)
        criterion = cls(task)
        criterion.training_loss = TrainingLoss(cfg, task)
        return criterion

    def decide(self, model: nn.Module, sample: dict[str, Any]) -> Decisions:
        """Read the [CLS] position of every utterance, or of those that are no context."""
        logits = upcast(model(**sample["net_input"], head=EMOTION_HEAD, rows=read_rows(sample)))
        if self.training and self.training_loss is not None:
            loss = self.training_loss(logits.log_softmax(dim=-1), sample["target"], sample.get("target_shares"))
        else:
            loss = functional.cross_entropy(logits, sample["target"], reduction="sum")
        return Decisions(loss, logits.detach().softmax(dim=-1))


@dataclass
class FacialExpressionCriterionConfig(FairseqDataclass):
    """No options."""


@register_criterion("memobert_facial_expression", dataclass=FacialExpressionCriterionConfig)
class FacialExpressionCriterion(ClassificationCriterion):
    """Cross-entropy with the distribution to learn; accuracy and F1 over the pictures with a unique majority."""

    def decide(self, model: nn.Module, sample: dict[str, Any]) -> Decisions:
        """Read the distribution of every picture."""
        _, logits = model(**sample["net_input"])
        logits = upcast(logits)
        loss = -(sample["expression"].to(logits.dtype) * logits.log_softmax(dim=-1)).sum()
        return Decisions(loss, logits.detach().softmax(dim=-1))

    def summarise(self, decisions: Decisions, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """Return fairseq's triple; a picture without a majority counts in the loss only."""
        has_majority = torch.nonzero(sample["target"] >= 0).squeeze(1)
        counted = Decisions(decisions.loss, decisions.probabilities[has_majority])
        return super().summarise(counted, {**sample, "target": sample["target"][has_majority]})
