"""Stop a training when it is asked to, and go on with it as if it had not stopped.

Stopping: fairseq handles no signals. But in every update it calls two methods of a task: ``train_step``, whose logging
output is summed over ranks, and ``reduce_metrics``, which gets the sums. A rank that was asked to stop therefore adds
one to a count, and every rank sees the same total after the same update. fairseq then looks at its own configuration to
decide whether training ends here; being over ``stop_time_hours`` is one of the reasons it knows. Setting that makes it
save ``checkpoint_last.pt`` in the middle of the epoch and return as usual; nothing of it is replaced.

Going on: fairseq 0.12.2 and ve-fairseq 0.12.3 count the batches of an unfinished epoch whatever their size, begin
``--patience`` anew at every start, forget the best score after a validation that gave NaN, and keep fewer checkpoints
than ``--keep-best-checkpoints`` says. They ask a task for the training set's iterator, whose state is stored in every
checkpoint, and tell it about validations and saved checkpoints; that is enough to correct all four.
"""

from __future__ import annotations

import logging
import math
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.criterions import FairseqCriterion
from fairseq.data import data_utils
from fairseq.data.iterators import EpochBatchIterator
from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import FairseqTask
from omegaconf import DictConfig
from torch import Tensor, nn

from ..core.errors import UserError, exits_in_one_line
from ..core.files import replaced_when_complete
from ..core.signals import STOP_SIGNAL, listen, stop_mark, stop_requested
from .epochs import Batches, shuffled
from .save_folder import check_save_folder
from .starting_checkpoint import (
    refuse_no_checkpoint,
    refuse_other_outputs,
    refuse_other_speakers,
    refuse_without_average,
)

logger = logging.getLogger(__name__)

REQUESTS = "stop_requests"
_AT_ONCE = 1e-9
_OF_ONE_TASK = (
    "cross_entropy",  # fairseq's default
    "memobert_pretraining",
    "memobert_prompt",
    "memobert_finetune",
    "memobert_facial_expression",
)
"""Criterions that fit the task of their name alone, or none."""


def fairseq_configuration(task: DictConfig) -> DictConfig:
    """Return the whole configuration that fairseq's loop reads; the task's own is a branch of it."""
    return task._get_root()


class TrainingBatches(EpochBatchIterator):
    """fairseq's iterator over the training set, whose stored state also holds what fairseq forgets.

    It gives the batches that fairseq gives, in the same order, but keeps no Python object for each.
    """

    batches_per_update = 1
    grouped_shuffling = False
    _compact: Batches | None = None
    _checksum: int | None = None

    @property
    def frozen_batches(self) -> Batches:
        """Return the batches of the epoch before they are shuffled."""
        if self._compact is None:
            self._compact = Batches.of(self.batch_sampler)
        return self._compact

    def ordered_batches(self, epoch: int, fix_batches_to_gpus: bool, shuffle: bool) -> Batches:
        """Return this process' batches in their order."""
        batches, shards = self.frozen_batches, self.num_shards
        numbers = batches.numbers
        if shuffle:
            with data_utils.numpy_seed(self.seed + epoch):
                numbers = shuffled(len(batches) // shards, shards) if self.grouped_shuffling else shuffled(len(batches))
        own = numbers[self.shard_id :: shards]
        missing = -(-len(numbers) // shards) - len(own)
        return Batches(batches.order, batches.ends, np.append(own, np.full(missing, -1, own.dtype)))

    def forget(self) -> None:
        """Empty the batches of an epoch that is over, so that they do not lie in memory beside those of the next one.

        Until the next garbage collection they are held by the traceback of an exception that fairseq catches.
        """
        self.frozen_batches.clear()
        sampler = getattr(self, "epoch_batch_sampler", None)
        if sampler is not None:
            sampler.batches.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return fairseq's state, the division of the epoch into batches, and the state of ``--patience``."""
        division = {"batches": len(self), "digest": self._digest()}
        return {**super().state_dict(), **division, "early_stopping": _early_stopping()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the place of another start's iterator.

        Within an epoch that is divided into other batches than before (by another batch size, number of processes,
        seed or data-bin), go on after the same share of it, and say in one line that utterances come twice or not.
        """
        _continue_early_stopping(state.get("early_stopping"))
        self.epoch = state["epoch"]
        done, before, now = state.get("iterations_in_epoch", 0), state.get("batches"), len(self)
        if done and before and (before, state.get("digest")) != (now, self._digest()):
            updates = round(done * now / before / self.batches_per_update)
            skipped = min(updates * self.batches_per_update, now - self.batches_per_update)
            logger.warning(
                "epoch %d was left after %d of %d batches and is now divided anew: it goes on after %d of %d, so that "
                "some of its utterances come twice and others not at all; to avoid that, resume with the same batch "
                "size, --update-freq, number of processes, --seed and data-bin",
                self.epoch, done, before, skipped, now,
            )  # fmt: skip
            state = {**state, "iterations_in_epoch": max(0, skipped)}
        super().load_state_dict(state)

    def _digest(self) -> int:
        """Return a checksum of the utterances of every batch of the epoch, before fairseq shuffles the batches."""
        if self._checksum is None:
            self._checksum = self.frozen_batches.digest(self.seed & 0xFFFFFFFF)
        return self._checksum


def end_workers(finished: EpochBatchIterator) -> None:
    """Release the data loader of an epoch that is over, which ends its worker processes and frees its memory.

    fairseq's iterator and its sampler refer to each other, so that otherwise both live until the garbage collector
    finds them. It may first run in a worker that a later epoch has forked: there it closes pipes and semaphores that
    belong to others, and the training dies of it.
    """
    finished.dataloader = finished._cur_epoch_itr = finished._next_epoch_itr = finished.collate_fn = None
    if isinstance(finished, TrainingBatches):
        finished.forget()


def _early_stopping() -> dict[str, Any] | None:
    """Return what fairseq remembers for ``--patience``: the best score, and the validations since then."""
    function = _should_stop_early()
    if not hasattr(function, "best"):
        return None
    return {"best": float(function.best), "num_runs": int(function.num_runs)}


def _continue_early_stopping(stored: dict[str, Any] | None) -> None:
    function = _should_stop_early()
    if stored is not None and function is not None:
        function.best, function.num_runs = stored["best"], stored["num_runs"]


def _should_stop_early() -> Any:
    """Return the function that counts for ``--patience``, in attributes of its own; None outside ``fairseq-train``."""
    return getattr(sys.modules.get("fairseq_cli.train"), "should_stop_early", None)


def reports_saves() -> bool:
    """Tell whether this fairseq calls ``post_save``, as ve-fairseq 0.12.3 does and fairseq 0.12.2 does not."""
    loop = getattr(sys.modules.get("fairseq_cli.train"), "validate_and_save", None)
    return loop is None or "post_save" in loop.__code__.co_names


class ResumableTask(FairseqTask):
    """Base of tasks whose training can be stopped, where the launcher has named the file for it, and resumed."""

    _score: float | None = None
    """Of the last validation, where fairseq has one."""
    _is_scored = False

    def __init__(self, cfg: FairseqDataclass, **kwargs: Any) -> None:
        super().__init__(cfg, **kwargs)
        self._stop_mark = stop_mark()
        self._training_batches: EpochBatchIterator | None = None
        self._updates = 0
        if self._stop_mark is not None:
            listen(STOP_SIGNAL, signal.SIGTERM)

    @exits_in_one_line
    def build_model(self, cfg: FairseqDataclass, from_checkpoint: bool = False) -> Any:
        """Build a model; for a training, first check the folder of its checkpoints."""
        if not from_checkpoint:
            check_save_folder(self.cfg)
            # Otherwise the first process sends the others what it has read, which torch 2.6 refuses to unpack there.
            root = fairseq_configuration(self.cfg)
            if "checkpoint" in root:
                root.checkpoint.load_checkpoint_on_all_dp_ranks = True
                refuse_no_checkpoint(root.checkpoint)
            if "ema" in root and root.ema.store_ema:
                refuse_without_average(root.checkpoint)
            if "checkpoint" in root and hasattr(self, "kind"):
                refuse_other_outputs(root.checkpoint, self.labels, self.kind)
            if "checkpoint" in root:
                refuse_other_speakers(root.checkpoint, self.cfg)
        return super().build_model(cfg, from_checkpoint)

    @exits_in_one_line
    def build_criterion(self, cfg: Any, from_checkpoint: bool = False) -> FairseqCriterion:
        """Build the criterion.

        Raises:
            UserError: none was named, or that of another task.
        """
        own = self.cfg._name
        if own in _OF_ONE_TASK and cfg._name in _OF_ONE_TASK and cfg._name != own:
            raise UserError(f"--criterion {cfg._name} does not fit --task {own}; give --criterion {own}")
        return super().build_criterion(cfg, from_checkpoint)

    def get_batch_iterator(self, dataset: Any, **kwargs: Any) -> EpochBatchIterator:
        """Return fairseq's iterator.

        That of the training set first ends the last epoch's workers, and stores what fairseq forgets.
        """
        if dataset.shuffle and self._training_batches is not None:
            end_workers(self._training_batches)
        iterator = super().get_batch_iterator(dataset, **kwargs)
        if dataset.shuffle:
            self._training_batches = iterator
            if type(iterator) is EpochBatchIterator:
                # fairseq builds the iterator itself and offers no way to have another class built.
                iterator.__class__ = TrainingBatches
                iterator.batches_per_update = self.batches_per_update(kwargs.get("epoch", 1))
        return iterator

    def batches_per_update(self, epoch: int) -> int:
        """Return the value of ``--update-freq`` in an epoch, from 1."""
        update_freq = self.cfg.update_freq
        return int(update_freq[min(epoch, len(update_freq)) - 1])

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
        """Make fairseq's step, and add to the logging output whether this rank was asked to stop."""
        loss, size, logging_output = super().train_step(
            sample, model, criterion, optimizer, update_num, ignore_grad, **kwargs
        )
        if self._stop_mark is not None:
            self._updates = update_num + 1
            logging_output[REQUESTS] = int(stop_requested())
        return loss, size, logging_output

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: nn.Module) -> None:
        """Log as fairseq does, then stop if any rank was asked to."""
        super().reduce_metrics(logging_outputs, criterion)
        if sum(float(output.get(REQUESTS, 0)) for output in logging_outputs):
            self._stop()

    def _stop(self) -> None:
        """Let fairseq stop after this update, unless it is the last of the epoch or of training: those end with a
        validation that must not be lost.
        """
        fairseq = fairseq_configuration(self.cfg)
        assert self._stop_mark is not None and self._training_batches is not None
        finished = 0 < fairseq.optimization.max_update <= self._updates
        if finished or self._training_batches.end_of_epoch():
            return
        logger.info("asked to stop: saving after %d updates", self._updates)
        fairseq.optimization.stop_time_hours = _AT_ONCE
        # There may be seconds left only, and the undisturbed run would not validate here either.
        fairseq.dataset.validate_after_updates = self._updates + 1
        if fairseq.distributed_training.distributed_rank == 0:
            self._stop_mark.write_text(f"{self._updates}\n", encoding="utf-8")

    def begin_valid_epoch(self, epoch: int, model: nn.Module) -> None:
        """Prepare for a validation, whose first subset gives the score."""
        super().begin_valid_epoch(epoch, model)
        self._score, self._is_scored = None, False
        kept = fairseq_configuration(self.cfg).checkpoint.keep_best_checkpoints
        if kept > 1 and not reports_saves():
            logger.warning("--keep-best-checkpoints %d: this fairseq keeps fewer than so many", kept)

    @exits_in_one_line
    def post_validate(self, model: nn.Module, stats: dict[str, Any], aggregator: Any) -> None:
        """Take a score of NaN out of the statistics of a validation, as if there had been no validation.

        Of NaN and a number, fairseq takes either for the better one, and overwrites ``checkpoint_best.pt`` with the
        next model, whatever its score.

        Raises:
            SystemExit: one line, when ``--best-checkpoint-metric`` is not among the statistics.
        """
        checkpoint = fairseq_configuration(self.cfg).checkpoint
        name = checkpoint.best_checkpoint_metric
        if name not in stats:
            known = ", ".join(key for key in stats if not key.startswith(("_", "best_")))
            raise UserError(f"--best-checkpoint-metric {name}: validation does not give it; it gives {known}")
        if self._is_scored:
            return
        self._is_scored = True
        score = float(stats[name])
        if math.isnan(score):
            logger.warning("validation gave no value of %s: it neither selects a checkpoint nor counts as one", name)
            stats[name] = None
        else:
            self._score = score

    def post_save(self, path: str, updates: int) -> None:
        """Keep a copy of a saved checkpoint among the best ones while there are fewer than were asked for.

        fairseq itself keeps a checkpoint only if it is better than the worst that is kept, even if only one is kept.
        """
        checkpoint = fairseq_configuration(self.cfg).checkpoint
        if self._score is not None and checkpoint.keep_best_checkpoints > 0:
            _keep_among_best(Path(path), checkpoint, self._score)


def _keep_among_best(path: Path, checkpoint: DictConfig, score: float) -> None:
    stem = f"checkpoint.best_{checkpoint.best_checkpoint_metric}_"
    kept = list(Path(checkpoint.save_dir).glob(f"{stem}*.pt"))
    is_kept = any(one.stat().st_mtime_ns >= path.stat().st_mtime_ns for one in kept)
    if is_kept or len(kept) >= checkpoint.keep_best_checkpoints:
        return
    # fairseq tells checkpoints of the same score apart by a last digit.
    names = (path.with_name(f"{stem}{score:.3f}{digit}.pt") for digit in range(10))
    target = next((name for name in names if not name.exists()), None)
    if target is not None:
        with replaced_when_complete(target) as temporary:
            shutil.copyfile(path, temporary)
