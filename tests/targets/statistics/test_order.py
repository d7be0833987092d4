"""Percentiles and their intervals: hand-worked, by simulation, and laws that hold for any samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from targets.statistics.order import Interval, binomial, outliers, percentile, percentile_interval

values = st.lists(st.integers(-50, 50), min_size=1, max_size=80)
shares = st.sampled_from([0.5, 0.9, 0.99])


@given(values, st.integers(1, 100))
def test_a_percentile_is_the_smallest_sample_that_enough_do_not_exceed(taken: list[int], percent: int) -> None:
    found = percentile(np.array(taken, dtype=float), percent / 100)
    enough = [value for value in taken if 100 * sum(v <= value for v in taken) >= percent * len(taken)]
    assert found == min(enough)


@pytest.mark.parametrize(
    ("runs", "share", "low", "high"),
    [
        (10, 0.5, 2, 9),  # the classic table: 97.9% between the second and the ninth of ten
        (6, 0.5, 1, 6),
        (5, 0.5, None, None),  # 93.75% at most
        (100, 0.5, 40, 61),
        (100, 0.9, 84, 96),
        (100, 0.99, 97, None),  # all of a hundred are below the true p99 too often
    ],
)
def test_intervals_are_the_order_statistics_of_the_tables(
    runs: int, share: float, low: float | None, high: float | None
) -> None:
    found = percentile_interval(np.arange(1.0, runs + 1), share)
    assert found == Interval(low, high)


@given(st.integers(1, 400), shares)
def test_no_narrower_ranks_would_do(runs: int, share: float) -> None:
    """Each rank leaves at most 2.5% on its side, by scipy's binomial; the next one inwards leaves more."""
    found = percentile_interval(np.arange(1.0, runs + 1), share)
    low, high = int(found.low or 0), int(found.high or runs + 1)
    assert low == 0 or binom.cdf(low - 1, runs, share) <= 0.025 + 1e-9
    assert binom.cdf(low, runs, share) > 0.025 - 1e-9
    assert high == runs + 1 or binom.sf(high - 1, runs, share) <= 0.025 + 1e-9
    assert binom.sf(high - 2, runs, share) > 0.025 - 1e-9


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("shape", ["lognormal", "bimodal", "ties"])
def test_intervals_hold_the_true_percentile_as_often_as_they_say(share: float, shape: str) -> None:
    random = np.random.default_rng(0)
    uniform = random.random((2000, 120))
    shapes = {
        "lognormal": lambda u: -np.log1p(-u),
        "bimodal": lambda u: u + 10 * (u > 0.8),
        "ties": lambda u: np.ceil(8 * u),
    }
    true = float(shapes[shape](np.array(share)))
    held = 0
    for row in shapes[shape](uniform):
        found = percentile_interval(row, share)
        held += (found.low is None or found.low <= true) and (found.high is None or true <= found.high)
    assert held / 2000 >= 0.95 - 3 * (0.05 * 0.95 / 2000) ** 0.5


@given(values, shares, st.floats(0.5, 3))
def test_intervals_follow_the_unit(taken: list[int], share: float, unit: float) -> None:
    samples = np.array(taken, dtype=float)
    plain, scaled = percentile_interval(samples, share), percentile_interval(unit * samples, share)
    for one, other in ((plain.low, scaled.low), (plain.high, scaled.high)):
        assert other == (None if one is None else pytest.approx(unit * one))


@given(st.integers(20, 300), st.floats(1, 10))
def test_correlated_runs_widen_an_interval(runs: int, time: float) -> None:
    samples = np.arange(float(runs))
    alone, alike = percentile_interval(samples, 0.5), percentile_interval(samples, 0.5, correlation_time=time)
    assert alike.low is None or (alone.low is not None and alike.low <= alone.low)
    assert alike.high is None or (alone.high is not None and alike.high >= alone.high)


@given(st.integers(0, 600), st.floats(0.001, 0.999))
def test_the_binomial_is_scipys(runs: int, chance: float) -> None:
    assert np.allclose(binomial(runs, chance), binom.pmf(np.arange(runs + 1), runs, chance), atol=1e-12)


def test_outliers_are_far_above_the_quartiles() -> None:
    taken = np.array([*np.arange(1.0, 101.0), 226.0, 225.0, 300.0])  # quartiles 26 and 78 of 103 samples
    found = outliers(taken)
    assert (found.fence, found.count, found.worst) == (78 + 3 * 52, 1, 300.0)
    assert outliers(np.full(9, 2.0)).count == 0
