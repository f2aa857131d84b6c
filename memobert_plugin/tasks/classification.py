"""Base of the tasks that classify emotion: folds, subsets, modality cases and files of predictions."""

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Optional

import numpy as np
import torch
from fairseq.data.iterators import EpochBatchIterator
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from omegaconf import II, MISSING
from torch import Tensor, nn

from ..core.errors import UserError, exits_in_one_line
from ..core.names import CLASSES, MODALITY_CASES, PROTOCOLS
from ..criterions.emotion import ClassificationCriterion
from ..data.corpus import Corpus
from ..data.folds import HELP as FOLDS_HELP
from ..data.folds import SPEAKERS, Fold, choose_fold, folds_of, train_fraction
from ..data.prompts import PromptPieces
from ..data.targets import OneEmotion, Target
from ..data.votes import parse_votes
from .corpus_task import CorpusTask, CorpusTaskConfig
from .predictions import PredictionFile
from .utterance_dataset import Modalities, UtteranceDataset

logger = logging.getLogger(__name__)

PROTOCOL_CHOICES = ChoiceEnum(PROTOCOLS)


@dataclass
class EmotionClassificationConfig(CorpusTaskConfig):
    """Flags of both tasks."""

    data: str = field(default=MISSING, metadata={"help": "data-bin"})
    fold: int = field(
        default=0,
        metadata={
            "help": "fold of --folds, from 1: test on its speaker or speakers; 0 takes train, valid and test from the "
            "manifest's split column"
        },
    )
    folds: str = field(default=SPEAKERS, metadata={"help": FOLDS_HELP})
    protocol: PROTOCOL_CHOICES = field(  # type: ignore[valid-type]
        default="strict",
        metadata={"help": "; ".join(f"{name}: {protocol.help}" for name, protocol in PROTOCOLS.items())},
    )
    train_fraction: float = field(
        default=1.0,
        metadata={
            "help": "share of the training utterances used: seeded, stratified by emotion, 0.1 within 0.2 within ..."
        },
    )
    drop_repeated_texts: str = field(
        default="",
        metadata={
            "help": "leave out of training the utterances of this part of the corpus, such as IEMOCAP's scripted, "
            "whose words are also tested or validated; all: of every part"
        },
    )
    labels: str = field(
        default="",
        metadata={"help": "comma-separated emotions to tell apart; others are left out (default: all of the data-bin)"},
    )
    modalities: str = field(
        default="lva",
        metadata={
            "help": f"parts of an utterance that are read: one of {', '.join(MODALITY_CASES)} (text, visual, acoustic)"
        },
    )
    modality_mixture: bool = field(
        default=False,
        metadata={"help": "train on one of the cases within --modalities, drawn for each utterance and epoch"},
    )
    mixture_full_weight: int = field(
        default=1,
        metadata={"help": "with --modality-mixture, all of --modalities are this many times as likely as another case"},
    )
    mix_streams: bool = field(
        default=False,
        metadata={
            "help": "train on faces and speech of other training utterances of the same emotion, drawn for each "
            "utterance and epoch; fair only where the streams say nothing of each other once the emotion is known"
        },
    )
    soft_labels: bool = field(
        default=False,
        metadata={
            "help": "train on the shares of the annotators' votes (the manifest's column votes) among --labels; "
            "utterances without votes have their emotion alone, and the majority is still what is tested"
        },
    )
    max_pieces: int = field(
        default=60,
        metadata={"help": "word pieces read from the start of a text, prompt not counted; nothing is dropped"},
    )
    predictions: str = field(
        default="",
        metadata={
            "help": "write one JSON line per utterance here at each validation; {subset} in the name stands for the "
            "subset"
        },
    )
    max_valid_steps: Optional[int] = II("dataset.max_valid_steps")


class EmotionClassificationTask(CorpusTask):
    """Base of the two tasks."""

    cfg: EmotionClassificationConfig
    kind = CLASSES
    """Of the target."""
    reads_all_decisions = ""
    """The flag whose score needs the decisions of all utterances at once; empty for none."""

    def __init__(self, cfg: FairseqDataclass, **kwargs: Any) -> None:
        super().__init__(cfg, **kwargs)
        self.state.add_factory("labels", self._labels)
        self._collected: PredictionFile | None = None

    def _labels(self) -> list[str]:
        known = list(self.corpus().meta.labels)
        asked = [name.strip() for name in self.cfg.labels.split(",") if name.strip()] or known
        unknown = [name for name in asked if name not in known]
        if unknown or len(set(asked)) < 2:
            raise UserError(
                f"--labels {self.cfg.labels!r}: {self.corpus().path} has {', '.join(known) or 'no emotions'}; name two "
                f"or more of these"
            )
        return asked

    @property
    def labels(self) -> list[str]:
        """Return the emotions, in the order of the confusion counts."""
        return self.state.labels

    @cached_property
    def modalities(self) -> str:
        """Return the modality case as given.

        Raises:
            UserError: it is not one of the seven.
        """
        if self.cfg.modalities not in MODALITY_CASES:
            raise UserError(f"--modalities {self.cfg.modalities!r}: choose one of {', '.join(MODALITY_CASES)}")
        return self.cfg.modalities

    @exits_in_one_line
    def build_model(self, cfg: FairseqDataclass, from_checkpoint: bool = False) -> nn.Module:
        """Build the model, after everything that a checkpoint must carry is known."""
        if self.cfg.mixture_full_weight < 1 or (self.cfg.mixture_full_weight > 1 and not self.cfg.modality_mixture):
            raise UserError(
                f"--mixture-full-weight {self.cfg.mixture_full_weight}: give 1 or more, and --modality-mixture with it"
            )
        asked = [name.strip() for name in self.cfg.labels.split(",") if name.strip()]
        self._keep_target()
        if asked and asked != list(self.labels):
            raise UserError(
                f"--labels {self.cfg.labels}: the checkpoint tells {', '.join(self.labels)} apart; leave the flag out"
            )
        logger.info(
            "%s: %s; modalities: %s",
            "emotions" if self.kind == CLASSES else self.kind,
            ", ".join(self.labels),
            self.modalities,
        )
        return super().build_model(cfg, from_checkpoint)

    def _keep_target(self) -> None:
        """Store with the checkpoint what it must carry of the target: nothing of one emotion beside the labels."""

    def prompt(self) -> PromptPieces | None:
        """Return the pieces that are appended to every text; None for none."""
        return None

    def more_prompts(self) -> list[PromptPieces]:
        """Return the pieces of further templates; none without a prompt."""
        return []

    @exits_in_one_line
    def load_dataset(
        self, split: str, combine: bool = False, task_cfg: Any = None, epoch: int = 1, **kwargs: Any
    ) -> None:
        """Load ``train``, ``valid`` or ``test``: speakers of the fold, or the manifest's own split."""
        corpus, training = self.fitting_corpus(), split == "train"
        target = self.target(corpus)
        rows = self.rows_that_train(corpus, target) if training else self._rows(corpus, split, target)
        logger.info("%s: %d utterances", split, len(rows))
        if not self.cfg.fold and split == "test":
            self._warn_of_known_speakers(corpus, rows)
        rows = self.nonempty(corpus, rows, split)
        rows, beside = self.beside(corpus, rows, split, target)
        self.datasets[split] = UtteranceDataset(
            corpus,
            rows,
            self.limits(),
            Modalities(
                self.modalities,
                mixture=self.cfg.modality_mixture and training,
                full_weight=self.cfg.mixture_full_weight,
                mix_streams=self.cfg.mix_streams and training,
                seed=self.cfg.seed,
                zero_frames=self.cfg.zero_frames,
            ),
            target=target,
            shares=self._vote_shares(corpus) if training and self.cfg.soft_labels else None,
            prompt=self.prompt(),
            more_prompts=self.more_prompts(),
            shuffle=training,
            **beside,
        )
        self.log_beyond_limits(split)

    def _warn_of_known_speakers(self, corpus: Corpus, rows: np.ndarray) -> None:
        """Log the speakers of the manifest's test part who are in its training part too."""
        if "train" not in corpus.splits:
            return
        train = np.unique(corpus.speaker[corpus.split == corpus.splits.index("train")])
        known = [corpus.speakers[code] for code in np.intersect1d(train, corpus.speaker[rows]) if corpus.speakers[code]]
        if known:
            logger.warning(
                "the manifest's split tests %d speakers who also train, such as %s: this is no test on new speakers",
                len(known),
                known[0],
            )

    def beside(self, corpus: Corpus, rows: np.ndarray, split: str, target: Target) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the rows of a subset with those read beside them, and further arguments of its dataset: none here.

        Args:
            corpus: the open data-bin.
            rows: utterances with a target.
            split: ``train``, ``valid`` or ``test``.
            target: what is predicted.
        """
        return rows, {}

    def rows_that_train(self, corpus: Corpus, target: Target) -> np.ndarray:
        """Return the training utterances that are left of ``--drop-repeated-texts`` and ``--train-fraction``."""
        rows = self._rows(corpus, "train", target)
        if self.cfg.drop_repeated_texts:
            rows = self._without_repeated_texts(corpus, rows, target)
        if self.cfg.train_fraction != 1:
            strata = target.strata(corpus, rows)
            rows = rows[train_fraction(corpus.uid[rows], strata, self.cfg.train_fraction, self.cfg.seed)]
        return rows

    def _without_repeated_texts(self, corpus: Corpus, rows: np.ndarray, target: Target) -> np.ndarray:
        """Return the training rows without those of ``--drop-repeated-texts``.

        Raises:
            UserError: the data-bin has no such part.
        """
        part, known = self.cfg.drop_repeated_texts, corpus.meta.parts
        if part != "all" and part not in known:
            raise UserError(f"--drop-repeated-texts {part}: {corpus.path} has {', '.join(known) or 'no parts'}; or all")
        subsets = ["test"] if self.cfg.protocol == "all_but_one" else ["valid", "test"]
        if not self.cfg.fold:
            subsets = [subset for subset in ("valid", "test") if subset in corpus.splits]
        elsewhere = {
            corpus.text.view(row).tobytes() for subset in subsets for row in self._rows(corpus, subset, target).tolist()
        }
        of_part = np.ones(len(rows), bool) if part == "all" else corpus.part[rows] == known.index(part)  # type: ignore[index]
        repeated = [bool(len(text := corpus.text.view(row))) and text.tobytes() in elsewhere for row in rows.tolist()]
        dropped = of_part & np.array(repeated, dtype=bool)
        logger.info("train: %d utterances left out, whose words are also validated or tested", dropped.sum())
        return rows[~dropped]

    def training_rows(self) -> np.ndarray:
        """Return the utterances of the training speakers, with or without use in a ``--train-fraction``."""
        corpus = self.fitting_corpus()
        return self._rows(corpus, "train", self.target(corpus))

    def _vote_shares(self, corpus: Corpus) -> np.ndarray:
        """Return the shares of the task's emotions for each of the data-bin's codes of votes, float32 ``(V, C)``.

        Raises:
            UserError: the data-bin has no votes.
        """
        if not corpus.meta.votes:
            raise UserError(f"--soft-labels: {corpus.path} has no votes; give its manifest the column votes")
        counts = np.array(
            [[parse_votes(text).get(label, 0.0) for label in self.labels] for text in corpus.meta.votes], np.float32
        )
        return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9)

    def label_counts(self) -> np.ndarray:
        """Return how often each emotion occurs among the utterances that train, ``(C,)``."""
        corpus = self.fitting_corpus()
        target = self.target(corpus)
        return np.bincount(target.strata(corpus, self.rows_that_train(corpus, target)), minlength=len(self.labels))

    def target(self, corpus: Corpus) -> Target:
        """Return what is predicted of the utterances of a data-bin: one of the emotions."""
        return OneEmotion.of(corpus, self.labels)

    def _rows(self, corpus: Corpus, split: str, target: Target) -> np.ndarray:
        rows = self._part(corpus, split, target)
        return rows[target.known(corpus, rows)]

    def _part(self, corpus: Corpus, split: str, target: Target) -> np.ndarray:
        """Return the rows of a subset, those without the target too."""
        if not self.cfg.fold:
            if self.cfg.folds != SPEAKERS:
                raise UserError(f"--folds {self.cfg.folds}: give --fold, from 1")
            if split not in corpus.splits:
                raise UserError(
                    f"{corpus.path}: the split column has no '{split}' (it has: "
                    f"{', '.join(filter(None, corpus.splits)) or 'nothing'}); give --fold"
                )
            return np.flatnonzero(corpus.split == corpus.splits.index(split))
        return self.fold(corpus, target.known(corpus, np.arange(len(corpus)))).rows(corpus, split)

    def fold(self, corpus: Corpus, labelled: np.ndarray) -> Fold:
        """Return the fold of ``--fold``; it is logged, and stored with the checkpoint."""
        fold = choose_fold(folds_of(corpus, labelled, self.cfg.folds, str(self.cfg.protocol)), self.cfg.fold)
        stored = {
            "number": fold.number,
            "folds": self.cfg.folds,
            "protocol": fold.protocol,
            "test": fold.test,
            "valid": fold.valid or "",
            "train": list(fold.train),
            "selected_on_test": fold.selected_on_test,
            "test_speakers": list(fold.test_speakers),
        }
        known = self.state.state_dict.get("fold")
        # Checkpoints of earlier versions have folds of one speaker each.
        if known and (seen := set(fold.test_speakers) - set(known.get("test_speakers", [known["test"]]))):
            logger.warning(
                "the checkpoint left out %s, not %s: it has seen %s",
                known["test"],
                fold.test,
                "this test speaker" if len(fold.test_speakers) == 1 else f"the test speakers {', '.join(sorted(seen))}",
            )
        if known != stored:
            self.state.merge_state_dict({"fold": stored})
            logger.info(
                "fold %d, %s: test %s, valid %s, train %s",
                fold.number,
                fold.protocol,
                fold.test,
                fold.valid,
                ", ".join(fold.train),
            )
        return fold

    @exits_in_one_line
    def get_batch_iterator(self, dataset: UtteranceDataset, **kwargs: Any) -> EpochBatchIterator:
        """Return fairseq's iterator; for an evaluated subset also begin to collect its decisions where they are read.

        Raises:
            UserError: a part of the decisions would be missing, or two subsets would write the same file.
        """
        iterator = super().get_batch_iterator(dataset, **kwargs)
        self._collected = None
        if not dataset.shuffle and (self.cfg.predictions or self.reads_all_decisions):
            if self.cfg.max_valid_steps is not None:
                flag = "--predictions" if self.cfg.predictions else self.reads_all_decisions
                raise UserError(f"{flag}: --max-valid-steps would leave utterances out; give only one of the two")
            path = self._prediction_path(dataset) if self.cfg.predictions else None
            # Every rank makes len(iterator) validation steps.
            target = dataset.target
            assert target is not None  # load_dataset gives one
            self._collected = PredictionFile(path, dataset, target, self.cfg.fold, len(iterator))
        return iterator

    def _prediction_path(self, dataset: UtteranceDataset) -> str:
        subset = next(name for name, loaded in self.datasets.items() if loaded is dataset)
        evaluated = [name for name in self.datasets if name != "train"]
        if len(evaluated) > 1 and "{subset}" not in self.cfg.predictions:
            raise UserError(
                f"--predictions {self.cfg.predictions}: {', '.join(evaluated)} would overwrite each other; put "
                f"{{subset}} into the name"
            )
        return self.cfg.predictions.replace("{subset}", subset)

    def valid_step(
        self, sample: dict[str, Any], model: nn.Module, criterion: ClassificationCriterion
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Classify a batch, count, and keep the decisions for the file of predictions.

        ``fairseq-validate`` passes ``{}`` on a rank that has run out of batches.
        """
        if not sample:
            if self._collected is not None:
                self._collected.add_nothing()
            return torch.zeros(()), 0, {}
        model.eval()
        with torch.no_grad():
            decisions = criterion.decide(model, sample)
            if self._collected is not None:
                self._collected.add(
                    sample["id"], decisions.probabilities, decisions.vocabulary_predictions, decisions.of_templates
                )
            return criterion.summarise(decisions, sample)
