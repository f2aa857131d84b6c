"""Make folds that leave speakers out, one, a session or a group at a time, or as a file says; and nested parts of the
training set.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import UserError
from ..core.files import read_rows
from ..core.names import PROTOCOLS, counted
from ..core.rng import Stream, uniform
from .corpus import Corpus
from .manifest import utterance_uid

SPEAKERS, SESSIONS, GROUPS = "speakers", "sessions", "groups"
HELP = (
    "what a fold leaves out: speakers (one each), sessions (all who speak in one), groups:K (K groups of speakers with "
    "about equal utterances of each label; groups:K:SEED for other groups), or a file: JSON lines or CSV with id or "
    "speaker, fold and part (train, valid, test; without this column: test), or a folder in EmoBox's layout"
)
"""Help of the flag ``--folds``."""
PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Fold:
    """The speakers who test, validate and train in one fold.

    Attributes:
        number: from 1.
        test: what is left out: a speaker, a session, or ``group 2``.
        valid: the same for what selects the checkpoint; ``None`` if the protocol has none.
        train: the other speakers, in natural order.
        protocol: one of ``PROTOCOLS``.
        selected_on_test: the checkpoint is selected on the test speakers: its numbers are optimistic.
        test_speakers: the speakers who test.
        valid_speakers: the speakers who validate.
        uids: of a file of folds, the utterances of each part; otherwise all utterances of the speakers.
    """

    number: int
    test: str
    valid: str | None
    train: tuple[str, ...]
    protocol: str
    selected_on_test: bool
    test_speakers: tuple[str, ...]
    valid_speakers: tuple[str, ...]
    uids: Mapping[str, npt.NDArray[np.uint64]] = field(default_factory=dict, compare=False)

    def rows(self, corpus: Corpus, part: str) -> npt.NDArray[np.int64]:
        """Return the rows of ``train``, ``valid`` or ``test``, also those without an emotion.

        Raises:
            UserError: there is no such part, or the protocol has no validation.
        """
        speakers = {"train": self.train, "valid": self.valid_speakers, "test": self.test_speakers}.get(part)
        if speakers is None:
            raise UserError(f"subset '{part}': a fold has train, valid and test")
        if not speakers:
            raise UserError(
                f"protocol {self.protocol} has no validation speaker; "
                "train with --disable-validation and a fixed --max-epoch"
            )
        if self.uids:
            return np.flatnonzero(np.isin(corpus.uid, self.uids[part]))
        wanted = frozenset(speakers)
        chosen = np.array([*(speaker in wanted for speaker in corpus.speakers), False])  # -1: without a speaker
        return np.flatnonzero(chosen[corpus.speaker])


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort names with the numbers inside them by value: ``Actor_2`` before ``Actor_10``."""

    def key(name: str) -> tuple[list[str | int], str]:
        parts = re.split(r"(\d+)", name)
        return [int(part) if place % 2 else part for place, part in enumerate(parts)], name

    return sorted(names, key=key)


def folds_of(corpus: Corpus, labelled: npt.NDArray[np.bool_], folding: str, protocol: str) -> list[Fold]:
    """Return the folds of a data-bin.

    Args:
        corpus: the open data-bin.
        labelled: (n,) true for utterances with one of the emotions that are told apart.
        folding: ``speakers``, ``sessions``, ``groups:K``, ``groups:K:SEED``, or a path of a file of folds.
        protocol: see :func:`make_folds`.

    Raises:
        UserError: too few speakers, sessions or groups, or a file that does not fit or leaks a speaker.
    """
    sessions: dict[str, set[str]] = {}
    for speaker, session in set(zip(corpus.speaker[labelled].tolist(), corpus.session[labelled].tolist(), strict=True)):
        sessions.setdefault(corpus.speakers[speaker], set()).add(corpus.sessions[session])
    kind, _, asked = folding.partition(":")
    if kind == SPEAKERS and not asked:
        return make_folds(sessions, protocol)
    if kind == SESSIONS and not asked:
        return unit_folds(_by_session(sessions), protocol)
    if kind == GROUPS:
        numbers = asked.split(":")
        if not asked or len(numbers) > 2 or not all(map(str.isdecimal, numbers)):
            raise UserError(f"--folds {folding}: give groups:K or groups:K:SEED, such as groups:5")
        # Utterances of other targets may have no emotion; they are balanced as one more.
        emotions = np.where(corpus.emotion < 0, len(corpus.meta.labels), corpus.emotion)
        width = len(corpus.meta.labels) + int((corpus.emotion[labelled] < 0).any())
        counts = {
            corpus.speakers[code]: np.bincount(emotions[labelled & (corpus.speaker == code)], minlength=width)
            for code in np.unique(corpus.speaker[labelled])
        }
        return unit_folds(speaker_groups(counts, *map(int, numbers)), protocol)
    if not Path(folding).exists():
        raise UserError(f"--folds {folding}: give speakers, sessions, groups:K, or a file of folds that exists")
    return folds_from_file(Path(folding), corpus, labelled, protocol)


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
    speakers = natural_order(speaker_sessions)
    _refuse_too_few("speaker", speakers, speakers, protocol)
    return unit_folds({name: (name,) for name in speakers}, protocol, _partners(speaker_sessions))


def unit_folds(
    units: Mapping[str, Sequence[str]], protocol: str, partners: Mapping[str, str] | None = None
) -> list[Fold]:
    """Return one fold per unit of speakers; ``strict`` validates on its partner or on the next unit.

    Args:
        units: the speakers of each unit (a speaker, a session, a group), in order; nobody is in two of them.
        protocol: one of ``PROTOCOLS``.
        partners: of some units, the one that validates.

    Raises:
        UserError: an unknown protocol, a speaker without a name, or too few units.
    """
    names = list(units)
    _refuse_too_few("group or session", names, [one for speakers in units.values() for one in speakers], protocol)
    folds = []
    for number, test in enumerate(names, start=1):
        following = names[number % len(names)]
        valid = {
            "strict": (partners or {}).get(test, following),
            "all_but_one": None,
            "reference": test,
        }[protocol]
        train = natural_order(one for name in names if name not in (test, valid) for one in units[name])
        validating = tuple(units[valid]) if valid is not None else ()
        folds.append(Fold(number, test, valid, tuple(train), protocol, valid == test, tuple(units[test]), validating))
    return folds


def speaker_groups(
    counts: Mapping[str, npt.NDArray[np.integer]], groups: int, seed: int = 0
) -> dict[str, tuple[str, ...]]:
    """Divide speakers into groups with about equal numbers of utterances of each label.

    The largest speakers come first; each goes where it adds least to the squared shares of the labels, and equal places
    are drawn.

    Args:
        counts: (labels,) utterances of every speaker.
        groups: their number.
        seed: of the draws; another one gives other groups.

    Raises:
        UserError: fewer than two groups, or more than speakers.
    """
    if not 2 <= groups <= len(counts):
        raise UserError(
            f"--folds groups:{groups}: give 2 groups or more, and not more than the {counted(len(counts), 'speaker')}"
        )
    names = natural_order(counts)
    shares = np.stack([counts[name] for name in names]).astype(np.float64)
    shares /= np.maximum(shares.sum(axis=0), 1)
    random = np.random.default_rng(seed)
    order = np.lexsort((random.permutation(len(names)), -shares.sum(axis=1)))
    held = np.zeros((groups, shares.shape[1]))
    members: list[list[str]] = [[] for _ in range(groups)]
    for speaker in order:
        added = (shares[speaker] * (2 * held + shares[speaker])).sum(axis=1)
        # An empty group first: a speaker without the labels of the others would cost nothing anywhere.
        added += [1e6 * bool(one) for one in members] if sum(map(bool, members)) < groups else 0
        best = np.flatnonzero(np.isclose(added, added.min()))
        chosen = int(best[random.integers(len(best))])
        held[chosen] += shares[speaker]
        members[chosen].append(names[speaker])
    return {f"group {number}": tuple(natural_order(one)) for number, one in enumerate(members, start=1)}


def folds_from_file(path: Path, corpus: Corpus, labelled: npt.NDArray[np.bool_], protocol: str) -> list[Fold]:
    """Read a file of folds, or a folder in EmoBox's layout.

    A row names an utterance (``id``; EmoBox: ``key``, or the name of ``wav``) or a ``speaker``, the ``fold``, and its
    ``part``: without this column all rows test. What a fold does not name trains, unless it names some that train.
    Without validation in the file, ``strict`` takes what the next fold tests.

    Raises:
        UserError: an unreadable row, no utterance of the data-bin, a part that is missing, or a speaker who is tested
            and also trains or validates.
    """
    listed = _listed_uids(path, corpus)
    everything = corpus.uid[labelled]
    folds, names = [], natural_order(listed)
    if protocol == "strict" and len(names) < 3 and not all("valid" in listed[name] for name in names):
        raise UserError(f"{path}: protocol strict needs 3 folds, or a part valid in each; it has {len(names)}")
    for number, name in enumerate(names, start=1):
        parts = listed[name]
        uids = {"test": parts.get("test", np.empty(0, np.uint64)), "valid": parts.get("valid", np.empty(0, np.uint64))}
        if protocol == "reference":
            uids["valid"] = uids["test"]
        elif protocol == "strict" and "valid" not in parts:
            uids["valid"] = listed[names[number % len(names)]].get("test", np.empty(0, np.uint64))
        elif protocol == "all_but_one":
            # What would validate trains.
            parts = {**parts, "train": np.concatenate([parts["train"], uids["valid"]])} if "train" in parts else parts
            uids["valid"] = np.empty(0, np.uint64)
        train = parts.get("train", everything)
        uids["train"] = train[~np.isin(train, np.concatenate([uids["test"], uids["valid"]]))]
        folds.append(_fold_of_uids(path, corpus, number, name, uids, protocol))
    return folds


def _fold_of_uids(
    path: Path,
    corpus: Corpus,
    number: int,
    name: str,
    uids: Mapping[str, npt.NDArray[np.uint64]],
    protocol: str,
) -> Fold:
    """Return a fold of a file, after looking for speakers in two of its parts."""
    rows = {part: np.flatnonzero(np.isin(corpus.uid, uids[part])) for part in PARTS}
    speakers = {part: {corpus.speakers[code] for code in np.unique(corpus.speaker[rows[part]])} for part in PARTS}
    if any("" in of_part for of_part in speakers.values()):
        raise UserError(f"{path}: fold {name} has utterances without a speaker; fill the manifest's column speaker")
    for part in ("test", "train"):
        if not len(rows[part]):
            raise UserError(f"{path}: fold {name} has no utterance of the data-bin to {part}; name some")
    others = speakers["train"] if protocol == "reference" else speakers["train"] | speakers["valid"]
    if leaking := natural_order(speakers["test"] & others):
        shown = ", ".join(leaking[:3])
        raise UserError(
            f"{path}: fold {name} leaks: {len(leaking)} of its test speakers also train or validate, such as {shown}; "
            "put all utterances of a speaker into one part"
        )
    if protocol == "strict" and not len(rows["valid"]):
        raise UserError(f"{path}: fold {name} has nothing to validate on; name a part valid, or take another protocol")
    tested = tuple(natural_order(speakers["test"]))
    validating = tuple(natural_order(speakers["valid"]))
    valid = {0: None, 1: next(iter(validating), None)}.get(len(validating), f"valid of fold {name}")
    return Fold(
        number,
        tested[0] if len(tested) == 1 else f"fold {name}",
        valid,
        tuple(natural_order(speakers["train"])),
        protocol,
        protocol == "reference",
        tested,
        validating,
        dict(uids),
    )


def _listed_uids(path: Path, corpus: Corpus) -> dict[str, dict[str, npt.NDArray[np.uint64]]]:
    """Return the utterances of the data-bin that a file names, by fold and part."""
    known = set(corpus.uid.tolist())
    speakers = {name: code for code, name in enumerate(corpus.speakers)}
    found: dict[str, dict[str, list[int]]] = {}
    for place, row in _fold_rows(path):
        fold, part = str(row.get("fold", "")).strip(), str(row.get("part") or "test").strip()
        part = {"dev": "valid", "validation": "valid", "eval": "test"}.get(part, part)
        if not fold or part not in PARTS:
            raise UserError(f"{place}: fold {fold!r}, part {part!r}; give a fold, and train, valid or test")
        uids = found.setdefault(fold, {}).setdefault(part, [])
        if row.get("speaker") not in (None, "") and not row.get("id"):
            if (code := speakers.get(str(row["speaker"]))) is None:
                raise UserError(f"{place}: speaker {row['speaker']} is not in {corpus.path}")
            uids += corpus.uid[corpus.speaker == code].tolist()
            continue
        names = [str(row[key]) for key in ("id", "key") if row.get(key)]
        names += [PurePosixPath(str(row["wav"])).stem] if row.get("wav") else []
        if not names:
            raise UserError(f"{place}: no id and no speaker; name an utterance or a speaker in every row")
        uids += [uid for uid in map(utterance_uid, names) if uid in known][:1]
    if not any(uids for parts in found.values() for uids in parts.values()):
        raise UserError(f"{path}: names no utterance of {corpus.path}; its ids must be those of the manifest")
    return {
        fold: {part: np.array(uids, dtype=np.uint64) for part, uids in parts.items()} for fold, parts in found.items()
    }


def _fold_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the place and the fields of every row; of EmoBox's folder with fold and part from the files' names."""
    if path.is_dir():
        files = sorted(path.glob("fold_*/*.jsonl"))
        named = [(file, re.search(r"_(train|valid|dev|test)_fold_", file.name)) for file in files]
        if not any(match for _, match in named):
            raise UserError(f"{path}: no fold_1/*_test_fold_1.jsonl there; give a file of folds or EmoBox's folder")
        for file, match in named:
            if match:
                beside = {"fold": file.parent.name.removeprefix("fold_"), "part": match[1]}
                yield from ((place, {**row, **beside}) for place, row in _fold_rows(file))
        return
    yield from read_rows(path)


def choose_fold(folds: Sequence[Fold], number: int) -> Fold:
    """Return the fold of that number.

    Raises:
        UserError: there is none; the message lists what they test.
    """
    for fold in folds:
        if fold.number == number:
            return fold
    listed = ", ".join(f"{fold.number} {fold.test}" for fold in folds)
    raise UserError(f"fold {number} does not exist; the folds are numbered by what they test: {listed}")


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


def _refuse_too_few(kind: str, units: Sequence[str], speakers: Sequence[str], protocol: str) -> None:
    if protocol not in PROTOCOLS:
        raise UserError(f'protocol "{protocol}" is unknown; choose from {", ".join(PROTOCOLS)}')
    if "" in speakers:
        raise UserError(
            "some utterances have no speaker; fill the manifest's column speaker or take its own split, fold 0"
        )
    needed = 3 if protocol == "strict" else 2
    if len(units) < needed:
        known = f"{len(units)} ({', '.join(units)})" if units else "none"
        raise UserError(f"protocol {protocol} needs at least {needed} {kind}s, the corpus has {known}")


def _by_session(speaker_sessions: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Return the speakers of every session.

    Raises:
        UserError: a speaker is in no session or in several, so that leaving one out would not leave the speaker out.
    """
    members: dict[str, list[str]] = {}
    for speaker in natural_order(speaker_sessions):
        sessions = speaker_sessions[speaker]
        names = [name for name in sessions if name]
        if len(names) != 1:
            raise UserError(
                f"--folds sessions: speaker {speaker!r} is in {len(names)} sessions "
                f"({', '.join(natural_order(names)) or 'none'}); give each speaker one, or take groups:K"
            )
        members.setdefault(names[0], []).append(speaker)
    return {name: natural_order(members[name]) for name in natural_order(members)}


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
