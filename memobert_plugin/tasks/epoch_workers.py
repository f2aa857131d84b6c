"""The processes that load an epoch's batches, and the memory that they load them into, end with the epoch."""

from __future__ import annotations

from fairseq.data.iterators import EpochBatchIterator


def end_workers(finished: EpochBatchIterator) -> None:
    """Let go of the data loader of an epoch that is over, which ends its worker processes and frees its memory.

    The host's iterator and its sampler refer to each other, so that otherwise both live until the garbage collector
    finds them. It may first run in a worker that a later epoch has forked: there it closes pipes and
    semaphores that belong to others, and the training dies of it.
    """
    finished.dataloader = finished._cur_epoch_itr = finished._next_epoch_itr = finished.collate_fn = None
