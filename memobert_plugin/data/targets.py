"""Say what a training predicts of an utterance: one emotion, several labels at once, or numbers such as valence.

A kind is a class of this file: which utterances have the target, and what a batch holds of it. Its loss and metrics are
in ``criterions/``, its scores in ``evaluation/metrics/``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..core.errors import UserError
from ..core.names import CLASSES, DIMENSION_NAMES, DIMENSIONS, LABEL_THRESHOLD, SEVERAL
from .votes import parse_labels

if TYPE_CHECKING:
    from .corpus import Corpus


class Target(ABC):
    """The target of a training.

    Attributes:
        kind: ``classes``, ``several`` or ``dimensions``.
        names: of the outputs, in order.
    """

    kind: ClassVar[str]
    names: Sequence[str]

    @abstractmethod
    def known(self, corpus: Corpus, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Tell of rows ``(n,)`` of a data-bin whether they have the target."""

    @abstractmethod
    def values(self, corpus: Corpus, rows: npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """Return the targets of rows that have one, as a batch holds them: ``(n,)`` or ``(n, names)``."""

    @abstractmethod
    def strata(self, corpus: Corpus, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Return codes ``(n,)`` within which a share of the training data is drawn."""

    @abstractmethod
    def line(self, truth: npt.NDArray[Any], outputs: Sequence[float]) -> dict[str, Any]:
        """Return label and prediction of an utterance for a line of JSON, from :meth:`values` and the outputs."""


@dataclass(frozen=True)
class OneEmotion(Target):
    """One emotion of each utterance.

    Attributes:
        names: the emotions.
        codes: for each of the data-bin's emotions the place in ``names``, -1 for none; the last entry stands for
            utterances without an emotion.
    """

    kind: ClassVar[str] = CLASSES
    names: Sequence[str]
    codes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, corpus: Corpus, names: Sequence[str]) -> OneEmotion:
        """Return the target of a data-bin.

        Raises:
            UserError: it lacks an emotion.
        """
        if missing := [label for label in names if label not in corpus.meta.labels]:
            raise UserError(
                f"{corpus.path}: has no utterance of {', '.join(missing)}, which the model tells apart; it has "
                f"{', '.join(corpus.meta.labels)}"
            )
        codes = [names.index(label) if label in names else -1 for label in corpus.meta.labels]
        return cls(names, np.array([*codes, -1], dtype=np.int64))

    def known(self, corpus: Corpus, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Tell which rows have one of the emotions."""
        return self.values(corpus, rows) >= 0

    def values(self, corpus: Corpus, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Return the places of the emotions in ``names``, ``(n,)``."""
        return self.codes[corpus.emotion[rows]]

    def strata(self, corpus: Corpus, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Return the emotions."""
        return self.values(corpus, rows)

    def line(self, truth: npt.NDArray[Any], outputs: Sequence[float]) -> dict[str, Any]:
        """Return the emotion, the likeliest one and all probabilities."""
        return {
            "label": self.names[int(truth)],
            "prediction": self.names[outputs.index(max(outputs))],
            "probabilities": dict(zip(self.names, outputs, strict=True)),
        }


@dataclass(frozen=True)
class SeveralLabels(Target):
    """Any number of labels of each utterance, at least one.

    Attributes:
        names: the labels that are told apart; others of an utterance do not count.
        sets: the data-bin's sets of labels as texts.
    """

    kind: ClassVar[str] = SEVERAL
    names: Sequence[str]
    sets: Sequence[str]

    @cached_property
    def _table(self) -> npt.NDArray[np.float32]:
        """Return 1 where a set has a label, ``(sets, names)``."""
        known = [set(parse_labels(text)) for text in self.sets]
        return np.array([[name in one for name in self.names] for one in known], np.float32)

    def known(self, corpus: Corpus, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Tell which rows have one of the labels."""
        return self.values(corpus, rows).any(axis=1)

    def values(self, corpus: Corpus, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Return 1 for each label of a row, ``(n, names)``."""
        assert corpus.label_sets is not None  # the sets come from this data-bin
        return self._table[corpus.label_sets[rows]]

    def strata(self, corpus: Corpus, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Return the sets of labels."""
        assert corpus.label_sets is not None
        return np.asarray(corpus.label_sets[rows], dtype=np.int64)

    def line(self, truth: npt.NDArray[Any], outputs: Sequence[float]) -> dict[str, Any]:
        """Return the labels, those given and all probabilities."""
        return {
            "label": [name for name, has in zip(self.names, truth, strict=True) if has],
            "prediction": [name for name, share in zip(self.names, outputs, strict=True) if share >= LABEL_THRESHOLD],
            "probabilities": dict(zip(self.names, outputs, strict=True)),
        }


@dataclass(frozen=True)
class Dimensions(Target):
    """Numbers such as valence, of which an utterance has all or does not count."""

    kind: ClassVar[str] = DIMENSIONS
    names: Sequence[str]

    def known(self, corpus: Corpus, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Tell which rows have all of the numbers."""
        return np.isfinite(self.values(corpus, rows)).all(axis=1)

    def values(self, corpus: Corpus, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Return the numbers, ``(n, names)``."""
        return np.stack([corpus.dimensions[name][rows] for name in self.names], axis=1)

    def strata(self, corpus: Corpus, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Return 0 for every row."""
        return np.zeros(len(rows), dtype=np.int64)

    def line(self, truth: npt.NDArray[Any], outputs: Sequence[float]) -> dict[str, Any]:
        """Return the numbers and those predicted."""
        return {
            "label": dict(zip(self.names, map(float, truth), strict=True)),
            "prediction": dict(zip(self.names, outputs, strict=True)),
        }


def target_of(corpus: Corpus, kind: str, names: Sequence[str]) -> Target:
    """Return the target of a kind in a data-bin.

    Args:
        corpus: the open data-bin.
        kind: ``classes``, ``several`` or ``dimensions``.
        names: of the outputs; none for all emotions or labels of the data-bin.

    Raises:
        UserError: the data-bin has no such targets.
    """
    if kind == DIMENSIONS:
        return Dimensions(asked_dimensions(corpus, ",".join(names)))
    if kind == SEVERAL:
        return SeveralLabels(asked_labels(corpus, ",".join(names)), corpus.meta.label_sets)
    return OneEmotion.of(corpus, names or corpus.meta.labels)


def asked_dimensions(corpus: Corpus, text: str) -> list[str]:
    """Return the names of ``--dimensions``, separated by commas or blanks.

    Raises:
        UserError: a name is repeated, or the data-bin has no such numbers.
    """
    names = text.replace(",", " ").split()
    known = list(corpus.meta.dimensions)
    if not names or len(set(names)) < len(names) or not set(names) <= set(known):
        told = ", ".join(known) or f"none; give its manifest the columns {', '.join(DIMENSION_NAMES)}"
        raise UserError(f"--dimensions {text}: {corpus.path} has {told}")
    return names


def asked_labels(corpus: Corpus, text: str) -> list[str]:
    """Return the labels of ``--several-labels``, all of the data-bin where ``text`` names none.

    Raises:
        UserError: the data-bin has no sets of labels, or no such label, or less than two are named.
    """
    known = sorted({name for one in corpus.meta.label_sets for name in parse_labels(one)})
    if not known:
        raise UserError(f"--several-labels: {corpus.path} has none; give its manifest the column labels")
    names = [name.strip() for name in text.split(",") if name.strip()] or known
    if len(known) < 2:
        raise UserError(f"--several-labels: {corpus.path} has {known[0]} only; two labels or more are needed")
    if len(set(names)) < max(len(names), 2) or not set(names) <= set(known):
        raise UserError(f"--labels {text!r}: {corpus.path} has {', '.join(known)}; name two or more of these")
    return names
