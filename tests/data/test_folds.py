"""Folds: who tests, validates and trains under each protocol; parts of the training set."""

from __future__ import annotations

import itertools
import json
import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.core.names import PROTOCOLS
from memobert_plugin.data.folds import (
    Fold,
    choose_fold,
    folds_of,
    make_folds,
    natural_order,
    speaker_groups,
    train_fraction,
)
from memobert_plugin.data.manifest import utterance_uid

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


def corpus_like(speakers: list[str], sessions: list[str], emotions: np.ndarray, ids: list[str]) -> Any:
    """A data-bin as folds see it, for utterances with these speakers and sessions."""
    names, labels = natural_order(set(speakers)), [f"e{number}" for number in range(int(emotions.max()) + 1)]
    session_names = natural_order(set(sessions))
    return SimpleNamespace(
        path=Path("bin"),
        meta=SimpleNamespace(labels=labels),
        speakers=names,
        sessions=session_names,
        speaker=np.array([names.index(name) for name in speakers]),
        session=np.array([session_names.index(name) for name in sessions]),
        emotion=emotions,
        uid=np.array([utterance_uid(identity) for identity in ids], dtype=np.uint64),
    )


def random_corpus(rng: np.random.Generator) -> Any:
    """A manifest of some speakers, two to a session, with few or many utterances each."""
    count = int(rng.integers(3, 13))
    numbers = rng.integers(0, count, int(rng.integers(count, 40)))
    numbers = np.concatenate([np.arange(count), numbers])
    sessions = [f"ses{number // 2}" for number in numbers]
    emotions = rng.integers(-1, 4, len(numbers))
    emotions[:count] = 0  # everybody has a labelled utterance
    return corpus_like([f"s{number}" for number in numbers], sessions, emotions, list(map(str, range(len(numbers)))))


def assert_nobody_leaks(corpus: Any, folds: list[Fold], protocol: str) -> None:
    tested: list[str] = []
    for fold in folds:
        parts = {}
        for part in ("train", "test", *(["valid"] if fold.valid_speakers else [])):
            parts[part] = {corpus.speakers[code] for code in corpus.speaker[fold.rows(corpus, part)]}
        assert parts["test"] == set(fold.test_speakers) and not parts["test"] & parts["train"]
        assert not parts.get("valid", set()) & parts["train"]
        assert protocol == "reference" or not parts.get("valid", set()) & parts["test"]
        assert set().union(*parts.values()) == set(corpus.speakers)
        tested += fold.test_speakers
    assert sorted(tested) == sorted(corpus.speakers)


def test_folds_of_ten_thousand_random_manifests_leak_no_speaker(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    for number in range(10_000):
        corpus = random_corpus(rng)
        units = len(corpus.speakers)
        groups = int(rng.integers(3, units + 1))
        folding = ("speakers", "sessions", f"groups:{groups}", f"groups:{groups}:{number}")[number % 4]
        protocol = list(PROTOCOLS)[number % 3]
        if folding == "sessions" and len(corpus.sessions) < 3:
            continue
        folds = folds_of(corpus, corpus.emotion >= 0, folding, protocol)
        assert_nobody_leaks(corpus, folds, protocol)


def test_sessions_are_left_out_whole() -> None:
    speakers = [name for name in IEMOCAP for _ in range(3)]
    corpus = corpus_like(speakers, [name[:5] for name in speakers], np.zeros(30, int), list(map(str, range(30))))
    folds = folds_of(corpus, corpus.emotion >= 0, "sessions", "strict")
    assert [fold.test for fold in folds] == [f"Ses0{number}" for number in range(1, 6)]
    assert folds[4].valid == "Ses01" and folds[0].test_speakers == ("Ses01F", "Ses01M") and len(folds[0].train) == 6
    with pytest.raises(UserError, match="speaker 'a' is in 0 sessions"):
        folds_of(
            corpus_like(list("abc"), [""] * 3, np.zeros(3, int), list("123")), np.ones(3, bool), "sessions", "strict"
        )


def test_groups_are_balanced_by_label_and_follow_from_the_seed() -> None:
    rng = np.random.default_rng(3)
    counts = {f"s{number}": rng.integers(0, 60, 4) for number in range(20)}
    groups = speaker_groups(counts, 5)
    assert groups == speaker_groups(counts, 5) and groups != speaker_groups(counts, 5, seed=1)
    held = np.stack([sum(counts[name] for name in members) for members in groups.values()])
    assert np.abs(held / held.sum(axis=0) - 0.2).max() < 0.07


@pytest.mark.parametrize(
    "folding", ["groups", "groups:", "groups:x", "groups:1", "groups:9", "groups:3:x", "missing.csv"]
)
def test_unknown_folds_are_refused(folding: str) -> None:
    corpus = corpus_like(list("abcd"), [""] * 4, np.zeros(4, int), list("1234"))
    with pytest.raises(UserError, match=f"--folds {folding}: give"):
        folds_of(corpus, corpus.emotion >= 0, folding, "strict")


FILES = {
    "speakers.csv": "speaker,fold\na,1\nb,2\nc,3\nd,3\n",
    "ids.jsonl": "".join(
        f'{{"id": "{who}{n}", "fold": {fold}}}\n' for fold, who in enumerate("abc", 1) for n in (0, 1)
    ),
    "parts.csv": "id,fold,part\na0,1,test\nb0,1,valid\nc0,1,train\nc1,1,train\n",
}


def four_speakers() -> Any:
    ids = [f"{name}{number}" for name in "abcd" for number in range(2)]
    return corpus_like([identity[0] for identity in ids], [""] * 8, np.zeros(8, int), ids)


@pytest.mark.parametrize("name", FILES)
def test_files_of_folds(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name])
    corpus = four_speakers()
    first, *others = folds_of(corpus, corpus.emotion >= 0, str(tmp_path / name), "strict")
    assert first.test_speakers == ("a",) and first.valid_speakers == ("b",)
    trains = [4, 5] if name == "parts.csv" else [4, 5, 6, 7]
    assert first.rows(corpus, "train").tolist() == trains and len(others) == (0 if name == "parts.csv" else 2)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "leak.csv",
            "id,fold,part\na0,1,test\na1,1,train\nb0,1,valid\n",
            "fold 1 leaks: 1 of its test speakers also .* as a",
        ),
        ("leak.jsonl", '{"id": "a0", "fold": 1, "part": "valid"}\n{"id": "a1", "fold": 1}\n', "fold 1 leaks"),
        ("few.csv", "speaker,fold\na,1\nb,2\n", "protocol strict needs 3 folds, or a part valid in each"),
        ("who.csv", "speaker,fold\nx,1\n", "row 2: speaker x is not in bin"),
        ("none.csv", "id,fold\nx,1\n", "names no utterance of bin"),
        ("part.csv", "id,fold,part\na0,1,middle\n", "part 'middle'; give a fold, and train, valid or test"),
        ("bare.csv", "utterance,fold\na0,1\n", "no id and no speaker"),
        ("broken.jsonl", "{", "cannot be read as JSON lines or CSV"),
        ("list.jsonl", "[1]\n", "no JSON object"),
    ],
)
def test_files_that_leak_or_do_not_fit_are_refused_in_one_line(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    corpus = four_speakers()
    with pytest.raises(UserError, match=message) as caught:
        folds_of(corpus, corpus.emotion >= 0, str(tmp_path / name), "strict")
    assert "\n" not in str(caught.value)


def test_emobox_folders_are_folds(tmp_path: Path) -> None:
    """Keys have the corpus' name before them; the sound file's name is the manifest's id."""
    for fold, tested in enumerate("abc", start=1):
        folder = tmp_path / f"fold_{fold}"
        folder.mkdir()
        for part in ("train", "test"):
            ids = [f"{name}{number}" for name in "abcd" for number in range(2) if (name == tested) == (part == "test")]
            lines = [json.dumps({"key": f"toy-{one}", "wav": f"audio/{one}.wav", "emo": "Sad"}) for one in ids]
            (folder / f"toy_{part}_fold_{fold}.jsonl").write_text("\n".join(lines) + "\n")
    corpus = four_speakers()
    folds = folds_of(corpus, corpus.emotion >= 0, str(tmp_path), "strict")
    assert [(fold.test, fold.valid, fold.train) for fold in folds] == [
        ("a", "b", ("c", "d")), ("b", "c", ("a", "d")), ("c", "a", ("b", "d")),
    ]  # fmt: skip


@pytest.mark.skipif("MEMOBERT_TEST_DATA" not in os.environ, reason="MEMOBERT_TEST_DATA names no corpora")
@pytest.mark.parametrize("name", ["ravdess", "cremad"])
def test_emoboxs_own_folds_of_ravdess_fit_and_those_of_crema_d_leak(name: str) -> None:
    """EmoBox divides CREMA-D by utterances: all 91 speakers are in both parts."""
    folder = Path(os.environ["MEMOBERT_TEST_DATA"], "emobox", name)
    rows = [json.loads(line) for file in sorted(folder.glob("fold_1/*.jsonl")) for line in file.open()]
    stems = [Path(row["wav"]).stem for row in rows]
    speakers = [stem.split("-")[-1] if name == "ravdess" else stem.split("_")[0] for stem in stems]
    corpus = corpus_like(speakers, [""] * len(stems), np.zeros(len(stems), int), stems)
    if name == "cremad":
        with pytest.raises(UserError, match="fold 1 leaks: 91 of its test speakers also train"):
            folds_of(corpus, corpus.emotion >= 0, str(folder), "all_but_one")
        return
    found = folds_of(corpus, corpus.emotion >= 0, str(folder), "strict")
    assert len(found) == 6 and len({one for fold in found for one in fold.test_speakers}) == 24
