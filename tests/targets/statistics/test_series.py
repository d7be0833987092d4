"""What the order of samples tells: correlation, trend, warm-up and ratios, by simulation with known answers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import kendalltau, rankdata, theilslopes

from targets.statistics.correlation import autocorrelations, correlation_time, ranks
from targets.statistics.ratio import Ratio, ratio_of_rounds
from targets.statistics.trend import steady_part, trend
from targets.statistics.warmup import settled_after

series = st.lists(st.integers(-20, 20), min_size=10, max_size=90).map(lambda taken: np.array(taken, dtype=float))


def autoregressive(runs: int, keeps: float, seed: int) -> np.ndarray:
    steps = np.random.default_rng(seed).standard_normal(runs)
    steps[1:] *= math.sqrt(1 - keeps**2)
    return np.asarray(lfilter([1.0], [1.0, -keeps], steps))


def test_independent_runs_count_one_each() -> None:
    times = [correlation_time(np.random.default_rng(seed).lognormal(0, 1, 400), 0.9) for seed in range(200)]
    assert np.mean(np.array(times) == 1) > 0.95


@pytest.mark.parametrize("keeps", [0.5, 0.8, 0.9])
def test_the_correlation_time_of_an_autoregressive_series_is_found(keeps: float) -> None:
    """(1 + r) / (1 - r) of the series itself; a little less of its ranks."""
    found = np.median([correlation_time(autoregressive(4000, keeps, seed), 0.5) for seed in range(20)])
    assert 0.8 * (1 + keeps) / (1 - keeps) < found < 1.1 * (1 + keeps) / (1 - keeps)


def test_bursts_of_slow_runs_are_seen_where_the_others_are_independent() -> None:
    random = np.random.default_rng(0)
    taken = random.normal(10, 0.1, 2000)
    for start in random.choice(200, 20, replace=False) * 10:
        taken[start : start + 10] += 5
    assert correlation_time(taken, 0.9) > 4


@given(series)
def test_correlation_is_of_ranks_alone(taken: np.ndarray) -> None:
    assert correlation_time(taken, 0.9) == pytest.approx(correlation_time(np.exp(taken / 10), 0.9))
    assert correlation_time(np.full(50, 3.0), 0.9) == 1.0


@given(series)
def test_ranks_share_ties_as_scipys_do(taken: np.ndarray) -> None:
    assert ranks(taken).tolist() == (rankdata(taken) - 1).tolist()


def test_autocorrelations_are_the_plain_sums() -> None:
    taken = np.random.default_rng(1).normal(size=50)
    centred = taken - taken.mean()
    plain = [float(centred[: 50 - lag] @ centred[lag:] / (centred @ centred)) for lag in range(50)]
    assert np.allclose(autocorrelations(taken), plain)


@given(series)
def test_a_trend_is_kendalls_score_and_sens_slope(taken: np.ndarray) -> None:
    found, line = trend(taken), np.arange(len(taken))
    if np.all(taken == taken[0]):
        assert (found.rise, found.chance) == (0, 1)
        return
    assert found.rise == pytest.approx(theilslopes(taken, line).slope * len(taken))
    plain = kendalltau(line, taken, method="asymptotic").pvalue
    assert found.chance >= plain * (1 - 1e-9)  # continuity and correlation make it no surer


def test_steady_series_seldom_show_a_trend_correlated_or_not() -> None:
    """1% by design; the correction for correlated runs falls a little short of that, uncorrected it is one in three."""
    for keeps, most in ((0.0, 0.025), (0.6, 0.06)):
        shown = [trend(autoregressive(300, keeps, seed)).significant for seed in range(300)]
        assert np.mean(shown) < most


def test_a_rise_is_found_with_its_size_in_any_noise() -> None:
    taken = np.linspace(10, 12, 1000) + np.random.default_rng(2).exponential(1, 1000)
    found = trend(taken)
    assert found.significant
    assert found.rise == pytest.approx(2, abs=0.3)
    assert trend(taken[::-1]).rise == pytest.approx(-found.rise, abs=0.05)


def test_few_runs_show_no_trend() -> None:
    assert trend(np.arange(9.0)).chance == 1.0


@given(series)
def test_what_is_left_after_a_rise_is_the_end_of_the_series(taken: np.ndarray) -> None:
    left = steady_part(taken)
    assert len(left) > 0
    assert left.tolist() == taken[len(taken) - len(left) :].tolist()


@pytest.mark.parametrize("runs", [150, 500, 2000])
def test_a_core_that_heats_up_soon_is_found_at_the_beginning_of_however_many_runs(runs: int) -> None:
    heat = np.minimum(np.arange(runs) / 100, 1.0)
    taken = (8 + 2 * heat) * np.random.default_rng(4).lognormal(0, 0.1, runs)
    assert runs - len(steady_part(taken)) >= 50


def test_a_steady_series_keeps_its_beginning() -> None:
    steady = [np.random.default_rng(seed).lognormal(0, 0.3, 500) for seed in range(100)]
    assert sum(len(steady_part(taken)) < len(taken) for taken in steady) <= 4


def test_a_warm_up_is_told_to_the_batch() -> None:
    noise = np.random.default_rng(3).normal(0, 0.05, 100)
    slow_start = np.where(np.arange(100) < 20, 5.0, 0.0)
    assert settled_after(10 + slow_start + noise) == 20


def test_a_series_that_never_settles_is_told() -> None:
    assert settled_after(np.linspace(20, 10, 60) ** 2) is None
    assert settled_after(np.ones(19)) is None  # three batches say nothing
    assert settled_after(np.ones(20)) == 0


def test_one_slow_run_is_no_warm_up() -> None:
    taken = np.random.default_rng(4).normal(10, 0.01, 100)
    plain = settled_after(taken)
    taken[12] = 80.0
    assert settled_after(taken) == plain


def rounds(seed: int, times: float, count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    pace = np.exp(np.cumsum(random.normal(0, 0.05, (count, 1)), axis=0))  # the machine wanders
    first, second = (pace * random.lognormal(0, 0.05, (count, 5)) for _ in range(2))
    return times * first, second


def test_the_interval_of_a_ratio_holds_the_true_one() -> None:
    found = [ratio_of_rounds(*rounds(seed, 1.1)) for seed in range(400)]
    held = [ratio.low is not None and ratio.low <= 1.1 <= (ratio.high or 0) for ratio in found]
    assert np.mean(held) >= 0.95 - 3 * (0.05 * 0.95 / 400) ** 0.5


def test_a_difference_is_called_only_where_the_interval_leaves_no_doubt() -> None:
    assert ratio_of_rounds(*rounds(0, 1.2)).outcome == "slower"
    assert ratio_of_rounds(*rounds(0, 0.8)).outcome == "faster"
    same = ratio_of_rounds(*rounds(1, 1.0))
    assert same.outcome == "no difference"
    assert same.told() == "no difference that 30 rounds can show"
    few = ratio_of_rounds(*rounds(0, 3.0, count=5))
    assert (few.low, few.high, few.outcome) == (None, None, "no difference")


def test_the_other_way_round_the_ratio_is_the_inverse() -> None:
    first, second = rounds(1, 1.3)
    one, other = ratio_of_rounds(first, second), ratio_of_rounds(second, first)
    assert one.value == pytest.approx(1 / other.value)
    assert one.low == pytest.approx(1 / (other.high or 0))


def test_a_ratio_worked_by_hand() -> None:
    first = np.array([[2.0, 2.0, 9.0], [4.0, 4.0, 4.0], [3.0, 3.0, 3.0], [8.0, 8.0, 1.0], [5.0] * 3, [6.0] * 3])
    second = np.array([[1.0] * 3, [2.0] * 3, [1.0] * 3, [2.0] * 3, [1.0] * 3, [1.0] * 3])
    found = ratio_of_rounds(first, second)  # 2, 2, 3, 4, 5, 6
    assert found == Ratio(pytest.approx(math.sqrt(12)), pytest.approx(2), pytest.approx(6), 6)
