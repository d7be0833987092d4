"""What a number of runs says of a latency: a summary, and MLPerf's early-stopping rule, which passes or fails a budget
only when the runs made leave at most a chance of 1 - confidence that it is the other way round, or asks for more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from targets.statistics.correlation import correlation_time, integrated_time
from targets.statistics.order import Interval, Outliers, binomial, outliers, percentile, percentile_interval
from targets.statistics.trend import Trend, steady_part, trend

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p99": 0.99}
GROWTH = 1.5  # from one look to the next
# Interquartile ranges from the median to a budget that latencies do not wander to. Of a normal distribution that is 13
# standard deviations; a short look at a slow wander may show but a tenth of its spread.
FAR = 10


@dataclass(frozen=True)
class Summary:
    """Milliseconds. Percentiles are nearest-rank: each is a latency that was measured."""

    p50: float
    p90: float
    p99: float
    mean: float


@dataclass(frozen=True)
class Description:
    """What else a series of latencies tells. `intervals`: by percentile, 95%; `correlation_time`: how many runs tell as
    much as an independent one, of the percentile where it is largest."""

    intervals: dict[str, Interval]
    correlation_time: float
    trend: Trend
    outliers: Outliers


@dataclass(frozen=True)
class Verdict:
    """`over` of `runs` took longer than the budget. `needed`: the fewest further runs, none of them over, that
    would pass; 0 unless undecided. `independent`: as how many runs they count, since runs that follow one another may
    be alike. `left_out`: runs made before those, while the latency rose."""

    outcome: Literal["pass", "fail", "undecided"]
    over: int
    runs: int
    needed: int
    independent: int
    left_out: int = 0


@dataclass(frozen=True)
class StopRule:
    """When runs may end. `budgets_ms`: (percentile as a share, limit) of each; `schedule`: the numbers of runs at which
    to look. Both are empty where no latency is judged."""

    budgets_ms: Sequence[tuple[float, float]] = ()
    confidence: float = 0.99
    schedule: Sequence[int] = ()

    @property
    def looks(self) -> int:
        return max(1, len(self.schedule))

    def ends(self, samples_ms: np.ndarray) -> bool:
        """Whether to stop after `samples_ms`: each budget has passed, or one has failed; at once without a budget."""
        if not self.budgets_ms:
            return True
        if len(samples_ms) not in self.schedule:
            return False
        found = {
            early_stopping(samples_ms, limit, share, self.confidence, self.looks).outcome
            for share, limit in self.budgets_ms
        }
        return "fail" in found or found == {"pass"}


def stop_rule(budgets_ms: Sequence[tuple[float, float]], confidence: float, min_runs: int, max_runs: int) -> StopRule:
    """For (percentile as a share, limit) of each latency budget; without any, runs end as soon as they may."""
    return StopRule(budgets_ms, confidence, look_schedule(min_runs, max_runs)) if budgets_ms else StopRule()


def summarise(samples_ms: np.ndarray) -> Summary:
    """p50, p90, p99 and mean of at least one sample."""
    shares = {name: percentile(samples_ms, share) for name, share in PERCENTILES.items()}
    return Summary(**shares, mean=float(np.mean(samples_ms)))


def describe(samples_ms: np.ndarray) -> Description:
    """Intervals of the percentiles, correlation, trend and outliers of samples in the order measured."""
    times = {name: correlation_time(samples_ms, share) for name, share in PERCENTILES.items()}
    return Description(
        intervals={
            name: percentile_interval(samples_ms, share, correlation_time=times[name])
            for name, share in PERCENTILES.items()
        },
        correlation_time=max(times.values()),
        trend=trend(samples_ms),
        outliers=outliers(samples_ms),
    )


def early_stopping(
    samples_ms: np.ndarray, budget_ms: float, percentile: float, confidence: float, looks: int = 1
) -> Verdict:
    """Is the `percentile` (a share in (0, 1), 0.9 for p90) of the latency within `budget_ms`? Samples in the order
    measured.

    MLPerf Inference's early stopping for single streams: with t of n runs over the budget, pass if
    P(at most t over | n, 1 - percentile) <= 1 - confidence, fail if P(at least t over | n, 1 - percentile) is,
    undecided otherwise. `looks`: at how many points on the way a verdict could have ended the runs;
    1 - confidence is shared out among them (Bonferroni), so that looking often makes no wrong pass likelier.

    The rule takes runs for independent draws of one distribution, so that is looked into first. Of a latency that rose
    only the last, steady runs are judged (`steady_part`): those before a core got hot pass nothing. Where c runs that
    follow one another tell as much as one (`correlation_time`), n and t are divided by c, t rounded to the side that
    decides less. A budget so far off that neither brings latencies near it (`FAR`) is judged by all runs, of which only
    those over it may be alike.
    """
    far = _far(samples_ms, budget_ms)
    judged = samples_ms if far else steady_part(samples_ms)
    runs, over = len(judged), int(np.count_nonzero(judged > budget_ms))
    alike = integrated_time((judged > budget_ms).astype(np.float64)) if far else correlation_time(judged, percentile)
    independent, counted = int(runs / alike), over / alike
    outcome: Literal["pass", "fail", "undecided"] = "undecided"
    if math.ceil(counted) <= most_over_to_pass(independent, percentile, confidence, looks):
        outcome = "pass"
    elif math.floor(counted) >= least_over_to_fail(independent, percentile, confidence, looks):
        outcome = "fail"
    needed = 0
    if outcome == "undecided":
        needed = max(1, math.ceil(alike * runs_to_pass(math.ceil(counted), percentile, confidence, looks)) - runs)
    return Verdict(outcome, over, runs, needed, independent, len(samples_ms) - runs)


def _far(samples_ms: np.ndarray, budget_ms: float) -> bool:
    if not len(samples_ms):
        return False
    low, middle, high = (percentile(samples_ms, share) for share in (0.25, 0.50, 0.75))
    return abs(budget_ms - middle) > FAR * (high - low)


def look_schedule(min_runs: int, max_runs: int) -> tuple[int, ...]:
    """The numbers of runs at which to look for a verdict: `min_runs`, each time half as many again until `max_runs`,
    the last. Closer looks would ask for fewer runs too many, but share 1 - confidence among more of them."""
    schedule = []
    runs = min_runs
    while runs < max_runs:
        schedule.append(runs)
        runs = math.ceil(GROWTH * runs)
    return (*schedule, max_runs)


@cache
def most_over_to_pass(runs: int, percentile: float, confidence: float, looks: int = 1) -> int:
    """How many of `runs` may be over the budget for a pass; -1: not even with none."""
    at_most = np.cumsum(binomial(runs, 1 - percentile))
    return int(np.count_nonzero(at_most <= _risk(confidence, looks))) - 1


@cache
def least_over_to_fail(runs: int, percentile: float, confidence: float, looks: int = 1) -> int:
    """From how many of `runs` over the budget on it is a fail; `runs` + 1: not even with all."""
    at_least = np.cumsum(binomial(runs, 1 - percentile)[::-1])[::-1]
    return runs + 1 - int(np.count_nonzero(at_least <= _risk(confidence, looks)))


@cache
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


def _risk(confidence: float, looks: int) -> float:
    # Up by a hair, so that a chance which equals the risk in exact arithmetic still counts.
    return (1 - confidence) / looks * (1 + 1e-9)
