"""Folds: who tests, validates and trains under each protocol; parts of the training set."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.core.names import PROTOCOLS
from memobert_plugin.data.folds import choose_fold, make_folds, natural_order, train_fraction

IEMOCAP = {f"Ses0{session}{sex}": [f"Ses0{session}"] for session in range(1, 6) for sex in "FM"}
ACTORS = {f"Actor_{number}": [""] for number in (1, 10, 2, 3)}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_speaker_is_tested_once_in_natural_order(protocol: str) -> None:
    folds = make_folds(ACTORS, protocol)
    assert [fold.number for fold in folds] == [1, 2, 3, 4]
    assert [fold.test for fold in folds] == ["Actor_1", "Actor_2", "Actor_3", "Actor_10"]
    assert {fold.protocol for fold in folds} == {protocol}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nobody_trains_who_tests_or_validates_and_everybody_else_does(protocol: str) -> None:
    for fold in make_folds(IEMOCAP, protocol):
        assert set(fold.train) == set(IEMOCAP) - {fold.test, fold.valid}
        assert len(fold.train) == len(set(fold.train))
        assert list(fold.train) == natural_order(fold.train)


def test_strict_validates_on_the_other_speaker_of_a_two_speaker_session() -> None:
    for fold in make_folds(IEMOCAP, "strict"):
        assert fold.valid == fold.test[:-1] + {"F": "M", "M": "F"}[fold.test[-1]]
        assert len(fold.train) == 8
        assert not fold.selected_on_test


def test_strict_without_sessions_validates_on_the_next_speaker_and_after_the_last_on_the_first() -> None:
    valid = {fold.test: fold.valid for fold in make_folds(ACTORS, "strict")}
    assert valid == {"Actor_1": "Actor_2", "Actor_2": "Actor_3", "Actor_3": "Actor_10", "Actor_10": "Actor_1"}


def test_strict_takes_the_next_speaker_for_sessions_of_another_size_and_for_speakers_in_several() -> None:
    sessions = {"a": ["trio"], "b": ["trio"], "c": ["trio"], "d": ["duo", "solo"], "e": ["duo"], "f": ["alone"]}
    valid = {fold.test: fold.valid for fold in make_folds(sessions, "strict")}
    assert valid == {"a": "b", "b": "c", "c": "d", "d": "e", "e": "d", "f": "a"}


def test_an_empty_session_name_beside_a_real_one_does_not_count() -> None:
    folds = make_folds({"a": ["one", ""], "b": [""], "c": ["one"]}, "strict")
    assert {fold.test: fold.valid for fold in folds} == {"a": "c", "b": "c", "c": "a"}


def test_all_but_one_has_no_validation() -> None:
    fold = make_folds(IEMOCAP, "all_but_one")[0]
    assert fold.valid is None
    assert len(fold.train) == 9
    assert not fold.selected_on_test


def test_reference_validates_on_the_test_speaker_and_says_so() -> None:
    for fold in make_folds(IEMOCAP, "reference"):
        assert fold.valid == fold.test
        assert fold.selected_on_test
        assert len(fold.train) == 9


@pytest.mark.parametrize(("protocol", "needed"), [("strict", 3), ("all_but_one", 2), ("reference", 2)])
def test_too_few_speakers_are_refused(protocol: str, needed: int) -> None:
    speakers: dict[str, list[str]] = {f"s{number}": [] for number in range(needed)}
    assert len(make_folds(speakers, protocol)) == needed
    speakers.popitem()
    with pytest.raises(UserError, match=f"{protocol} needs at least {needed} speakers, the corpus has .*s0"):
        make_folds(speakers, protocol)
    with pytest.raises(UserError, match="the corpus has none"):
        make_folds({}, protocol)


def test_an_unknown_protocol_and_a_nameless_speaker_are_refused() -> None:
    with pytest.raises(UserError, match='protocol "loose" is unknown; choose from strict, all_but_one, reference'):
        make_folds(IEMOCAP, "loose")
    with pytest.raises(UserError, match="some utterances have no speaker"):
        make_folds({**IEMOCAP, "": []}, "strict")


def test_a_fold_out_of_range_is_refused_with_the_list_of_speakers() -> None:
    folds = make_folds(ACTORS, "strict")
    assert choose_fold(folds, 4).test == "Actor_10"
    for number in (0, 5, -1):
        with pytest.raises(
            UserError, match=f"fold {number} does not exist.*1 Actor_1, 2 Actor_2, 3 Actor_3, 4 Actor_10"
        ):
            choose_fold(folds, number)


def test_natural_order_compares_numbers_by_value() -> None:
    assert natural_order(["s10", "s9", "s", "10", "9a", "s09"]) == ["9a", "10", "s", "s09", "s9", "s10"]


RANDOM = np.random.default_rng(1)
UIDS = RANDOM.integers(0, 2**64, 1_000, dtype=np.uint64)
LABELS = RANDOM.choice(4, size=1_000, p=[0.6, 0.3, 0.09, 0.01])


@pytest.mark.parametrize("fraction", [0.001, 0.1, 1 / 3, 0.8, 1.0])
def test_a_fraction_keeps_the_rounded_up_share_of_every_label(fraction: float) -> None:
    kept = train_fraction(UIDS, LABELS, fraction, seed=1)
    assert (np.diff(kept) > 0).all()
    for label in range(4):
        assert np.sum(LABELS[kept] == label) == math.ceil(round(fraction * np.sum(label == LABELS), 6))


def test_the_share_of_a_whole_number_is_not_rounded_up_further() -> None:
    uids, labels = UIDS[:300], np.zeros(300, dtype=np.int16)
    for tenths in range(1, 11):
        assert len(train_fraction(uids, labels, tenths / 10, seed=1)) == 30 * tenths


def test_smaller_fractions_are_inside_larger_ones() -> None:
    parts = [set(train_fraction(UIDS, LABELS, fraction, seed=3)) for fraction in (0.1, 0.2, 0.4, 0.8, 1.0)]
    for smaller, larger in itertools.pairwise(parts):
        assert smaller < larger
    assert parts[-1] == set(range(1_000))


def test_the_same_utterances_are_kept_whatever_their_order_and_others_with_another_seed() -> None:
    kept = set(UIDS[train_fraction(UIDS, LABELS, 0.2, seed=1)])
    order = np.random.default_rng(2).permutation(1_000)
    assert set(UIDS[order][train_fraction(UIDS[order], LABELS[order], 0.2, seed=1)]) == kept
    assert set(UIDS[train_fraction(UIDS, LABELS, 0.2, seed=2)]) != kept


def test_every_utterance_is_as_likely_as_any_other_of_its_label() -> None:
    times = np.zeros(1_000)
    seeds = 400
    for seed in range(seeds):
        times[train_fraction(UIDS, LABELS, 0.5, seed)] += 1
    common = LABELS == 0
    share = np.ceil(0.5 * common.sum()) / common.sum()
    assert np.abs(times[common] / seeds - share).max() < 5 * np.sqrt(share * (1 - share) / seeds)


def test_no_utterances_give_no_indices() -> None:
    assert len(train_fraction(UIDS[:0], LABELS[:0], 0.5, seed=1)) == 0


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match="fraction of the training set"):
        train_fraction(UIDS, LABELS, fraction, seed=1)
