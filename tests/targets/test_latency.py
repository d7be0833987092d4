"""The statistics that a latency verdict rests on, held against scipy, against published values and by simulation."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from targets.latency import (
    Verdict,
    early_stopping,
    least_over_to_fail,
    look_schedule,
    most_over_to_pass,
    percentile,
    runs_to_pass,
    stop_rules,
    summarise,
)

BUDGET = 10.0
shares = st.sampled_from([0.5, 0.75, 0.9, 0.95, 0.99])
confidences = st.sampled_from([0.8, 0.95, 0.99, 0.999])


def samples(runs: int, over: int) -> np.ndarray:
    """`over` of `runs` are above BUDGET, the others exactly on it, which is within."""
    return np.array([BUDGET + 1] * over + [BUDGET] * (runs - over))


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
    assert early_stopping(samples(40, 1), BUDGET, 0.90, 0.99) == Verdict("undecided", over=1, runs=40, needed=24)
    assert early_stopping(samples(64, 1), BUDGET, 0.90, 0.99) == Verdict("pass", over=1, runs=64, needed=0)


def test_without_a_run_nothing_is_decided() -> None:
    assert early_stopping(np.array([]), BUDGET, 0.90, 0.99) == Verdict("undecided", over=0, runs=0, needed=44)


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
def test_needed_is_the_fewest_further_runs_without_a_miss_that_pass(over: int, share: float, confidence: float) -> None:
    verdict = early_stopping(samples(over + 1, over), BUDGET, share, confidence)
    if verdict.outcome != "undecided":
        return
    enough = over + 1 + verdict.needed
    assert early_stopping(samples(enough, over), BUDGET, share, confidence).outcome == "pass"
    assert early_stopping(samples(enough - 1, over), BUDGET, share, confidence).outcome != "pass"


@given(st.integers(1, 300), st.data(), shares, confidences)
def test_one_more_miss_never_turns_a_verdict_for_the_better(
    runs: int, data: st.DataObject, share: float, confidence: float
) -> None:
    over = data.draw(st.integers(0, runs - 1))
    order = ["fail", "undecided", "pass"]
    better, worse = (
        early_stopping(samples(runs, count), BUDGET, share, confidence).outcome for count in (over, over + 1)
    )
    assert order.index(worse) <= order.index(better)


@given(st.integers(1, 300), st.data(), shares)
def test_more_confidence_never_decides_what_less_left_open(runs: int, data: st.DataObject, share: float) -> None:
    taken = samples(runs, data.draw(st.integers(0, runs)))
    outcomes = [early_stopping(taken, BUDGET, share, confidence).outcome for confidence in (0.8, 0.95, 0.999)]
    for less, more in pairwise(outcomes):
        assert more in (less, "undecided")


@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_wrong_passes_stay_within_the_risk_however_often_one_looks(confidence: float) -> None:
    """A latency whose p90 is just over the budget: 10% of runs miss it."""
    schedule = look_schedule(50, 800)
    rules = stop_rules([(0.90, BUDGET)], confidence, schedule)
    trials = 20_000
    missed = np.random.default_rng(0).random((trials, 800)) < 0.1
    open_yet, passed = np.ones(trials, dtype=bool), 0
    for runs in schedule:
        over = missed[:, :runs].sum(axis=1)
        ((_, most, least),) = rules[runs]
        passed += int((open_yet & (over <= most)).sum())
        open_yet &= (over > most) & (over < least)
    risk = 1 - confidence
    assert passed / trials <= risk + 3 * math.sqrt(risk * (1 - risk) / trials)
    assert passed > 0


def test_a_clear_case_is_decided_at_the_first_look() -> None:
    good, bad = np.full(100, BUDGET - 1), np.full(100, BUDGET + 1)
    assert early_stopping(good, BUDGET, 0.90, 0.99, looks=6).outcome == "pass"
    assert early_stopping(bad, BUDGET, 0.90, 0.99, looks=6).outcome == "fail"


def test_the_stop_rules_say_what_early_stopping_says() -> None:
    schedule = look_schedule(100, 400)
    rules = stop_rules([(0.5, 1.0), (0.9, BUDGET)], 0.99, schedule)
    for runs in schedule:
        budget, most, least = rules[runs][1]
        verdicts = {
            over: early_stopping(samples(runs, over), budget, 0.9, 0.99, looks=len(schedule)).outcome
            for over in (most, most + 1, least - 1, least)
        }
        assert verdicts == {most: "pass", most + 1: "undecided", least - 1: "undecided", least: "fail"}


@given(st.integers(1, 500), st.integers(0, 2000))
def test_looks_double_from_the_least_to_the_most_runs(least: int, more: int) -> None:
    schedule = look_schedule(least, least + more)
    assert schedule[0] == least
    assert schedule[-1] == least + more
    assert all(a < b <= 2 * a for a, b in pairwise(schedule))


def test_rare_misses_take_many_runs() -> None:
    assert runs_to_pass(0, 0.99, 0.99) == 459
    assert runs_to_pass(0, 0.999, 0.99) == 4603


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 100))
def test_a_percentile_is_the_smallest_sample_that_enough_do_not_exceed(values: list[int], percent: int) -> None:
    taken = np.array(values, dtype=float)
    found = percentile(taken, percent / 100)
    enough = [value for value in values if 100 * sum(v <= value for v in values) >= percent * len(values)]
    assert found == min(enough)


def test_a_summary_has_percentiles_that_were_measured() -> None:
    summary = summarise(np.arange(1.0, 201.0))
    assert (summary.p50, summary.p90, summary.p99, summary.mean) == (100.0, 180.0, 198.0, 100.5)
