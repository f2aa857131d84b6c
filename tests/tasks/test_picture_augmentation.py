"""Pictures are flipped, turned and shifted as drawn, and change their size the same way with and without that."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from memobert_plugin.tasks.picture_dataset import Augmentation, resized

UIDS = np.arange(4000, dtype=np.uint64)
NOTHING = Augmentation(flip=False, rotation=0.0, shift=0.0)


def pictures(count: int, size: int = 48) -> Tensor:
    """Smooth grey pictures: interpolation then changes little."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.randint(256, (count, 1, 6, 6), generator=rng).float()
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").squeeze(1).clamp(0, 255)


def test_no_commands_start_nothing() -> None:
    given = pictures(3)
    torch.testing.assert_close(resized(given, 48, NOTHING.draw(1, 1, UIDS[:3])), given, atol=1e-2, rtol=0)


@pytest.mark.parametrize("size", [32, 48, 64])
def test_an_idle_augmentation_agrees_with_resizing_alone(size: int) -> None:
    given = pictures(3)
    torch.testing.assert_close(
        resized(given, size, NOTHING.draw(1, 1, UIDS[:3])), resized(given, size), atol=1e-2, rtol=0
    )


def test_half_of_the_pictures_are_mirrored() -> None:
    maps = Augmentation(flip=True, rotation=0.0, shift=0.0).draw(1, 1, UIDS)
    mirrored = maps[:, 0, 0] < 0
    assert abs(mirrored.float().mean() - 0.5) < 4 * 0.5 / len(UIDS) ** 0.5
    given = pictures(1)
    [chosen] = maps[mirrored][:1]
    torch.testing.assert_close(resized(given, 48, chosen[None]), given.flip(2), atol=1e-2, rtol=0)


def test_rotations_and_shifts_stay_within_their_limits_and_reach_them() -> None:
    maps = Augmentation(flip=False, rotation=10.0, shift=0.1).draw(1, 1, UIDS)
    angles = torch.rad2deg(torch.atan2(maps[:, 1, 0], maps[:, 0, 0]))
    assert 9.5 < angles.max() <= 10.001
    assert -10.001 <= angles.min() < -9.5
    for axis in (0, 1):
        shares = maps[:, axis, 2] / 2
        assert 0.095 < shares.max() <= 0.1001
        assert -0.1001 <= shares.min() < -0.095
    torch.testing.assert_close(torch.linalg.det(maps[:, :, :2]), torch.ones(len(UIDS)))


def test_a_shift_moves_the_picture_by_that_share_of_its_side() -> None:
    given = pictures(1)
    quarter = torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]])
    torch.testing.assert_close(resized(given, 48, quarter)[:, :, :36], given[:, :, 12:], atol=1e-2, rtol=0)


def test_a_draw_depends_on_seed_epoch_and_picture_alone() -> None:
    augmentation = Augmentation()
    drawn = augmentation.draw(1, 2, UIDS[:9])
    torch.testing.assert_close(augmentation.draw(1, 2, UIDS[3:5]), drawn[3:5], rtol=0, atol=0)
    for seed, epoch in ((2, 2), (1, 3)):
        assert not torch.isclose(augmentation.draw(seed, epoch, UIDS[:9]), drawn).all(dim=(1, 2)).any()


def test_a_smaller_size_keeps_the_mean_grey_level() -> None:
    stripes = torch.zeros(1, 48, 48)
    stripes[:, :, ::2] = 200
    assert abs(resized(stripes, 32).mean() - 100) < 2
    assert resized(stripes, 32)[:, :, 4:-4].std() < 40, "stripes finer than the new pixels are filtered out"
