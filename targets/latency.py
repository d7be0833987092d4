"""What a number of runs says of a latency: percentiles, and MLPerf's early-stopping rule, which passes or fails
a budget only when the runs made leave at most a chance of 1 - confidence that it is the other way round.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Milliseconds. Percentiles are nearest-rank: each is a latency that was measured."""

    p50: float
    p90: float
    p99: float
    mean: float


@dataclass(frozen=True)
class Verdict:
    """`over` of `runs` took longer than the budget. `needed`: the fewest further runs, none of them over, that
    would pass; 0 unless undecided."""

    outcome: Literal["pass", "fail", "undecided"]
    over: int
    runs: int
    needed: int


def percentile(samples_ms: np.ndarray, share: float) -> float:
    """Nearest rank: the smallest sample that at least `share` (in (0, 1]) of the samples do not exceed."""
    rank = math.ceil(round(share * len(samples_ms), 6))  # rounded: 0.07 * 100 is a hair above 7 in floats
    return float(np.sort(samples_ms)[max(rank, 1) - 1])


def summarise(samples_ms: np.ndarray) -> Summary:
    """p50, p90, p99 and mean of at least one sample."""
    return Summary(
        p50=percentile(samples_ms, 0.50),
        p90=percentile(samples_ms, 0.90),
        p99=percentile(samples_ms, 0.99),
        mean=float(np.mean(samples_ms)),
    )


def early_stopping(
    samples_ms: np.ndarray, budget_ms: float, percentile: float, confidence: float, looks: int = 1
) -> Verdict:
    """Is the `percentile` (a share in (0, 1), 0.9 for p90) of the latency within `budget_ms`?

    MLPerf Inference's early stopping for single streams: with t of n runs over the budget, pass if
    P(at most t over | n, 1 - percentile) <= 1 - confidence, fail if P(at least t over | n, 1 - percentile) is,
    undecided otherwise. `looks`: at how many points on the way a verdict could have ended the runs;
    1 - confidence is shared out among them (Bonferroni), so that looking often makes no wrong pass likelier.
    """
    runs, over = len(samples_ms), int(np.count_nonzero(samples_ms > budget_ms))
    if over <= most_over_to_pass(runs, percentile, confidence, looks):
        return Verdict("pass", over, runs, 0)
    if over >= least_over_to_fail(runs, percentile, confidence, looks):
        return Verdict("fail", over, runs, 0)
    return Verdict("undecided", over, runs, runs_to_pass(over, percentile, confidence, looks) - runs)


def look_schedule(min_runs: int, max_runs: int) -> tuple[int, ...]:
    """The numbers of runs at which to look for a verdict: `min_runs`, doubled until `max_runs`, the last."""
    schedule = []
    runs = min_runs
    while runs < max_runs:
        schedule.append(runs)
        runs *= 2
    return (*schedule, max_runs)


def most_over_to_pass(runs: int, percentile: float, confidence: float, looks: int = 1) -> int:
    """How many of `runs` may be over the budget for a pass; -1: not even with none."""
    at_most = np.cumsum(_binomial(runs, 1 - percentile))
    return int(np.count_nonzero(at_most <= _risk(confidence, looks))) - 1


def least_over_to_fail(runs: int, percentile: float, confidence: float, looks: int = 1) -> int:
    """From how many of `runs` over the budget on it is a fail; `runs` + 1: not even with all."""
    at_least = np.cumsum(_binomial(runs, 1 - percentile)[::-1])[::-1]
    return runs + 1 - int(np.count_nonzero(at_least <= _risk(confidence, looks)))


def runs_to_pass(over: int, percentile: float, confidence: float, looks: int = 1) -> int:
    """The smallest number of runs that passes with `over` of them over the budget."""
    fewer, enough = over, max(1, 2 * over)
    while most_over_to_pass(enough, percentile, confidence, looks) < over:
        fewer, enough = enough, 2 * enough
    while enough - fewer > 1:
        middle = (fewer + enough) // 2
        if most_over_to_pass(middle, percentile, confidence, looks) < over:
            fewer = middle
        else:
            enough = middle
    return enough


def stop_rules(
    budgets_ms: Sequence[tuple[float, float]], confidence: float, schedule: Sequence[int]
) -> dict[int, list[tuple[float, int, int]]]:
    """For each number of runs in `schedule`, for each (percentile, budget): (budget in ms, most runs over it to
    pass, least to fail). Plain numbers, so that the process that measures needs no statistics."""
    looks = len(schedule)
    return {
        runs: [
            (
                budget,
                most_over_to_pass(runs, share, confidence, looks),
                least_over_to_fail(runs, share, confidence, looks),
            )
            for share, budget in budgets_ms
        ]
        for runs in schedule
    }


def _risk(confidence: float, looks: int) -> float:
    # Up by a hair, so that a chance which equals the risk in exact arithmetic still counts.
    return (1 - confidence) / looks * (1 + 1e-9)


def _binomial(runs: int, chance: float) -> np.ndarray:
    """float64 [runs + 1]: the probability of each number of hits. By logarithms, so that nothing overflows."""
    log_factorial = np.array([0.0, *np.cumsum(np.log(np.arange(1, runs + 1)))])
    hits = np.arange(runs + 1)
    log_ways = log_factorial[runs] - log_factorial - log_factorial[::-1]
    return np.exp(log_ways + hits * math.log(chance) + (runs - hits) * math.log1p(-chance))
