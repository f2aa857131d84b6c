"""The masking of frames: exact probabilities, or those of a plain simulation, over 20 000 utterances."""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from memobert_plugin.core.errors import UserError
from memobert_plugin.core.rng import Stream
from memobert_plugin.objectives.draws import Draws
from memobert_plugin.objectives.spans import FRAME_MASKING, MaskedFrames, mask_frames

DRAWS = 20_000
LENGTHS = (1, 2, 3, 5, 10, 20, 36, 64)
UIDS = np.random.default_rng(0).integers(0, 2**64, DRAWS, dtype=np.uint64)


def mask(
    lengths: np.ndarray,
    uids: np.ndarray = UIDS,
    mode: str = "span",
    ratio: float = 0.15,
    span_length: int = 3,
    seed: int = 1,
    update: int = 1,
    stream: int = Stream.VISUAL_MASK,
) -> MaskedFrames:
    return mask_frames(lengths, Draws(seed, update, stream, uids), mode=mode, ratio=ratio, span_length=span_length)


@dataclass(frozen=True)
class Drawn:
    """The masks of clips of one length, (draws, frames) each; ``sources`` counts inside the clip, -1 elsewhere."""

    targets: np.ndarray
    masked: np.ndarray
    replaced: np.ndarray
    sources: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        return self.targets & ~self.masked & ~self.replaced


@functools.cache
def draw(length: int, mode: str, ratio: float = 0.15, span_length: int = 3) -> Drawn:
    frames = mask(np.full(DRAWS, length, dtype=np.int32), mode=mode, ratio=ratio, span_length=span_length)
    for rows in (frames.targets, frames.masked, frames.replaced):
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all(), "rows ascend and none stands twice"
    assert (frames.sources // length == frames.replaced // length).all(), "sources lie in the same clip"
    flags = np.zeros((3, DRAWS * length), dtype=bool)
    for flag, rows in zip(flags, (frames.targets, frames.masked, frames.replaced), strict=True):
        flag[rows] = True
    assert not (flags[1] & flags[2]).any()
    assert not ((flags[1] | flags[2]) & ~flags[0]).any()
    assert flags[0].reshape(DRAWS, length).any(axis=1).all(), "every clip has a target"
    sources = np.full(DRAWS * length, -1)
    sources[frames.replaced] = frames.sources % length
    return Drawn(*(array.reshape(DRAWS, length) for array in (*flags, sources)))


def assert_share(observed: np.ndarray, expected: float | np.ndarray, message: str = "") -> None:
    """``observed`` (draws, ...) booleans have the expected means, within five standard errors."""
    expected = np.asarray(expected, dtype=float)
    error = np.sqrt(np.maximum(expected * (1 - expected), 1e-12) / len(observed))
    assert (np.abs(observed.mean(axis=0) - expected) < 5 * error).all(), message


def assert_parts_80_10_10(drawn: Drawn) -> None:
    """Of the frames in expectation, with the spread of whole utterances (frames of a span share their fate)."""
    targets = drawn.targets.sum(axis=1)
    for part, share in ((drawn.masked, 0.8), (drawn.replaced, 0.1), (drawn.kept, 0.1)):
        excess = part.sum(axis=1) - share * targets
        assert abs(excess.mean()) < 5 * excess.std() / math.sqrt(DRAWS)


def span_numbers(length: int, ratio: float) -> dict[int, float]:
    """The number of frames masked by ``span`` and its probabilities."""
    exact = Fraction(str(ratio)) * length
    below = math.floor(exact)
    numbers: dict[int, Fraction] = defaultdict(Fraction)
    for number, probability in ((below, 1 - (exact - below)), (below + 1, exact - below)):
        numbers[min(max(number, 1), length)] += probability
    return {number: float(probability) for number, probability in numbers.items() if probability}


def arrangements(frames: int, spans: int, rest: int, span_length: int, alone: int) -> int:
    """In how many orders whole spans, a remainder (length ``rest``) and single frames fill exactly so many frames."""
    remainders = 1 if rest else 0
    if spans * span_length + rest + alone != frames or min(spans, alone) < 0:
        return 0
    return math.factorial(spans + remainders + alone) // (math.factorial(spans) * math.factorial(alone))


def span_coverage(length: int, masked: int, span_length: int) -> np.ndarray:
    """The exact probability of each frame to be masked when all arrangements are equally likely."""
    spans, rest = divmod(masked, span_length)
    total = arrangements(length, spans, rest, span_length, length - masked)
    coverage = np.zeros(length)
    for kind in ({"size": span_length, "rest": 0}, {"size": rest, "rest": rest}):
        size = kind["size"]
        if not size or (not kind["rest"] and not spans):
            continue
        spans_left, rest_left = (spans, 0) if kind["rest"] else (spans - 1, rest)
        for start in range(length - size + 1):
            ways = 0
            for before, rest_before in itertools.product(range(spans_left + 1), {0, rest_left}):
                alone = start - before * span_length - rest_before
                after = length - start - size
                spans_after, rest_after = spans_left - before, rest_left - rest_before
                alone_after = after - spans_after * span_length - rest_after
                ways += arrangements(start, before, rest_before, span_length, alone) * arrangements(
                    after, spans_after, rest_after, span_length, alone_after
                )
            coverage[start : start + size] += ways / total
    return coverage


@pytest.mark.parametrize("length", LENGTHS)
class TestSpans:
    def test_the_number_of_targets_is_the_rounded_share_and_at_least_one(self, length: int) -> None:
        numbers = draw(length, "span").targets.sum(axis=1)
        expected = span_numbers(length, 0.15)
        assert set(numbers.tolist()) == set(expected)
        for number, probability in expected.items():
            assert_share(numbers == number, probability)

    def test_every_frame_is_a_target_as_often_as_if_all_arrangements_were_equally_likely(self, length: int) -> None:
        expected = sum(
            probability * span_coverage(length, number, 3) for number, probability in span_numbers(length, 0.15).items()
        )
        assert_share(draw(length, "span").targets, expected)

    def test_80_10_10_are_masked_replaced_and_kept(self, length: int) -> None:
        assert_parts_80_10_10(draw(length, "span"))

    def test_a_span_has_one_fate_and_one_stretch_of_sources(self, length: int) -> None:
        drawn = draw(length, "span")
        for clip in range(1_000):
            places = np.flatnonzero(drawn.targets[clip])
            for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
                if len(run) > 3:
                    continue  # Two spans that touch.
                flags = (drawn.masked[clip, run], drawn.replaced[clip, run], drawn.kept[clip, run])
                assert sum(flag.all() for flag in flags) == 1
                if drawn.replaced[clip, run[0]]:
                    sources = drawn.sources[clip, run]
                    assert (np.diff(sources) == 1).all()
                    assert (sources != run).all() or length == len(run)


def test_all_arrangements_of_spans_and_remainder_are_equally_likely() -> None:
    length, tokens = 10, ["long", "long", "rest", *["alone"] * 5]
    ways: Counter[tuple[int, ...]] = Counter()
    for arrangement in set(itertools.permutations(tokens)):
        flags = [flag for token in arrangement for flag in {"long": (1, 1), "rest": (1,), "alone": (0,)}[token]]
        ways[tuple(flags)] += 1
    assert sum(ways.values()) == math.factorial(8) // (math.factorial(2) * math.factorial(5))
    drawn = Counter(map(tuple, draw(length, "span", ratio=0.5, span_length=2).targets.astype(int).tolist()))
    assert set(drawn) == set(ways)
    expected = np.array(list(ways.values())) / sum(ways.values()) * DRAWS
    assert stats.chisquare([drawn[flags] for flags in ways], expected).pvalue > 1e-4


def test_a_replaced_span_shows_any_other_stretch_of_its_clip_equally_often() -> None:
    drawn = draw(10, "span", ratio=0.3)
    replaced = drawn.replaced.any(axis=1)
    pairs = Counter(zip(drawn.replaced[replaced].argmax(axis=1), drawn.sources[replaced].max(axis=1) - 2, strict=True))
    expected = list(itertools.permutations(range(8), 2))
    assert set(pairs) == set(expected)
    assert stats.chisquare([pairs[pair] for pair in expected]).pvalue > 1e-4


def test_a_replaced_span_that_is_the_whole_clip_shows_itself() -> None:
    for length, ratio in ((1, 0.15), (3, 1.0)):
        drawn = draw(length, "span", ratio=ratio)
        assert drawn.replaced.any()
        assert (drawn.sources == np.where(drawn.replaced, np.arange(length), -1)).all()


@pytest.mark.parametrize(("mode", "size"), [("span", 3), ("random", 1)])
def test_the_spans_of_a_clip_have_independent_fates_and_sources(mode: str, size: int) -> None:
    drawn = draw(60, mode, ratio=1.0, span_length=size)  # Spans everywhere: they begin at 0, size, 2 size ...
    masked, sources = drawn.masked[:, ::size], drawn.sources[:, ::size]
    assert_share(masked[:, 1:] & masked[:, :-1], 0.64)
    both = (sources[:, 1:] >= 0) & (sources[:, :-1] >= 0)
    among_others: np.ndarray = sources - (sources > np.arange(0, 60, size))
    assert_share((among_others[:, 1:] == among_others[:, :-1])[both], 1 / (60 - size))


@pytest.mark.parametrize(("length", "ratio", "span_length"), [(512, 0.15, 3), (512, 0.5, 1), (36, 0.3, 5), (5, 1.0, 2)])
def test_other_lengths_ratios_and_spans_cover_the_share(length: int, ratio: float, span_length: int) -> None:
    lengths = np.full(1_000, length)
    frames = mask(lengths, UIDS[:1_000], ratio=ratio, span_length=span_length)
    numbers = np.bincount(frames.targets // length)
    assert set(numbers) <= {math.floor(ratio * length), math.floor(ratio * length) + 1}
    assert len(np.unique(frames.targets)) == len(frames.targets)


@pytest.mark.parametrize("length", LENGTHS)
class TestSingleFrames:
    def test_frames_are_chosen_independently_and_at_least_one(self, length: int) -> None:
        targets = draw(length, "random").targets
        assert_share(targets, 0.15 + 0.85**length / length)
        binomial = stats.binom(length, 0.15)
        numbers = targets.sum(axis=1)
        for number in range(length + 1):
            expected = binomial.pmf(number) * (number > 0) + binomial.pmf(0) * (number == 1)
            assert_share(numbers == number, expected)

    def test_80_10_10_are_masked_replaced_and_kept(self, length: int) -> None:
        drawn = draw(length, "random")
        for part, share in ((drawn.masked, 0.8), (drawn.replaced, 0.1), (drawn.kept, 0.1)):
            assert_share(part[drawn.targets], share)

    def test_a_replaced_frame_shows_any_other_of_its_clip_equally_often(self, length: int) -> None:
        drawn = draw(length, "random")
        frame = np.nonzero(drawn.replaced)[1]
        source = drawn.sources[drawn.replaced]
        if length == 1:
            assert (source == 0).all()
            return
        distance = (source - frame) % length
        assert distance.min() == 1
        if length > 2:
            assert stats.chisquare(np.bincount(distance, minlength=length)[1:]).pvalue > 1e-4


def reference_rule(length: int, ratio: float, source: random.Random) -> tuple[set[int], bool]:
    """Follow the reference's rule for one clip, step by step: the targets, and whether they are replaced."""
    number = int(length * ratio / 3)
    fate = source.random()
    if number < 1 or fate >= 0.9:
        targets = {source.randrange(length)}
    else:
        targets = {start + step for start in source.sample(range(length - 4), number) for step in range(3)}
    return targets, number >= 1 and 0.8 <= fate < 0.9


@pytest.mark.parametrize("ratio", [0.15, 0.20])
@pytest.mark.parametrize("length", [*LENGTHS, 14, 15, 19])
class TestReferenceSpans:
    def test_targets_are_those_of_the_rule(self, length: int, ratio: float) -> None:
        drawn = draw(length, "span_reference", ratio)
        source = random.Random(1)
        expected = np.zeros((DRAWS, length), dtype=bool)
        for clip in expected:
            clip[list(reference_rule(length, ratio, source)[0])] = True
        error = np.sqrt(np.maximum(expected.mean(axis=0), 1e-3) * 2 / DRAWS)
        assert (np.abs(drawn.targets.mean(axis=0) - expected.mean(axis=0)) < 5 * error).all()
        numbers, expected_numbers = drawn.targets.sum(axis=1), expected.sum(axis=1)
        for number in range(1, length + 1):
            share = np.mean(expected_numbers == number)
            error = math.sqrt(2 * max(share, 1e-3) / DRAWS)
            assert abs(np.mean(numbers == number) - share) < 5 * error

    def test_a_clip_has_one_fate_and_a_tenth_of_those_with_spans_is_replaced(self, length: int, ratio: float) -> None:
        drawn = draw(length, "span_reference", ratio)
        assert not drawn.kept.any()
        replaced = drawn.replaced.any(axis=1)
        assert (drawn.replaced[replaced] == drawn.targets[replaced]).all()
        assert_share(replaced, 0.1 if length >= 3 / ratio - 1e-9 else 0.0)

    def test_clips_with_spans_leave_the_last_two_frames_to_single_targets(self, length: int, ratio: float) -> None:
        drawn = draw(length, "span_reference", ratio)
        spans = drawn.targets.sum(axis=1) > 1
        assert spans.any() == (length >= 3 / ratio - 1e-9)
        assert_share(spans, 0.9 if length >= 3 / ratio - 1e-9 else 0.0)
        assert not drawn.targets[spans, -2:].any()


def test_a_span_of_the_reference_is_replaced_by_any_other_it_could_draw() -> None:
    drawn = draw(20, "span_reference", ratio=0.15)
    replaced = drawn.replaced.any(axis=1)
    start, source = drawn.replaced[replaced].argmax(axis=1), drawn.sources[replaced].max(axis=1) - 2
    distance = (source - start) % 16
    assert distance.min() == 1
    assert source.max() == 15
    assert stats.chisquare(np.bincount(distance)[1:]).pvalue > 1e-4


@pytest.mark.parametrize("mode", FRAME_MASKING)
def test_the_masks_of_an_utterance_do_not_depend_on_its_batch(mode: str) -> None:
    source = np.random.default_rng(1)
    lengths = np.concatenate([[0, 512, 1], source.integers(0, 65, 61)])

    def masks_in(order: list[int]) -> dict[int, list[list[int]]]:
        frames = mask(lengths[order], UIDS[order], mode=mode)
        found = {}
        for i, end in zip(order, np.cumsum(lengths[order]), strict=True):
            begin = end - lengths[i]
            inside = (frames.replaced >= begin) & (frames.replaced < end)
            rows = [rows[(rows >= begin) & (rows < end)] for rows in (frames.targets, frames.masked)]
            found[i] = [(part - begin).tolist() for part in (*rows, frames.replaced[inside], frames.sources[inside])]
        return found

    together = masks_in(list(range(64)))
    assert masks_in(source.permutation(64).tolist()) == together
    assert masks_in([1, 5]) == {i: together[i] for i in (1, 5)}
    for i in range(64):
        assert masks_in([i]) == {i: together[i]}
        assert bool(together[i][0]) == (lengths[i] > 0)


@pytest.mark.parametrize("mode", FRAME_MASKING)
def test_masks_change_with_update_seed_and_modality(mode: str) -> None:
    def drawn(seed: int, update: int, stream: Stream) -> str:
        return str(
            mask(np.full(32, 36), UIDS[:32], mode=mode, seed=seed, update=update, stream=stream).targets.tolist()
        )

    settings = list(itertools.product((1, 2), (1, 2, 3), (Stream.VISUAL_MASK, Stream.ACOUSTIC_MASK)))
    assert drawn(*settings[0]) == drawn(*settings[0])
    assert len({drawn(*setting) for setting in settings}) == len(settings)


@pytest.mark.parametrize("mode", FRAME_MASKING)
@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
def test_a_batch_without_frames_has_no_targets(mode: str, lengths: list[int]) -> None:
    frames = mask(np.array(lengths, dtype=np.int64), UIDS[: len(lengths)], mode=mode)
    assert all(len(rows) == 0 for rows in (frames.targets, frames.masked, frames.replaced, frames.sources))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "spans"}, "frame masking 'spans' is unknown; choose from span, span_reference, random"),
        ({"ratio": 0.0}, "share of frames"),
        ({"ratio": 1.1}, "share of frames"),
        ({"span_length": 0}, "at least 1 frame"),
        ({"mode": "span_reference", "span_length": 4}, "spans of 3 frames, not 4"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        mask(np.array([10]), UIDS[:1], **wrong)
