"""Keep the utterances of a dialogue together and in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.errors import UserError
from ..data.corpus import Corpus


@dataclass(frozen=True)
class Dialogues:
    """Items of a dataset as dialogues: a batch holds whole ones, their utterances in the order in which they are said.

    Attributes:
        items: of each dialogue, in order.
        read: (items,) bool, False for utterances that are context only.
    """

    items: Sequence[npt.NDArray[np.int64]]
    read: npt.NDArray[np.bool_]


def in_dialogues(corpus: Corpus, rows: np.ndarray, context: np.ndarray) -> tuple[npt.NDArray[np.int64], Dialogues]:
    """Return the rows of all dialogues with one of ``rows``, ordered, and these dialogues.

    Args:
        corpus: the open data-bin.
        rows: utterances that are read.
        context: further utterances that may be seen.

    Raises:
        UserError: the data-bin does not say which utterances follow each other.
    """
    if corpus.order is None or (corpus.order[0][rows] < 0).any():
        raise UserError(
            f"--dialogues: {corpus.path} does not say which utterances follow each other; give its manifest start and "
            "video or audio (files of whole dialogues), and binarize it with this version"
        )
    dialogue, start = corpus.order
    seen = np.union1d(rows, context)
    seen = seen[np.isin(dialogue[seen], dialogue[rows])]
    ordered = seen[np.lexsort((seen, start[seen], dialogue[seen]))].astype(np.int64)
    ends = np.flatnonzero(np.diff(dialogue[ordered])) + 1
    return ordered, Dialogues(np.split(np.arange(len(ordered)), ends), np.isin(ordered, rows))
