"""Base of the tasks on a data-bin: their flags, the open data-bin, and the sizes a model is built with."""

# Annotations are not postponed: fairseq reads the types of the flags.
import argparse
import functools
import logging
import sys
from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, List, Optional, TypeVar

import numpy as np
from fairseq import utils
from fairseq.data import Dictionary
from fairseq.data.iterators import EpochBatchIterator
from fairseq.dataclass import FairseqDataclass
from omegaconf import II
from torch import Tensor, nn

from ..checkpoints.text_encoder import TextEncoder, read_text_encoder
from ..core.errors import UserError, exits_in_one_line
from ..core.fairseq_quirks import return_free_memory
from ..core.onednn import limit_primitive_cache
from ..data.batches import Limits, without_some_frames
from ..data.corpus import TOKENIZER_FOLDER, Corpus
from ..data.frame_making import made_otherwise, otherwise_centered
from ..data.frames import ExtractorInfo
from ..data.limits import DEFAULT_FRAMES, describe_beyond, limit_in_frames
from ..data.tokenizer import read_tokenizer_files, to_plain
from ..data.vocabulary import SPECIALS
from .epochs import Rows
from .frame_statistics import fit_embedders
from .nonfinite_updates import MicroBatch, NonfiniteUpdates
from .resuming import ResumableTask, fairseq_configuration
from .save_folder import SaveFolderConfig
from .starting_checkpoint import refuse_other_frames
from .utterance_dataset import UtteranceDataset

logger = logging.getLogger(__name__)

_Rows = TypeVar("_Rows", np.ndarray, Rows)


@dataclass
class CorpusTaskConfig(SaveFolderConfig):
    """Flags of every task on a data-bin."""

    max_nonfinite_updates: int = field(
        default=10,
        metadata={"help": "end training after this many updates in a row with NaN or infinite gradients (left out)"},
    )
    center_frames: bool = field(
        default=False,
        metadata={
            "help": "start the projections of frames so that the mean frame becomes zero; helps short trainings on "
            "frames whose mean outweighs their differences (a checkpoint that is loaded overrules it)"
        },
    )
    standardize_frames: bool = field(
        default=False,
        metadata={
            "help": "read face and speech frames less their mean and over their deviation in the training utterances, "
            "in every dimension; a checkpoint carries both (one that is loaded overrules them)"
        },
    )
    frame_dropout: float = field(
        default=0.0,
        metadata={
            "help": "in training leave out frames: of each utterance a share drawn anew up to this one; the objectives "
            "of masked frames are spared"
        },
    )
    zero_frames: bool = field(
        default=False,
        metadata={
            "help": "show one zero frame (of neutral expression) for faces or speech that an utterance lacks, as the "
            "authors' code does, instead of leaving the modality out; for models imported from them"
        },
    )
    max_visual_frames: int = field(
        default=DEFAULT_FRAMES["visual"],
        metadata={"help": "face frames read from the start of an utterance (at 10 per second 36 are 3.6 s)"},
    )
    max_visual_seconds: Optional[float] = field(
        default=None, metadata={"help": "the same in seconds, by the data-bin's frame rate; overrules the frames"}
    )
    max_acoustic_frames: int = field(
        default=DEFAULT_FRAMES["acoustic"],
        metadata={"help": "speech frames read from the start of an utterance (at one per 60 ms 64 are 3.84 s)"},
    )
    max_acoustic_seconds: Optional[float] = field(
        default=None, metadata={"help": "the same in seconds, by the data-bin's frame rate; overrules the frames"}
    )
    seed: int = II("common.seed")
    update_freq: List[int] = II("optimization.update_freq")


def task_asked_of_validation() -> str | None:
    """Return the ``--task`` of the ``fairseq-validate`` that this process is; None in other processes."""
    if Path(sys.argv[0]).name != "fairseq-validate":
        return None
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--task")
    return parser.parse_known_args(sys.argv[1:])[0].task


class CorpusTask(ResumableTask):
    """Base of the tasks that read a data-bin.

    What a model needs to be rebuilt (dictionary, dimensions, class names) lives in ``task.state`` as plain types: it
    travels with every checkpoint, so that loading one needs neither the data-bin nor the directory it was trained in.
    """

    def __init__(self, cfg: FairseqDataclass, **kwargs: Any) -> None:
        limit_primitive_cache()
        super().__init__(cfg, **kwargs)
        self._corpora: dict[str, Corpus] = {}
        self._dictionary: Dictionary | None = None
        self._warned: set[tuple[Path, str]] = set()
        self.state.add_factory("symbols", lambda: list(self.corpus().symbols))
        self.state.add_factory("visual_dim", lambda: self.corpus().meta.visual_dim or 0)
        self.state.add_factory("acoustic_dim", lambda: self.corpus().meta.acoustic_dim or 0)
        self.state.add_factory("expression_classes", lambda: list(self.corpus().meta.expression_classes))
        self.state.add_factory("origins", self._origins)

    @classmethod
    @exits_in_one_line
    def setup_task(cls, cfg: FairseqDataclass, **kwargs: Any) -> Any:
        """Set the task up.

        Raises:
            SystemExit: one line, where fairseq-validate was asked for another task than the checkpoint's, which fairseq
                would take without a word.
        """
        asked = task_asked_of_validation() if kwargs.get("from_checkpoint") else None
        if asked not in (None, cfg._name):
            raise UserError(f"--task {asked}: the checkpoint's task is {cfg._name}; give this one")
        return super().setup_task(cfg, **kwargs)

    def _origins(self) -> dict[str, Any]:
        """Return the settings that made pieces and frames: with them a checkpoint alone can read a new clip."""
        corpus = self.corpus()
        return {
            **{modality: info.to_dict() if info else None for modality, info in corpus.meta.extractors.items()},
            "tokenizer": to_plain(read_tokenizer_files(corpus.path / TOKENIZER_FOLDER)),
        }

    @property
    def symbols(self) -> list[str]:
        """Return the dictionary's symbols in row order."""
        return self.state.symbols

    @property
    def source_dictionary(self) -> Dictionary:
        """Return the dictionary as fairseq wants it."""
        if self._dictionary is None:
            bos, pad, eos, unk = SPECIALS
            self._dictionary = Dictionary(bos=bos, pad=pad, eos=eos, unk=unk)
            for symbol in self.symbols[len(SPECIALS) :]:
                self._dictionary.add_symbol(symbol)
        return self._dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        """Return the same dictionary: the masked words are the text's own."""
        return self.source_dictionary

    def max_positions(self) -> None:
        """Return None: the task's own flags limit utterances, per modality."""
        return None

    def model_sizes(self) -> dict[str, Any]:
        """Return the arguments of ``MEmoBERTModel.build`` beside the configuration."""
        return {
            "vocabulary": len(self.state.symbols),
            "visual_dim": self.state.visual_dim,
            "acoustic_dim": self.state.acoustic_dim,
            "expression_classes": len(self.state.expression_classes),
            "symbols": self.state.symbols,
        }

    @exits_in_one_line
    def build_model(self, cfg: FairseqDataclass, from_checkpoint: bool = False) -> Any:
        """Check the limits against the position tables, then build the model as fairseq does."""
        limits = self.limits()
        for name, length in (
            ("text with its special pieces and prompt", self.longest_text()),
            ("--max-visual-frames", limits.visual_frames),
            ("--max-acoustic-frames", limits.acoustic_frames),
        ):
            if length > cfg.max_positions:
                raise UserError(
                    f"{name}: {length} positions, the model's tables have --max-positions {cfg.max_positions}; lower "
                    f"the limit"
                )
        if not 0 <= self.cfg.frame_dropout < 1:
            raise UserError(f"--frame-dropout {self.cfg.frame_dropout:g}: give a share from 0 to below 1")
        encoder = None
        path = getattr(cfg, "text_encoder", "")
        if not path and not from_checkpoint and getattr(cfg, "text_encoder_layers", False):
            raise UserError("--text-encoder-layers: give --text-encoder, which sets the sizes and brings the weights")
        if path and not (from_checkpoint and cfg.text_encoder_layers):
            encoder = self._read_text_encoder(cfg, path)
        model = super().build_model(cfg, from_checkpoint)
        if from_checkpoint:
            return model
        root = fairseq_configuration(self.cfg)
        if "checkpoint" in root:
            refuse_other_frames(root.checkpoint, self.corpus().meta.extractors)
        if encoder is not None:
            model.text_embedder.encoder.load_state_dict(dict(encoder.weights))
            model.given_text_encoder = path
        if self.cfg.center_frames or self.cfg.standardize_frames:
            fit_embedders(
                self.corpus(),
                self.training_rows(),
                model.visual_embedder,
                model.acoustic_embedder,
                standardized=self.cfg.standardize_frames,
                centered=self.cfg.center_frames,
            )
        return model

    def _read_text_encoder(self, cfg: FairseqDataclass, path: str) -> TextEncoder:
        """Read the frozen text encoder, and write its sizes where checkpoints keep those of the model."""
        encoder = read_text_encoder(Path(path), self.symbols)
        sizes = encoder.sizes
        cfg.text_encoder_layers, cfg.text_encoder_embed_dim = sizes.layers, sizes.embed_dim
        cfg.text_encoder_ffn_embed_dim, cfg.text_encoder_attention_heads = sizes.ffn_dim, sizes.heads
        cfg.text_encoder_max_positions, cfg.text_encoder_layer_norm_eps = sizes.positions, sizes.layer_norm_eps
        if self.longest_text() > sizes.positions:
            raise UserError(
                f"--text-encoder {path}: reads {sizes.positions} pieces, texts have up to {self.longest_text()} with "
                "their prompt; lower --max-pieces"
            )
        return encoder

    @abstractmethod
    def training_rows(self) -> np.ndarray:
        """Return the rows ``(n,)`` of the data-bin that a new model is fitted to: those that train it."""

    def longest_text(self) -> int:
        """Return the most text positions that an utterance can take."""
        return self.cfg.max_pieces + 2

    def limits(self) -> Limits:
        """Return how much of an utterance is read.

        Raises:
            UserError: a limit in seconds, and frames whose rate is unknown.
        """
        frames = []
        for stream in ("visual", "acoustic"):
            most, seconds = (getattr(self.cfg, f"max_{stream}_{unit}") for unit in ("frames", "seconds"))
            if seconds is not None:
                made_by = self.state.origins[stream]
                info = ExtractorInfo.from_dict("the data-bin", made_by) if made_by else None
                most = limit_in_frames(stream, most, seconds, info)
            frames.append(most)
        return Limits(self.cfg.max_pieces, *frames)

    def log_beyond_limits(self, split: str) -> None:
        """Log for each stream of a loaded subset the share beyond the limit; reports read these lines."""
        limits, dataset = self.limits(), self.datasets[split]
        made_by = dataset.corpus.meta.extractors
        for stream, limit in (
            ("text", limits.pieces), ("visual", limits.visual_frames), ("acoustic", limits.acoustic_frames),
        ):  # fmt: skip
            total, beyond = dataset.beyond[stream]
            if total:
                logger.info("%s: %s", split, describe_beyond(stream, beyond / total, limit, made_by.get(stream)))

    def corpus(self, epoch: int = 1) -> Corpus:
        """Return the open data-bin; of several shards ``a:b:c`` the one of this epoch."""
        if not self.cfg.data:
            raise UserError("no data-bin given; name the folder that memobert-binarize wrote")
        paths = utils.split_paths(self.cfg.data)
        path = paths[(epoch - 1) % len(paths)]
        if path not in self._corpora:
            self._corpora = {path: Corpus(path)}
        return self._corpora[path]

    def fitting_corpus(self, epoch: int = 1) -> Corpus:
        """Return the data-bin of an epoch; refuse a dictionary or frames unlike those of the task or its checkpoint.

        The settings that made pieces and frames are stored here for checkpoints: here the data-bin is open.

        Raises:
            UserError: another dictionary, another frame dimension, other expression classes, or speech frames that are
                centred on their speakers where the model's are not.
        """
        self.state.origins  # noqa: B018
        return self.refuse_unfit(self.corpus(epoch))

    def refuse_unfit(self, corpus: Corpus) -> Corpus:
        """Return a data-bin, after checking its dictionary and frames as :meth:`fitting_corpus` does."""
        if list(corpus.symbols) != list(self.state.symbols):
            raise UserError(
                f"{corpus.path}: its dictionary is not the checkpoint's or the first shard's; binarize it with the "
                f"same --vocab or --sentencepiece"
            )
        for modality, own, known in (
            ("visual", corpus.meta.visual_dim, self.state.visual_dim),
            ("acoustic", corpus.meta.acoustic_dim, self.state.acoustic_dim),
        ):
            if own and own != known:
                raise UserError(
                    f"{corpus.path}: {modality} frames have {own} dimensions, the model reads {known}; extract them "
                    f"with the same encoder"
                )
        if corpus.meta.expression_classes and list(corpus.meta.expression_classes) != list(
            self.state.expression_classes
        ):
            raise UserError(
                f"{corpus.path}: its expression classes are not the checkpoint's "
                f"({', '.join(self.state.expression_classes)})"
            )
        if reason := otherwise_centered(corpus.meta.acoustic_extractor, self.state.origins["acoustic"] or None):
            raise UserError(f"{corpus.path}: does not fit the model: {reason}")
        for stream, info in corpus.meta.extractors.items():
            known = self.state.origins[stream]
            read = ExtractorInfo.from_dict("the checkpoint", known) if known else None
            if (different := made_otherwise(info, read)) and (corpus.path, stream) not in self._warned:
                self._warned.add((corpus.path, stream))
                logger.warning("%s: its %s frames are not made as the model's (%s)", corpus.path, stream, different)
        return corpus

    def get_batch_iterator(self, dataset: UtteranceDataset, **kwargs: Any) -> EpochBatchIterator:
        """Return fairseq's iterator, which reads frames into reused buffers.

        In training, the number of batches becomes a multiple of ranks x update-freq.
        """
        per_rank = self.batches_per_update(kwargs.get("epoch", 1)) if dataset.shuffle else 1
        if dataset.shuffle:
            dataset.batches_divisible_by = kwargs.get("num_shards", 1) * per_rank
        batches = super().get_batch_iterator(dataset, **kwargs)
        _read_into_buffers(batches, per_rank, kwargs.get("max_tokens"), kwargs.get("max_sentences"))
        if batches.num_workers:
            return_free_memory()
        return batches

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
        """Step as fairseq does, and remember the batch until the update's gradients have been checked."""
        if self.cfg.frame_dropout and self._drops_frames(sample):
            inputs = without_some_frames(
                sample["net_input"], sample["uids"], self.cfg.seed, update_num, self.cfg.frame_dropout
            )
            sample = {**sample, "net_input": inputs}
        objective = sample.get("objective", self.cfg._name)
        loss, size, logging_output = super().train_step(
            sample, model, criterion, optimizer, update_num, ignore_grad, **kwargs
        )
        self._nonfinite_updates.watch(optimizer, MicroBatch(objective, sample["id"], loss.detach()))
        return loss, size, logging_output

    def _drops_frames(self, sample: dict[str, Any]) -> bool:
        """Tell whether frames of this batch may be left out."""
        return True

    @exits_in_one_line
    def optimizer_step(self, optimizer: Any, model: nn.Module, update_num: int) -> None:
        """Step as fairseq does, unless the update's gradients are NaN or infinite."""
        dataset = self.datasets["train"]
        if self._nonfinite_updates.allow(
            optimizer, update_num, lambda rows: dataset.corpus.utterance_ids(dataset.rows[rows])
        ):
            super().optimizer_step(optimizer, model, update_num)

    @cached_property
    def _nonfinite_updates(self) -> NonfiniteUpdates:
        return NonfiniteUpdates(self.cfg.max_nonfinite_updates, max(map(int, self.cfg.update_freq)))

    def nonempty(self, corpus: Corpus, rows: _Rows, split: str) -> _Rows:
        """Return ``rows``.

        Raises:
            UserError: there are none.
        """
        if not len(rows):
            raise UserError(
                f"{corpus.path}: no utterance for the subset '{split}'; memobert-inspect shows what the data-bin holds"
            )
        return rows


def _read_into_buffers(
    batches: EpochBatchIterator, per_rank: int, max_tokens: int | None, max_sentences: int | None
) -> None:
    """Have the frames of an epoch's batches read into buffers that are used again.

    It is a function of its own so that no local variable keeps a batch alive: fairseq raises and catches an exception
    here, whose traceback holds the callers' variables until the next garbage collection.
    """
    dataset: UtteranceDataset = batches.dataset
    if batches.collate_fn == dataset.collater:  # an earlier validation's iterator has its buffers already
        under_way = batches.buffer_size + per_rank + 1
        pool = dataset.buffer_pool(batches.num_workers, under_way, max_tokens, max_sentences)
        batches.collate_fn = functools.partial(dataset.collater, pool=pool)
