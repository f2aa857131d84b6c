"""The masking of words: exact probabilities over 20 000 utterances."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from memobert_plugin.core.errors import UserError
from memobert_plugin.core.rng import Stream
from memobert_plugin.objectives.draws import Draws, ordinary_pieces
from memobert_plugin.objectives.words import MaskedText, mask_text

DRAWS = 20_000
LENGTHS = (1, 2, 3, 5, 10, 20, 36, 64)
UIDS = np.random.default_rng(0).integers(0, 2**64, DRAWS, dtype=np.uint64)
PROBABILITY = 0.15
CLS, PAD, SEP, UNK, MASK = range(5)
SPECIAL = (CLS, PAD, SEP, MASK)
TEXT_IDS = range(5, 100)
REPLACEMENTS = (100, 200)


@dataclass(frozen=True)
class Words:
    """One text: the pieces of each word."""

    sizes: tuple[int, ...]

    @property
    def starts(self) -> list[int]:
        return [int(piece == 0) for size in self.sizes for piece in range(size)]


def words_of(pieces: int) -> Words:
    """Words of 1, 2, 3, 1, 2, 3 ... pieces, the last cut to fit."""
    sizes: list[int] = []
    while sum(sizes) < pieces:
        sizes.append(min(len(sizes) % 3 + 1, pieces - sum(sizes)))
    return Words(tuple(sizes))


def mask(
    ids: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    uids: np.ndarray = UIDS,
    mode: str = "whole_word",
    seed: int = 1,
    update: int = 1,
    probability: float = PROBABILITY,
    replacement_range: tuple[int, int] = REPLACEMENTS,
    special_ids: Collection[int] = SPECIAL,
) -> MaskedText:
    return mask_text(
        ids,
        starts,
        lengths,
        Draws(seed, update, Stream.TEXT_MASK, uids),
        mode=mode,
        probability=probability,
        mask_index=MASK,
        replacements=np.array([piece for piece in range(*replacement_range) if piece not in special_ids]),
        special_ids=special_ids,
    )


@functools.cache
def mask_everywhere(words: Words, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Mask the same text for all utterances: (draws, pieces) whether a piece is a target, and the ids shown."""
    pieces = sum(words.sizes)
    ids = np.resize(np.array(TEXT_IDS, dtype=np.int32), pieces)
    masked = mask(
        np.tile(ids, DRAWS), np.tile(np.array(words.starts, np.uint8), DRAWS), np.full(DRAWS, pieces), mode=mode
    )
    assert (np.diff(masked.targets) > 0).all()
    targets = np.zeros(DRAWS * pieces, dtype=bool)
    targets[masked.targets] = True
    shown = np.tile(ids, DRAWS)
    shown[masked.targets] = masked.replacements
    return targets.reshape(DRAWS, pieces), shown.reshape(DRAWS, pieces)


def assert_share(observed: np.ndarray, expected: float, message: str = "") -> None:
    """``observed`` (draws, ...) booleans have the expected mean, within five standard errors."""
    error = np.sqrt(max(expected * (1 - expected), 1e-12) / len(observed))
    assert np.abs(observed.mean(axis=0) - expected).max() < 5 * error, message


def units_of(pieces: int, mode: str) -> Words:
    return words_of(pieces) if mode == "whole_word" else Words((1,) * pieces)


@pytest.mark.parametrize("mode", ["whole_word", "piece"])
@pytest.mark.parametrize("pieces", LENGTHS)
class TestStatistics:
    def test_units_are_chosen_whole_with_the_probability_and_at_least_one(self, pieces: int, mode: str) -> None:
        targets, _ = mask_everywhere(words_of(pieces), mode)
        units = units_of(pieces, mode).sizes
        first = np.cumsum(units) - units
        chosen = targets[:, first]
        assert (np.repeat(chosen, units, axis=1) == targets).all()
        assert chosen.any(axis=1).all()
        none = (1 - PROBABILITY) ** len(units)
        assert_share(chosen, PROBABILITY + none / len(units))

    def test_the_number_of_units_is_binomial_with_none_counted_as_one(self, pieces: int, mode: str) -> None:
        targets, _ = mask_everywhere(words_of(pieces), mode)
        units = units_of(pieces, mode).sizes
        numbers = targets[:, np.cumsum(units) - units].sum(axis=1)
        binomial = stats.binom(len(units), PROBABILITY)
        for number in range(len(units) + 1):
            expected = binomial.pmf(number) * (number > 0) + binomial.pmf(0) * (number == 1)
            assert_share(numbers == number, expected, f"{number} units")

    def test_80_10_10_of_the_chosen_units_are_masked_replaced_and_kept(self, pieces: int, mode: str) -> None:
        targets, shown = mask_everywhere(words_of(pieces), mode)
        units = np.array(units_of(pieces, mode).sizes)
        first = np.cumsum(units) - units
        is_mask = shown == MASK
        is_replaced = (shown >= REPLACEMENTS[0]) & (shown < REPLACEMENTS[1])
        is_text = ~is_mask & ~is_replaced
        for kind, share in ((is_mask & targets, 0.8), (is_replaced & targets, 0.1), (is_text & targets, 0.1)):
            assert (np.repeat(kind[:, first], units, axis=1) == kind).all(), "a unit has one fate in all its pieces"
            assert_share(kind[:, first][targets[:, first]], share)
        assert is_text[~targets].all()


@pytest.mark.parametrize("mode", ["whole_word", "piece"])
def test_replacements_are_equally_likely_among_the_ids_that_are_not_special_and_independent(mode: str) -> None:
    special = (CLS, PAD, SEP, MASK, 17, 29)
    ids = np.full(2 * DRAWS, 300)
    masked = mask(
        ids,
        np.tile([1, 0], DRAWS),
        np.full(DRAWS, 2),
        mode=mode,
        probability=1.0,
        replacement_range=(2, 30),
        special_ids=special,
    )
    assert len(masked.targets) == 2 * DRAWS
    replaced = (masked.replacements != 300) & (masked.replacements != MASK)
    drawn = masked.replacements[replaced]
    allowed = sorted(set(range(2, 30)) - set(special))
    assert set(drawn.tolist()) == set(allowed)
    assert stats.chisquare([np.sum(drawn == piece) for piece in allowed]).pvalue > 1e-4
    if mode == "whole_word":
        pairs = drawn.reshape(-1, 2)
        same = pairs[:, 0] == pairs[:, 1]
        assert_share(same, 1 / len(allowed))


@pytest.mark.parametrize("mode", ["whole_word", "piece"])
def test_special_symbols_inside_a_text_are_never_targets_and_never_drawn(mode: str) -> None:
    text = np.array([CLS, 7, MASK, SEP, PAD, UNK])
    starts = np.array([1, 1, 0, 1, 1, 1], dtype=np.uint8)
    masked = mask(np.tile(text, DRAWS), np.tile(starts, DRAWS), np.full(DRAWS, 6), mode=mode, replacement_range=(0, 30))
    targets = np.bincount(masked.targets % 6, minlength=6)
    assert (targets[[0, 2, 3, 4]] == 0).all()
    # Two units can be chosen: the word of 7 (its second piece is special) and [UNK], an ordinary piece.
    expected = PROBABILITY + (1 - PROBABILITY) ** 2 / 2
    assert np.abs(targets[[1, 5]] / DRAWS - expected).max() < 5 * np.sqrt(expected * (1 - expected) / DRAWS)
    assert len(np.unique(masked.targets // 6)) == DRAWS
    assert not np.isin(masked.replacements, [CLS, PAD, SEP]).any()


def test_a_text_of_special_symbols_only_and_an_empty_one_have_no_target() -> None:
    masked = mask(np.array([SEP, MASK, 9]), np.array([1, 1, 1]), np.array([0, 2, 0, 1, 0]), UIDS[:5])
    assert masked.targets.tolist() == [2]
    empty = mask(np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(2, np.int32), UIDS[:2])
    assert len(empty.targets) == len(empty.replacements) == 0
    nobody = mask(np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(0, np.int32), UIDS[:0])
    assert len(nobody.targets) == 0


def test_a_text_that_begins_inside_a_word_begins_a_word_of_its_own() -> None:
    starts = np.array([1, 0, 0, 0])
    masked = mask(np.full(4, 9), starts, np.array([2, 2]), UIDS[:2], probability=1e-9)
    assert masked.targets.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("mode", ["whole_word", "piece"])
def test_the_masks_of_an_utterance_do_not_depend_on_its_batch(mode: str) -> None:
    random = np.random.default_rng(1)
    lengths = np.concatenate([[0, 512, 1], random.integers(0, 40, 61)])
    texts = [random.integers(0, 100, length) for length in lengths]
    starts = [(random.random(length) < 0.7).astype(np.uint8) for length in lengths]

    def masks_in(order: list[int]) -> dict[int, tuple[list[int], list[int]]]:
        masked = mask(
            np.concatenate([texts[i] for i in order]),
            np.concatenate([starts[i] for i in order]),
            lengths[order],
            UIDS[order],
            mode=mode,
        )
        ends = np.cumsum(lengths[order])
        found = {}
        for i, end in zip(order, ends, strict=True):
            inside = (masked.targets >= end - lengths[i]) & (masked.targets < end)
            found[i] = (
                (masked.targets[inside] - (end - lengths[i])).tolist(),
                masked.replacements[inside].tolist(),
            )
        return found

    together = masks_in(list(range(64)))
    assert masks_in(random.permutation(64).tolist()) == together
    assert masks_in([1, 5]) == {i: together[i] for i in (1, 5)}
    for i in range(64):
        assert masks_in([i]) == {i: together[i]}


def test_masks_change_with_the_update_and_with_the_seed() -> None:
    ids, starts, lengths = np.full(640, 9), np.ones(640), np.full(32, 20)

    def drawn(seed: int, update: int) -> list[int]:
        return mask(ids, starts, lengths, UIDS[:32], seed=seed, update=update).targets.tolist()

    assert drawn(1, 1) == drawn(1, 1)
    assert len({str(drawn(seed, update)) for seed in (1, 2) for update in (1, 2, 3)}) == 6


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "words"}, "word masking 'words' is unknown; choose from whole_word, piece"),
        ({"probability": 0.0}, "share of words"),
        ({"probability": 1.5}, "share of words"),
        ({"replacement_range": (0, 3)}, "no piece of the dictionary"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        mask(np.full(4, 9), np.ones(4), np.array([4]), UIDS[:1], **wrong)


def test_random_pieces_are_never_special_or_unused() -> None:
    """BERT's vocabulary has about a thousand ``[unused…]`` rows, fairseq pads dictionaries with made-up words."""
    symbols = [
        "[CLS]", "[PAD]", "[SEP]", "[UNK]", "[unused0]", "[MASK]", "[unused993]", "[", "]", "the", "##s", "<s>", "</s>",
        "<mask>", "<", ">", "<0x0A>", "\u2581<", "madeupword0000", "[SPEAKER]", "...",
    ]  # fmt: skip
    allowed = ordinary_pieces(symbols)
    assert [symbols[row] for row in allowed] == ["[", "]", "the", "##s", "<", ">", "\u2581<", "..."]
    masked = mask_text(
        np.full(DRAWS, symbols.index("the")),
        np.ones(DRAWS, dtype=np.int64),
        np.ones(DRAWS, dtype=np.int64),
        Draws(1, 1, Stream.TEXT_MASK, UIDS),
        mode="whole_word",
        probability=1.0,
        mask_index=5,
        replacements=allowed,
        special_ids=(0, 1, 2, 5),
    )
    assert set(masked.replacements.tolist()) == {5, *allowed.tolist()}
