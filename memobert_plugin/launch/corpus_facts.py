"""What a sweep must know of its data-bins before it starts: speakers, labels, folds and a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.corpus import Corpus
from ..data.folds import choose_fold, make_folds
from ..errors import UserError

MANIFEST_SPLIT = 0
"""The number of the fold that is the manifest's own split."""


@dataclass(frozen=True)
class TestPart:
    """Whom a fold tests.

    Attributes:
        number: the fold's.
        speaker: the test speaker; empty for the manifest's own split.
        speakers: everybody who speaks in the test part.
    """

    number: int
    speaker: str
    speakers: frozenset[str]


@dataclass(frozen=True)
class EmotionCorpus:
    """The corpus on which emotion is recognised.

    Attributes:
        labels: the emotions told apart.
        sha256: of identities, emotions and speakers, so that results of different corpora are never mixed up.
        folds: those asked for.
    """

    labels: tuple[str, ...]
    sha256: str
    folds: tuple[TestPart, ...]


def read_emotion_corpus(path: Path, labels: Sequence[str], protocol: str, folds: Sequence[int]) -> EmotionCorpus:
    """Open the data-bin and work its folds out as the tasks will.

    Args:
        path: of the data-bin.
        labels: emotions to tell apart; none for all of the data-bin.
        protocol: see :func:`memobert_plugin.data.folds.make_folds`.
        folds: numbers; none for all.

    Raises:
        UserError: no data-bin, an emotion or a fold that it has not.
    """
    corpus = Corpus(path)
    known = corpus.meta.labels
    if unknown := [name for name in labels if name not in known]:
        raise UserError(f"{path}: has no emotion {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    chosen = tuple(labels) or tuple(known)
    codes = [known.index(name) for name in chosen]
    labelled = np.isin(corpus.emotion, codes)
    digest = hashlib.sha256()
    for name in ("uid", "emotion", "speaker"):
        digest.update((path / f"{name}.npy").read_bytes())
    return EmotionCorpus(chosen, digest.hexdigest(), tuple(_test_parts(corpus, labelled, protocol, folds)))


def read_speakers(paths: Sequence[Path]) -> frozenset[str]:
    """Everybody who speaks in these data-bins."""
    return frozenset(name for path in paths for name in Corpus(path).speakers if name)


def _test_parts(corpus: Corpus, labelled: np.ndarray, protocol: str, numbers: Sequence[int]) -> list[TestPart]:
    parts = []
    if MANIFEST_SPLIT in numbers:
        if "test" not in corpus.splits:
            raise UserError(f"{corpus.path}: the split column has no 'test'; give folds of at least 1")
        tested = labelled & (corpus.split == corpus.splits.index("test"))
        speakers = frozenset(corpus.speakers[code] for code in np.unique(corpus.speaker[tested]))
        parts.append(TestPart(MANIFEST_SPLIT, "", speakers))
    wanted = [number for number in numbers if number != MANIFEST_SPLIT]
    if numbers and not wanted:
        return parts
    sessions: dict[str, set[str]] = {}
    for speaker, session in set(zip(corpus.speaker[labelled].tolist(), corpus.session[labelled].tolist(), strict=True)):
        sessions.setdefault(corpus.speakers[speaker], set()).add(corpus.sessions[session])
    folds = make_folds(sessions, protocol)
    chosen = [choose_fold(folds, number) for number in wanted] if wanted else folds
    return parts + [TestPart(fold.number, fold.test, frozenset([fold.test])) for fold in chosen]
