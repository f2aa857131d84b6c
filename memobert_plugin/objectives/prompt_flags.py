"""Read the flags of the prompted objectives: which streams are shown, and how frequent each emotion is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.errors import UserError
from ..core.names import MODALITY_CASES

RAREST = 1e-4
"""The least share of an emotion that a prior is fitted to."""
_PRIOR_STEPS = 100


def parse_views(flag: str, text: str) -> list[str]:
    """Return modality cases, each as often as its weight says, of a text such as ``l la=2``.

    Raises:
        UserError: an unknown case, a weight that is no whole number from 1 on, or nothing at all.
    """
    views: list[str] = []
    for entry in text.split():
        case, _, weight = entry.partition("=")
        if case not in MODALITY_CASES or not (weight or "1").isdecimal() or not int(weight or 1):
            raise UserError(
                f"--{flag} {text!r}: {entry!r} is no modality case with a weight; give entries such as la=2, of "
                f"{', '.join(MODALITY_CASES)}"
            )
        views += [case] * int(weight or 1)
    if not views:
        raise UserError(f"--{flag}: empty; name at least one of {', '.join(MODALITY_CASES)}")
    return views


def parse_shares(text: str, labels: Sequence[str]) -> Tensor | None:
    """Return each label's share ``(C,)`` of a text such as ``anger=1 sadness=2``; None for ``start``.

    Raises:
        UserError: a label is missing, unknown or named twice, or a weight is not positive.
    """
    if text.strip() == "start":
        return None
    if text.strip() == "equal":
        return torch.full((len(labels),), 1 / len(labels))
    weights = [(name, _positive(weight)) for name, _, weight in (entry.partition("=") for entry in text.split())]
    if sorted(name for name, _ in weights) != sorted(labels) or not all(weight for _, weight in weights):
        raise UserError(
            f"--co-prompting-shares {text!r}: give start, equal, or a weight above 0 for each of {', '.join(labels)}, "
            "such as anger=1"
        )
    by_label = dict(weights)
    found = torch.tensor([by_label[label] for label in labels])
    return found / found.sum()


def _positive(text: str) -> float:
    """Return a positive finite number; 0 for anything else."""
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if 0 < number < float("inf") else 0.0


def prior_of_shares(answers: Tensor, streams: Tensor, shares: Tensor) -> Tensor:
    """Return log p(e) for which the products of the answers from single streams have given shares in the mean.

    Args:
        answers: ``(n, C)``, log-probabilities summed over an utterance's streams.
        streams: ``(n, 1)``, their number. An utterance of one stream keeps its answer whatever the prior.
        shares: ``(C,)``, with the sum 1.
    """
    log_prior = torch.zeros_like(shares)
    most = int(streams.max()) - 1
    for _ in range(_PRIOR_STEPS if most > 0 else 0):
        found = (answers - (streams - 1) * log_prior).softmax(dim=-1).mean(dim=0).clamp(min=RAREST / 100)
        # A step of iterative proportional fitting on the logits of the utterances that have all streams.
        log_prior = log_prior + (found.log() - shares.log()) / most
    return log_prior
