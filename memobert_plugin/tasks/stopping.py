"""Stop a training when it is asked to, on all ranks after the same update.

fairseq handles no signals. But in every update it calls two methods of a task: ``train_step``, whose logging output is
summed over ranks, and ``reduce_metrics``, which gets the sums. A rank that was asked to stop therefore adds one to a
count, and every rank sees the same total after the same update. fairseq then looks at its own configuration to decide
whether training ends here; being over ``stop_time_hours`` is one of the reasons it knows. Setting that makes it save
``checkpoint_last.pt`` in the middle of the epoch and return as usual; nothing of it is replaced.
"""

from __future__ import annotations

import logging
import signal
from typing import Any

from fairseq.criterions import FairseqCriterion
from fairseq.data.iterators import EpochBatchIterator
from fairseq.dataclass import FairseqDataclass
from torch import Tensor, nn

from ..core.errors import UserError, exits_in_one_line
from ..core.signals import STOP_SIGNAL, listen, stop_mark, stop_requested
from .resuming import ResumableTask, TrainingBatches, fairseq_configuration
from .utterance_dataset import UtteranceDataset


def end_workers(finished: EpochBatchIterator) -> None:
    """Release the data loader of an epoch that is over, which ends its worker processes and frees its memory.

    fairseq's iterator and its sampler refer to each other, so that otherwise both live until the garbage collector
    finds them. It may first run in a worker that a later epoch has forked: there it closes pipes and semaphores that
    belong to others, and the training dies of it.
    """
    finished.dataloader = finished._cur_epoch_itr = finished._next_epoch_itr = finished.collate_fn = None
    if isinstance(finished, TrainingBatches):
        finished.forget()


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


class StoppableTask(ResumableTask):
    """Base of tasks that can be stopped, if the launcher has named the file for it (see
    :mod:`memobert_plugin.core.signals`).
    """

    def __init__(self, cfg: FairseqDataclass, **kwargs: Any) -> None:
        super().__init__(cfg, **kwargs)
        self._stop_mark = stop_mark()
        self._training_batches: EpochBatchIterator | None = None
        self._updates = 0
        if self._stop_mark is not None:
            listen(STOP_SIGNAL, signal.SIGTERM)

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

    def get_batch_iterator(self, dataset: UtteranceDataset, **kwargs: Any) -> EpochBatchIterator:
        """Return fairseq's iterator; remember that of the training set, to know where an epoch and its worker processes
        end.
        """
        if dataset.shuffle and self._training_batches is not None:
            end_workers(self._training_batches)
        iterator = super().get_batch_iterator(dataset, **kwargs)
        if dataset.shuffle:
            self._training_batches = iterator
        return iterator

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
