"""The choice of an update's objective, the order of objectives and their ablations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from memobert_plugin.core.errors import UserError
from memobert_plugin.core.rng import Stream
from memobert_plugin.objectives.base import OBJECTIVES as REGISTRY
from memobert_plugin.objectives.base import ablations, draw_objective, stream_of
from tests.objectives.paper import OBJECTIVES

DRAWS = 20_000


def assert_share(observed: np.ndarray, expected: float) -> None:
    """``observed`` (draws,) booleans have the expected mean, within five standard errors."""
    assert abs(observed.mean() - expected) < 5 * np.sqrt(expected * (1 - expected) / len(observed))


RATIOS = {"wwmlm": 2.0, "mvfr": 1.0, "mvfc": 1.0, "mafr": 1.0}


def test_objectives_are_drawn_in_the_ratios_and_independently_of_the_update_before() -> None:
    drawn = np.array([OBJECTIVES.index(draw_objective(1, update, RATIOS)) for update in range(DRAWS)])
    for objective, ratio in enumerate(RATIOS.values()):
        assert_share(drawn == objective, ratio / 5)
    pairs = np.bincount(drawn[:-1] * 4 + drawn[1:], minlength=16).reshape(4, 4)
    assert stats.chi2_contingency(pairs).pvalue > 1e-4


def test_the_objective_depends_on_seed_and_update_and_not_on_the_order_of_the_ratios() -> None:
    updates = range(200)
    drawn = [draw_objective(1, update, RATIOS) for update in updates]
    assert drawn == [draw_objective(1, update, dict(reversed(RATIOS.items()))) for update in updates]
    assert drawn != [draw_objective(2, update, RATIOS) for update in updates]


def test_objectives_left_out_or_of_ratio_zero_are_never_drawn() -> None:
    drawn = {draw_objective(1, update, {"mvfr": 0, "mvfc": 0.5, "mafr": 0.01}) for update in range(1_000)}
    assert drawn == {"mvfc", "mafr"}
    assert {draw_objective(1, update, {"mafr": 3}) for update in range(100)} == {"mafr"}


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ({"mlm": 1.0}, "unknown objective 'mlm': choose from mvfr, mvfc, mafr, prompted_expression"),
        ({"wwmlm": -1.0}, "not negative"),
        ({"wwmlm": float("nan")}, "finite"),
        ({"wwmlm": 0.0}, "every objective has ratio 0"),
        ({}, "every objective has ratio 0"),
    ],
)
def test_wrong_ratios_are_refused(ratios: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw_objective(1, 1, ratios)


def test_the_papers_objectives_have_their_order_ratios_and_ablations() -> None:
    assert OBJECTIVES == ("wwmlm", "mvfr", "mvfc", "mafr")
    assert {name: REGISTRY.get(name).default_ratio for name in OBJECTIVES} == RATIOS
    assert ablations()["no_visual"] == ["mvfr", "mvfc"] and ablations()["no_acoustic"] == ["mafr"]


def test_another_objectives_random_numbers_are_its_own() -> None:
    assert stream_of("one") != stream_of("two")
    assert stream_of("one") > max(Stream)
