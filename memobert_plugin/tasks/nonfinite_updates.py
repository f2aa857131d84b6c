"""Skip updates whose gradients are NaN or infinite; name and count them, and end training after too many in a row."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from fairseq.logging import metrics
from torch import Tensor

from ..core.errors import UserError
from ..optim.adamw import MEmoBERTAdamW

logger = logging.getLogger(__name__)

_NAMED = 20

NamesOfRows = Callable[[Sequence[int]], list[str]]
"""Rows of the training set to the ids of their utterances."""


class MicroBatch(NamedTuple):
    """The facts about a batch that are needed once its gradients are known."""

    objective: str
    rows: Tensor
    """Rows of the training set, ``(B,)``."""
    loss: Tensor
    """A scalar, on whatever device: looking at it is put off until something is wrong."""


class NonfiniteUpdates:
    """Judge of every update of a run, by the norm of its gradients, which fairseq computes alike on all ranks.

    fairseq alone would end the training at the first such update, without naming its utterances. This is for float32
    and bfloat16; the loss scale handles overflows of float16, and ``--amp`` has its own.
    """

    def __init__(self, limit: int, micro_batches: int) -> None:
        """End the training after ``limit`` such updates in a row; each update sums ``micro_batches`` batches."""
        self._limit = limit
        self._batches: deque[MicroBatch] = deque(maxlen=micro_batches)
        self._in_a_row = 0
        self.skipped = 0

    def watch(self, optimizer: Any, batch: MicroBatch) -> None:
        """Remember a batch of the coming update, and let the optimizer wait for the verdict on it."""
        self._batches.append(batch)
        own = _unscaled(optimizer)
        if own is not None:
            own.skips_nonfinite = True

    def allow(self, optimizer: Any, update: int, names: NamesOfRows) -> bool:
        """Tell whether the update may be made.

        Args:
            optimizer: fairseq's.
            update: its number, from 0.
            names: gives the ids of utterances.

        Raises:
            UserError: it may not, and neither might the updates before it.
        """
        own = _unscaled(optimizer)
        if own is None or own.gradients_are_finite:
            self._in_a_row = 0
            return True
        self._in_a_row += 1
        self.skipped += 1
        for batch in self._culprits():
            logger.warning(
                "update %d is left out (%d in a row): loss %g and NaN or infinite gradients in %s of %s",
                update, self._in_a_row, float(batch.loss), batch.objective, _listed(names(batch.rows.tolist())),
            )  # fmt: skip
        metrics.log_scalar("skipped_updates", self.skipped, priority=700, round=0, weight=0)
        if self._in_a_row >= self._limit:
            raise UserError(
                f"{self._in_a_row} updates in a row had NaN or infinite gradients (the last is named above), so the "
                f"training ends; lower --lr or --clip-norm, or look at those utterances; --max-nonfinite-updates "
                f"allows more"
            )
        return False

    def _culprits(self) -> list[MicroBatch]:
        """Return the batches whose loss is not finite; all of this rank's if all losses are finite."""
        finite = torch.stack([batch.loss.float() for batch in self._batches]).isfinite().tolist()
        bad = [batch for batch, well in zip(self._batches, finite, strict=True) if not well]
        return bad or list(self._batches)


def _unscaled(optimizer: Any) -> MEmoBERTAdamW | None:
    """Return this project's optimizer, bare or inside one of fairseq's for bfloat16; None where a loss scale is in
    charge.
    """
    if isinstance(optimizer, MEmoBERTAdamW):
        return optimizer
    if getattr(optimizer, "scaler", optimizer) is not None:
        return None
    inner = getattr(optimizer, "fp32_optimizer", None) or getattr(optimizer, "wrapped_optimizer", None)
    return inner if isinstance(inner, MEmoBERTAdamW) else None


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
