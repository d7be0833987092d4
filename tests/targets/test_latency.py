"""The statistics that a latency verdict rests on, held against scipy, against published values and by simulation."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import binom, norm

from targets.latency import (
    StopRule,
    Verdict,
    describe,
    early_stopping,
    least_over_to_fail,
    look_schedule,
    most_over_to_pass,
    runs_to_pass,
    stop_rule,
    summarise,
)

BUDGET = 10.0
shares = st.sampled_from([0.5, 0.75, 0.9, 0.95, 0.99])
confidences = st.sampled_from([0.8, 0.95, 0.99, 0.999])


def samples(runs: int, over: int) -> np.ndarray:
    """`over` of `runs`, evenly spread, are above BUDGET, the others exactly on it, which is within."""
    taken = np.full(runs, BUDGET)
    taken[np.linspace(0, runs, over, endpoint=False).astype(int)] = BUDGET + 1
    return taken


@pytest.mark.parametrize(
    ("share", "runs", "over", "outcome"),
    [
        (0.90, 44, 0, "pass"),
        (0.90, 43, 0, "undecided"),
        (0.90, 64, 1, "pass"),
        (0.90, 63, 1, "undecided"),
        (0.95, 90, 0, "pass"),
        (0.95, 89, 0, "undecided"),
        (0.90, 2, 2, "fail"),
        (0.90, 1, 1, "undecided"),
    ],
)
def test_verdicts_at_99_percent_are_mlperfs(share: float, runs: int, over: int, outcome: str) -> None:
    assert early_stopping(samples(runs, over), BUDGET, share, 0.99).outcome == outcome


def test_a_verdict_counts_the_runs_and_says_how_many_more_it_takes() -> None:
    assert early_stopping(samples(40, 1), BUDGET, 0.90, 0.99) == Verdict(
        "undecided", over=1, runs=40, needed=24, independent=40
    )
    assert early_stopping(samples(64, 1), BUDGET, 0.90, 0.99) == Verdict(
        "pass", over=1, runs=64, needed=0, independent=64
    )


def test_without_a_run_nothing_is_decided() -> None:
    assert early_stopping(np.array([]), BUDGET, 0.90, 0.99) == Verdict(
        "undecided", over=0, runs=0, needed=44, independent=0
    )


@given(st.integers(1, 400), shares, confidences, st.integers(1, 6))
def test_the_limits_are_those_of_the_binomial_distribution(
    runs: int, share: float, confidence: float, looks: int
) -> None:
    over = np.arange(runs + 1)
    risk = (1 - confidence) / looks
    at_most = binom.cdf(over, runs, 1 - share)
    at_least = binom.sf(over - 1, runs, 1 - share)
    for count, chance in ((most_over_to_pass, at_most), (least_over_to_fail, at_least)):
        if np.any(np.isclose(chance, risk, rtol=1e-6)):
            return  # on the edge either answer is right
        assert count(runs, share, confidence, looks) == (
            int((chance <= risk).sum()) - 1 if chance is at_most else runs + 1 - int((chance <= risk).sum())
        )


@given(st.integers(0, 40), shares, confidences)
@settings(max_examples=40)
def test_what_is_needed_is_the_fewest_runs_that_pass(over: int, share: float, confidence: float) -> None:
    enough = runs_to_pass(over, share, confidence)
    assert most_over_to_pass(enough, share, confidence) == over
    assert most_over_to_pass(enough - 1, share, confidence) == over - 1


@given(st.integers(1, 300), shares, confidences)
def test_no_number_of_misses_both_passes_and_fails(runs: int, share: float, confidence: float) -> None:
    assert most_over_to_pass(runs, share, confidence) < least_over_to_fail(runs, share, confidence)


@given(st.integers(1, 300), shares)
def test_more_confidence_never_decides_what_less_left_open(runs: int, share: float) -> None:
    for less, more in pairwise((0.8, 0.95, 0.999)):
        assert most_over_to_pass(runs, share, more) <= most_over_to_pass(runs, share, less)
        assert least_over_to_fail(runs, share, more) >= least_over_to_fail(runs, share, less)


@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_wrong_passes_stay_within_the_risk_however_often_one_looks(confidence: float) -> None:
    """A latency whose p90 is just over the budget: 10% of runs miss it."""
    schedule = look_schedule(50, 800)
    trials = 20_000
    missed = np.random.default_rng(0).random((trials, 800)) < 0.1
    open_yet, passed = np.ones(trials, dtype=bool), 0
    for runs in schedule:
        over = missed[:, :runs].sum(axis=1)
        most = most_over_to_pass(runs, 0.90, confidence, len(schedule))
        least = least_over_to_fail(runs, 0.90, confidence, len(schedule))
        passed += int((open_yet & (over <= most)).sum())
        open_yet &= (over > most) & (over < least)
    risk = 1 - confidence
    assert passed / trials <= risk + 3 * math.sqrt(risk * (1 - risk) / trials)
    assert passed > 0


def wrong_passes(series: np.ndarray) -> int:
    """Of the rows of `series`, whose p90 is `BUDGET`."""
    rule = stop_rule([(0.90, BUDGET)], 0.99, 100, 800)
    passed = 0
    for row in series:
        runs = next((runs for runs in rule.schedule if rule.ends(row[:runs])), len(row))
        passed += early_stopping(row[:runs], BUDGET, 0.90, 0.99, rule.looks).outcome == "pass"
    return passed


def test_runs_that_are_alike_pass_no_more_often() -> None:
    """Each run keeps 0.9 of what the one before was: the bare rule would pass two in five of these."""
    steps = np.random.default_rng(2).standard_normal((60, 800))
    steps[:, 1:] *= math.sqrt(1 - 0.9**2)
    series = BUDGET * np.exp(0.1 * (lfilter([1.0], [1.0, -0.9], steps) - norm.ppf(0.9)))
    bare = sum(
        any((row[:n] > BUDGET).sum() <= most_over_to_pass(n, 0.9, 0.99, 7) for n in look_schedule(100, 800))
        for row in series
    )
    assert bare > 15
    assert wrong_passes(series) == 0


def test_quick_runs_before_a_core_got_hot_pass_nothing() -> None:
    """A quarter quicker at first, from run 100 on with a p90 that is just the budget."""
    z = np.random.default_rng(3).standard_normal((60, 800))
    heat = 0.75 + 0.25 * np.minimum(np.arange(800) / 100, 1)
    assert wrong_passes(BUDGET * np.exp(0.05 * (z - norm.ppf(0.9))) * heat) <= 1


def test_a_rise_leaves_the_older_runs_out_and_a_fall_none() -> None:
    noise = np.random.default_rng(4).normal(0, 0.1, 400)
    hot = np.concatenate([np.linspace(4, 8, 200), np.full(200, 8.0)]) + noise
    verdict = early_stopping(hot, BUDGET, 0.90, 0.99)
    assert (verdict.outcome, verdict.left_out + verdict.runs) == ("pass", 400)
    assert 150 <= verdict.left_out < 250  # the rise takes 200
    assert early_stopping(hot[::-1], BUDGET, 0.90, 0.99).left_out == 0


def test_a_budget_far_off_is_decided_whatever_the_latency_does_meanwhile() -> None:
    """It wanders and rises by a tenth, and would have to take ten times as long to miss its budget."""
    wander = np.repeat(np.random.default_rng(7).normal(1, 0.05, 10), 10) + np.linspace(0, 0.1, 100)
    assert early_stopping(wander, BUDGET, 0.90, 0.99) == Verdict("pass", 0, 100, 0, independent=100)
    assert early_stopping(BUDGET**2 * wander, BUDGET, 0.90, 0.99).outcome == "fail"
    bursts = wander + 20 * (np.arange(100) // 5 == 10)  # five slow runs, all together
    assert early_stopping(bursts, BUDGET, 0.90, 0.99).independent < 50


def test_runs_that_are_alike_count_for_fewer() -> None:
    in_tens = np.repeat(np.random.default_rng(5).normal(8, 0.5, 40), 10)
    verdict = early_stopping(in_tens, BUDGET, 0.90, 0.99)
    assert verdict.runs == 400
    assert 20 <= verdict.independent <= 80
    assert verdict.outcome == ("pass" if verdict.independent >= 44 else "undecided")
    alone = early_stopping(np.random.default_rng(5).permutation(in_tens), BUDGET, 0.90, 0.99)
    assert alone.independent == 400


def test_a_clear_case_is_decided_at_the_first_look() -> None:
    good, bad = np.full(100, BUDGET - 1), np.full(100, BUDGET + 1)
    assert early_stopping(good, BUDGET, 0.90, 0.99, looks=6).outcome == "pass"
    assert early_stopping(bad, BUDGET, 0.90, 0.99, looks=6).outcome == "fail"


def test_runs_end_when_every_budget_has_passed_or_one_has_failed() -> None:
    rule = stop_rule([(0.5, BUDGET), (0.9, BUDGET + 5)], 0.99, 100, 400)
    good, bad, open_yet = (np.full(100, ms) for ms in (BUDGET - 1, BUDGET + 9, BUDGET - 1))
    open_yet[::10] = BUDGET + 9
    assert rule.looks == len(rule.schedule) == 5  # 100, 150, 225, 338, 400
    assert rule.ends(good)
    assert rule.ends(bad)
    assert not rule.ends(open_yet)
    assert not rule.ends(good[:99])  # no look there


def test_without_a_budget_runs_end_as_soon_as_they_may() -> None:
    assert stop_rule([], 0.99, 100, 400) == StopRule()
    assert StopRule().ends(np.ones(3))
    assert StopRule().looks == 1


def test_a_series_is_described_with_intervals_trend_and_outliers() -> None:
    taken = 10 + np.random.default_rng(6).normal(0, 0.1, 500)
    taken[250] = 30.0
    found = describe(taken)
    assert list(found.intervals) == ["p50", "p90", "p99"]
    assert found.outliers.count == 1
    assert found.outliers.worst == 30.0
    assert not found.trend.significant
    assert found.correlation_time == 1.0


@given(st.integers(1, 500), st.integers(0, 2000))
def test_looks_lie_half_as_many_runs_apart_from_the_least_to_the_most(least: int, more: int) -> None:
    schedule = look_schedule(least, least + more)
    assert schedule[0] == least
    assert schedule[-1] == least + more
    assert all(a < b <= math.ceil(1.5 * a) for a, b in pairwise(schedule))


def test_rare_misses_take_many_runs() -> None:
    assert runs_to_pass(0, 0.99, 0.99) == 459
    assert runs_to_pass(0, 0.999, 0.99) == 4603


def test_a_summary_has_percentiles_that_were_measured() -> None:
    summary = summarise(np.arange(1.0, 201.0))
    assert (summary.p50, summary.p90, summary.p99, summary.mean) == (100.0, 180.0, 198.0, 100.5)
