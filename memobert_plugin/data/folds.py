"""Make folds that leave one speaker out, and nested parts of the training set."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.errors import UserError
from ..core.names import PROTOCOLS
from ..core.rng import Stream, uniform


@dataclass(frozen=True)
class Fold:
    """The speakers of one fold.

    Attributes:
        number: from 1.
        test: the speaker left out.
        valid: the speaker whose utterances select the checkpoint; ``None`` if the protocol has none.
        train: all others, in natural order.
        protocol: one of ``PROTOCOLS``.
        selected_on_test: the checkpoint is selected on the test speaker: its numbers are optimistic.
    """

    number: int
    test: str
    valid: str | None
    train: tuple[str, ...]
    protocol: str
    selected_on_test: bool


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort names with the numbers inside them by value: ``Actor_2`` before ``Actor_10``."""

    def key(name: str) -> tuple[list[str | int], str]:
        parts = re.split(r"(\d+)", name)
        return [int(part) if place % 2 else part for place, part in enumerate(parts)], name

    return sorted(names, key=key)


def make_folds(speaker_sessions: Mapping[str, Collection[str]], protocol: str) -> list[Fold]:
    """Return one fold per speaker, in natural order.

    Args:
        speaker_sessions: the sessions of every speaker; empty names do not count.
        protocol: ``strict`` validates on the other speaker of a two-speaker session, or on the next speaker in natural
            order (after the last comes the first) for one heard in no session, in several, or in one of another size;
            ``all_but_one`` trains on everybody but the test speaker and has no validation; ``reference`` validates on
            the test speaker, as the published numbers do.

    Raises:
        UserError: an unknown protocol, a speaker without a name, or too few speakers.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f'protocol "{protocol}" is unknown; choose from {", ".join(PROTOCOLS)}')
    if "" in speaker_sessions:
        raise UserError(
            "some utterances have no speaker; fill the manifest's column speaker or take its own split, fold 0"
        )
    speakers = natural_order(speaker_sessions)
    needed = 3 if protocol == "strict" else 2
    if len(speakers) < needed:
        known = f"{len(speakers)} ({', '.join(speakers)})" if speakers else "none"
        raise UserError(f"protocol {protocol} needs at least {needed} speakers, the corpus has {known}")
    partners = _partners(speaker_sessions)
    folds = []
    for number, test in enumerate(speakers, start=1):
        valid = {
            "strict": partners.get(test, speakers[number % len(speakers)]),
            "all_but_one": None,
            "reference": test,
        }[protocol]
        train = tuple(speaker for speaker in speakers if speaker not in (test, valid))
        folds.append(Fold(number, test, valid, train, protocol, selected_on_test=valid == test))
    return folds


def choose_fold(folds: Sequence[Fold], number: int) -> Fold:
    """Return the fold of that number.

    Raises:
        UserError: there is none; the message lists the test speakers.
    """
    for fold in folds:
        if fold.number == number:
            return fold
    listed = ", ".join(f"{fold.number} {fold.test}" for fold in folds)
    raise UserError(f"fold {number} does not exist; the folds are numbered by test speaker: {listed}")


def train_fraction(
    uids: npt.NDArray[np.uint64], labels: npt.NDArray[np.integer], fraction: float, seed: int
) -> npt.NDArray[np.int64]:
    """Choose ceil(``fraction`` n) of the n utterances of each label.

    Each label's utterances are ordered by draws from the seed and their identities, and the first are taken. A smaller
    part is therefore inside every larger one of the same seed, whatever the order of the arrays.

    Args:
        uids: (n,) utterance identities.
        labels: (n,) label codes.
        fraction: in (0, 1].
        seed: of the subset, not of the run.

    Returns:
        Ascending indices into ``uids``.

    Raises:
        UserError: the fraction is outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise UserError(f"the fraction of the training set must be above 0 and at most 1, not {fraction}")
    order = np.lexsort((uids, uniform(seed, 0, Stream.TRAIN_FRACTION, uids, 0), labels))
    _, first, count = np.unique(labels[order], return_index=True, return_counts=True)
    # 0.1 * 30 and the like may come out just above a whole number.
    taken = np.ceil(fraction * count - 1e-9)
    rank = np.arange(len(order)) - np.repeat(first, count)
    return np.sort(order[rank < np.repeat(taken, count)])


def _partners(speaker_sessions: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return the other speaker for every speaker who is in one session only, if that has two speakers."""
    sessions_of = {speaker: {name for name in sessions if name} for speaker, sessions in speaker_sessions.items()}
    speakers_of: dict[str, list[str]] = {}
    for speaker, sessions in sessions_of.items():
        for session in sessions:
            speakers_of.setdefault(session, []).append(speaker)
    partners = {}
    for speaker, sessions in sessions_of.items():
        others = [other for session in sessions for other in speakers_of[session] if other != speaker]
        if len(sessions) == 1 and len(others) == 1:
            partners[speaker] = others[0]
    return partners
