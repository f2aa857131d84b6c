"""Batches of pictures: their sizes, what changes from epoch to epoch, and what does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memobert_plugin.tasks.picture_dataset import Augmentation, PictureDataset
from tests.ferplus_files import drawn_pictures

PICTURES = drawn_pictures(30, 0)


def dataset(augmentation: Augmentation | None = None, size: int = 32) -> PictureDataset:
    return PictureDataset(PICTURES, PICTURES.distributions(), size, augmentation, seed=1)


def test_evaluation_shows_the_pictures_as_they_are_in_their_order() -> None:
    evaluated = dataset(size=48)
    assert evaluated.ordered_indices().tolist() == list(range(30))
    batch = evaluated.collater([4, 2])
    np.testing.assert_array_equal(batch["net_input"]["pictures"].numpy(), PICTURES.images[[4, 2]])
    np.testing.assert_allclose(batch["expression"].numpy(), PICTURES.distributions()[[4, 2]])
    assert batch["target"].tolist() == PICTURES.majorities()[[4, 2]].tolist()


def test_training_shows_a_picture_anew_in_every_epoch_and_alike_in_any_batch() -> None:
    training = dataset(Augmentation())
    training.set_epoch(1)
    first = training.collater([3, 7])["net_input"]["pictures"]
    torch.testing.assert_close(training.collater([7])["net_input"]["pictures"][0], first[1])
    training.set_epoch(2)
    assert not torch.equal(training.collater([3, 7])["net_input"]["pictures"], first)
    training.set_epoch(1)
    torch.testing.assert_close(training.collater([3, 7])["net_input"]["pictures"], first)


def test_an_empty_batch_is_empty() -> None:
    assert dataset().collater([]) == {}


@pytest.mark.parametrize(
    ("limits", "divisor", "sizes"),
    [
        ({"max_sentences": 8}, 1, [8, 8, 7, 7]),
        ({"max_tokens": 8}, 1, [8, 8, 7, 7]),
        ({"max_sentences": 30}, 4, [8, 8, 7, 7]),
        ({"max_sentences": 10}, 2, [8, 8, 7, 7]),
        ({"max_sentences": 1}, 1, [1] * 30),
    ],
)
def test_batches_are_even_within_the_limit_and_of_the_right_number(
    limits: dict[str, int], divisor: int, sizes: list[int]
) -> None:
    training = dataset()
    training.batches_divisible_by = divisor
    batches = training.batch_by_size(np.arange(30), **limits)
    assert [len(batch) for batch in batches] == sizes
    assert np.concatenate(batches).tolist() == list(range(30))


def test_pictures_of_rare_expressions_are_repeated_with_new_augmentations() -> None:
    training = PictureDataset(PICTURES, PICTURES.distributions(), 32, Augmentation(), seed=1)
    training.repeat_factors = np.repeat([1.0, 2.5], [20, 10])
    shown = []
    for epoch in range(1, 21):
        training.set_epoch(epoch)
        counts = np.bincount(training.ordered_indices() % 30, minlength=30)
        assert set(counts[:20]) == {1} and set(counts[20:]) <= {2, 3}
        shown.append(counts[20:].mean())
    assert np.mean(shown) == pytest.approx(2.5, abs=0.1)

    batch = training.collater([25, 55])
    assert batch["id"].tolist() == [25, 25] and batch["target"].tolist() == [PICTURES.majorities()[25]] * 2
    assert not torch.equal(batch["net_input"]["pictures"][0], batch["net_input"]["pictures"][1])


def test_evaluation_repeats_nothing() -> None:
    evaluated = PictureDataset(PICTURES, PICTURES.distributions(), 32, None, seed=1, repeat_rarer_than=1.0)
    assert evaluated.ordered_indices().tolist() == list(range(30))
