"""Classify emotion by prompting or by finetuning: two tasks with the same folds, subsets, modality cases and files."""

import logging
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Optional

import numpy as np
import torch
from fairseq.data.iterators import EpochBatchIterator
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.tasks import register_task
from omegaconf import II, MISSING
from torch import Tensor, nn

from ..checkpoints.model_description import MASK_WORDS
from ..core.errors import UserError, exits_in_one_line
from ..core.names import MODALITY_CASES, PROTOCOLS
from ..criterions.emotion import ClassificationCriterion
from ..data.corpus import TOKENIZER_FOLDER, Corpus
from ..data.folds import Fold, choose_fold, make_folds, train_fraction
from ..data.prompts import PAPER_TEMPLATE, PAPER_WORDS, PromptPieces, Template, Verbalizer
from ..data.tokenizer import load_tokenizer
from .corpus_task import CorpusTask, CorpusTaskConfig
from .predictions import PredictionFile
from .utterance_dataset import Modalities, UtteranceDataset, in_dialogues, rows_to_train_on

logger = logging.getLogger(__name__)

PROTOCOL_CHOICES = ChoiceEnum(PROTOCOLS)
MASK_WORDS_CHOICES = ChoiceEnum(MASK_WORDS)


@dataclass
class EmotionClassificationConfig(CorpusTaskConfig):
    """Flags of both tasks."""

    data: str = field(default=MISSING, metadata={"help": "data-bin"})
    fold: int = field(
        default=0,
        metadata={
            "help": "speaker fold, from 1: test on that speaker; 0 takes train, valid and test from the manifest's "
            "split column"
        },
    )
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

    def __init__(self, cfg: FairseqDataclass, **kwargs: Any) -> None:
        super().__init__(cfg, **kwargs)
        self.state.add_factory("labels", self._labels)
        self._prediction_file: PredictionFile | None = None

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
        logger.info("emotions: %s; modalities: %s", ", ".join(self.labels), self.modalities)
        return super().build_model(cfg, from_checkpoint)

    def prompt(self) -> PromptPieces | None:
        """Return the pieces that are appended to every text; None for none."""
        return None

    @exits_in_one_line
    def load_dataset(
        self, split: str, combine: bool = False, task_cfg: Any = None, epoch: int = 1, **kwargs: Any
    ) -> None:
        """Load ``train``, ``valid`` or ``test``: speakers of the fold, or the manifest's own split."""
        corpus = self.fitting_corpus()
        emotions = self._emotion_codes(corpus)
        rows = self._rows(corpus, split, emotions)
        training = split == "train"
        if training and self.cfg.train_fraction != 1:
            rows = rows[
                train_fraction(corpus.uid[rows], emotions[corpus.emotion[rows]], self.cfg.train_fraction, self.cfg.seed)
            ]
        logger.info("%s: %d utterances", split, len(rows))
        self.log_beyond_limits(split, corpus, rows)
        rows = self.nonempty(corpus, rows, split)
        rows, beside = self.beside(corpus, rows, split, emotions)
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
            emotions=emotions,
            prompt=self.prompt(),
            shuffle=training,
            **beside,
        )

    def beside(
        self, corpus: Corpus, rows: np.ndarray, split: str, emotions: np.ndarray
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the rows of a subset with those read beside them, and further arguments of its dataset: none here.

        Args:
            corpus: the open data-bin.
            rows: utterances with a target.
            split: ``train``, ``valid`` or ``test``.
            emotions: the task's code of each emotion of the data-bin, -1 for none.
        """
        return rows, {}

    def training_rows(self) -> np.ndarray:
        """Return the utterances of the training speakers, with or without use in a ``--train-fraction``."""
        corpus = self.fitting_corpus()
        return self._rows(corpus, "train", self._emotion_codes(corpus))

    def _emotion_codes(self, corpus: Corpus) -> np.ndarray:
        """Return the task's code of each emotion code of the corpus, -1 for emotions that are left out.

        The last entry stands for utterances without an emotion.
        """
        missing = [label for label in self.labels if label not in corpus.meta.labels]
        if missing:
            raise UserError(
                f"{corpus.path}: has no utterance of {', '.join(missing)}, which the model tells apart; it has "
                f"{', '.join(corpus.meta.labels)}"
            )
        codes = [self.labels.index(label) if label in self.labels else -1 for label in corpus.meta.labels]
        return np.array([*codes, -1], dtype=np.int64)

    def _rows(self, corpus: Corpus, split: str, emotions: np.ndarray) -> np.ndarray:
        rows = self._part(corpus, split, emotions)
        return rows[emotions[corpus.emotion[rows]] >= 0]

    def _part(self, corpus: Corpus, split: str, emotions: np.ndarray) -> np.ndarray:
        """Return the rows of a subset, those without one of the task's emotions too."""
        if not self.cfg.fold:
            if split not in corpus.splits:
                raise UserError(
                    f"{corpus.path}: the split column has no '{split}' (it has: "
                    f"{', '.join(filter(None, corpus.splits)) or 'nothing'}); give --fold"
                )
            return np.flatnonzero(corpus.split == corpus.splits.index(split))
        fold = self.fold(corpus, emotions[corpus.emotion] >= 0)
        valid = (fold.valid,) if fold.valid else ()
        speakers = {"train": fold.train, "valid": valid, "test": (fold.test,)}.get(split)
        if speakers is None:
            raise UserError(f"subset '{split}': a fold has train, valid and test")
        if not speakers:
            raise UserError(
                f"protocol {fold.protocol} has no validation speaker; "
                "train with --disable-validation and a fixed --max-epoch"
            )
        codes = [corpus.speakers.index(speaker) for speaker in speakers]
        return np.flatnonzero(np.isin(corpus.speaker, codes))

    def fold(self, corpus: Corpus, labelled: np.ndarray) -> Fold:
        """Return the fold of ``--fold``; it is logged, and stored with the checkpoint."""
        sessions: dict[str, set[str]] = defaultdict(set)
        pairs = np.unique(np.stack([corpus.speaker[labelled], corpus.session[labelled]], axis=1), axis=0)
        for speaker, session in pairs.tolist():
            sessions[corpus.speakers[speaker]].add(corpus.sessions[session])
        fold = choose_fold(make_folds(sessions, str(self.cfg.protocol)), self.cfg.fold)
        stored = {
            "number": fold.number,
            "protocol": fold.protocol,
            "test": fold.test,
            "valid": fold.valid or "",
            "train": list(fold.train),
            "selected_on_test": fold.selected_on_test,
        }
        known = self.state.state_dict.get("fold")
        if known and known["test"] != stored["test"]:
            logger.warning(
                "the checkpoint left out %s, not %s: it has seen this test speaker", known["test"], fold.test
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
        """Return fairseq's iterator; for an evaluated subset also begin its file of predictions."""
        iterator = super().get_batch_iterator(dataset, **kwargs)
        self._prediction_file = None
        if self.cfg.predictions and not dataset.shuffle:
            if self.cfg.max_valid_steps is not None:
                raise UserError(
                    "--predictions: --max-valid-steps would leave utterances out of the file; give only one of the two"
                )
            subset = next(name for name, loaded in self.datasets.items() if loaded is dataset)
            evaluated = [name for name in self.datasets if name != "train"]
            if len(evaluated) > 1 and "{subset}" not in self.cfg.predictions:
                raise UserError(
                    f"--predictions {self.cfg.predictions}: {', '.join(evaluated)} would overwrite each other; put "
                    f"{{subset}} into the name"
                )
            path = self.cfg.predictions.replace("{subset}", subset)
            # Every rank makes len(iterator) validation steps.
            self._prediction_file = PredictionFile(path, dataset, self.labels, self.cfg.fold, len(iterator))
        return iterator

    def valid_step(
        self, sample: dict[str, Any], model: nn.Module, criterion: ClassificationCriterion
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Classify a batch, count, and keep the decisions for the file of predictions.

        ``fairseq-validate`` passes ``{}`` on a rank that has run out of batches.
        """
        if not sample:
            if self._prediction_file is not None:
                self._prediction_file.add_nothing()
            return torch.zeros(()), 0, {}
        model.eval()
        with torch.no_grad():
            decisions = criterion.decide(model, sample)
            if self._prediction_file is not None:
                self._prediction_file.add(sample["id"], decisions.probabilities, decisions.vocabulary_predictions)
            return criterion.summarise(decisions, sample)


@dataclass
class PromptConfig(EmotionClassificationConfig):
    """Template and emotion words; defaults are the paper's."""

    template: str = field(
        default=PAPER_TEMPLATE,
        metadata={"help": "appended to the text; holds [MASK] exactly once and is never cut off"},
    )
    mask_words: MASK_WORDS_CHOICES = field(  # type: ignore[valid-type]
        default="vocabulary",
        metadata={
            "help": "words that compete at the mask: all of the vocabulary (the paper), or the label words alone, "
            "which suits few labels and a text encoder"
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

    def __init__(self, cfg: PromptConfig, **kwargs: Any) -> None:
        super().__init__(cfg, **kwargs)
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
        """Return the encoded template."""
        return PromptPieces(ids=self._prompt_state()["pieces"], mask_offset=self._prompt_state()["mask_offset"])

    def longest_text(self) -> int:
        """Return the most positions of a text with its special pieces, prompt and the full stop that may precede it."""
        return super().longest_text() + len(self.prompt().ids) + 1


@dataclass
class FinetuneConfig(EmotionClassificationConfig):
    """Flags of finetuning: those of both tasks, and what some comparators read beside the utterance."""

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


@register_task("memobert_finetune", dataclass=FinetuneConfig)
class MEmoBERTFinetuneTask(EmotionClassificationTask):
    """Emotion by finetuning a classifier on the pooled [CLS] (MEmoBERT, section 4)."""

    cfg: FinetuneConfig
    _own_criterion: str | None = None

    def model_sizes(self) -> dict[str, Any]:
        """Return the sizes of a model, with the number of emotions."""
        return {**super().model_sizes(), "labels": len(self.labels)}

    def beside(
        self, corpus: Corpus, rows: np.ndarray, split: str, emotions: np.ndarray
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Add the dialogues of ``--dialogues`` and, in training, the utterances of ``--unlabelled``."""
        found: dict[str, Any] = {}
        if self.cfg.dialogues:
            context = self._part(corpus, split, emotions) if split == "train" else np.arange(len(corpus))
            rows, found["dialogues"] = in_dialogues(corpus, rows, context)
        if split == "train" and self.cfg.unlabelled:
            found["unlabelled"] = self.unlabelled_dataset(corpus, emotions)
        return rows, found

    def unlabelled_dataset(self, corpus: Corpus, emotions: np.ndarray) -> UtteranceDataset:
        """Return the training utterances of ``--unlabelled`` without the fold's test speakers.

        Raises:
            UserError: its dictionary or frames are not the corpus', or nothing is left.
        """
        pool = self.refuse_unfit(Corpus(self.cfg.unlabelled))
        tested = {corpus.speakers[code] for code in np.unique(corpus.speaker[self._part(corpus, "test", emotions)])}
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
        criterion = super().build_criterion(cfg, from_checkpoint)
        if self.cfg.unlabelled and not getattr(criterion, "reads_unlabelled", False):
            raise UserError(f"--unlabelled: --criterion {cfg._name} does not read unlabelled utterances; leave it out")
        own = self._own_criterion
        if own is not None and cfg._name != own and (own or getattr(criterion, "of_comparator", False)):
            raise UserError(f"--criterion {cfg._name}: this --arch takes --criterion {own or 'memobert_finetune'}")
        return criterion
