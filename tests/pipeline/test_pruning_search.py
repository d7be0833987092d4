"""How far pruning goes: searching for a measured limit, and cutting little by little."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.pruning.ladder import Rung
from pipeline.pruning.schedule import cutting_points, epochs_between, share_left
from pipeline.pruning.search import NEAR, first_within

AMOUNTS = [1000.0 - 25 * rung for rung in range(38)]


def search(cost: Callable[[int], float], limit: float) -> tuple[int, dict[int, float]]:
    tried = first_within(cost, AMOUNTS, cost(0), limit, slope=cost(0) / 1000)
    return list(tried)[-1], tried


@pytest.mark.parametrize("limit", [0.9, 0.5, 0.3])
@pytest.mark.parametrize(
    "shape",
    [lambda left: left, lambda left: 0.2 + 0.8 * left, lambda left: left**2, lambda left: left**0.5],
    ids=["proportional", "with a part that stays", "convex", "concave"],
)
def test_the_first_rung_within_the_limit_is_found(shape: Callable[[float], float], limit: float) -> None:
    costs = [shape(amount / 1000) for amount in AMOUNTS]
    chosen, tried = search(costs.__getitem__, limit)
    first = next((rung for rung, cost in enumerate(costs) if cost <= limit), len(costs) - 1)
    assert chosen == first or (1 - NEAR) * limit <= costs[chosen] <= limit
    assert len(tried) <= 7
    assert tried == {rung: costs[rung] for rung in tried}


def test_what_is_already_within_the_limit_is_not_measured_again() -> None:
    def never(rung: int) -> float:
        raise AssertionError

    assert first_within(never, AMOUNTS, 0.4, 0.5, 1e-3) == {0: 0.4}


def test_a_limit_that_none_keeps_to_ends_at_the_last_rung() -> None:
    chosen, tried = search(lambda rung: 0.6 + 0.4 * AMOUNTS[rung] / 1000, 0.5)
    assert chosen == len(AMOUNTS) - 1
    assert tried[chosen] > 0.5


def test_measurements_that_waver_end_the_search_within_the_limit() -> None:
    for seed in range(50):
        noise = np.random.default_rng(seed).normal(1, 0.05, len(AMOUNTS))
        chosen, tried = search(lambda rung, noise=noise: float(noise[rung]) * AMOUNTS[rung] / 1000, 0.5)  # type: ignore[misc]
        assert tried[chosen] <= 0.5
        assert len(tried) <= 12


def test_a_curve_with_steps_is_searched_by_halves() -> None:
    costs = [1.0 if rung < 30 else 0.4 for rung in range(len(AMOUNTS))]
    chosen, tried = search(costs.__getitem__, 0.5)
    assert chosen == 30
    assert len(tried) <= 12


def test_cuts_follow_the_cubic_of_zhu_and_gupta() -> None:
    shares = [share_left(cut, 4, 0.2) for cut in range(5)]
    assert shares == pytest.approx([1, 0.2 + 0.8 * 27 / 64, 0.2 + 0.8 / 8, 0.2 + 0.8 / 64, 0.2])


def test_each_cut_ends_at_the_first_rung_that_is_as_thin() -> None:
    rungs = [Rung({}, macs, 0) for macs in (100, 80, 60, 50, 40, 30, 20)]
    assert [rung.macs for rung in cutting_points(rungs, 4)] == [50, 30, 20, 20]
    assert [rung.macs for rung in cutting_points(rungs[:1], 2)] == [100, 100]


def test_every_cut_is_followed_by_training() -> None:
    assert epochs_between(4, 10) == [1, 1, 1, 7]
    assert epochs_between(3, 3) == [1, 1, 1]
