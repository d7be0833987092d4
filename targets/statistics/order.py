"""Percentiles as order statistics, and their intervals from the binomial distribution, whatever the latencies' own."""

import math
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95  # of every interval that a report shows


@dataclass(frozen=True)
class Interval:
    """Milliseconds, or whatever the samples are in. None: the samples are too few to bound it on that side."""

    low: float | None
    high: float | None


@dataclass(frozen=True)
class Outliers:
    """`count` samples lie above `fence`, `worst` is the largest of all samples."""

    count: int
    fence: float
    worst: float


def percentile(samples: np.ndarray, share: float) -> float:
    """Nearest rank: the smallest sample that at least `share` (in (0, 1]) of the samples do not exceed."""
    rank = math.ceil(round(share * len(samples), 6))  # rounded: 0.07 * 100 is a hair above 7 in floats
    return float(np.sort(samples)[max(rank, 1) - 1])


def percentile_interval(
    samples: np.ndarray, share: float, level: float = LEVEL, correlation_time: float = 1.0
) -> Interval:
    """Interval that holds the true percentile with a chance of at least `level`: two order statistics, each of which
    is on the wrong side of it with at most half of what is left (Hahn & Meeker 1991, Statistical Intervals, 5.2).

    The number of samples not above the true percentile is binomial if runs are independent. Where they are not, the
    ranks are those of `len(samples) / correlation_time` runs, spread over the samples.
    """
    runs = len(samples)
    independent = max(1, int(runs / correlation_time))
    below = np.cumsum(binomial(independent, share))  # [i]: the chance that at most i are not above the percentile
    wrong = (1 - level) / 2
    low = int(np.count_nonzero(below <= wrong))  # the largest rank with P(fewer than `low`) <= wrong
    high = int(np.count_nonzero(below < 1 - wrong)) + 1  # the smallest with P(`high` or more) <= wrong
    ordered = np.sort(samples)
    return Interval(
        low=None if low < 1 else float(ordered[max(1, math.floor(low * runs / independent)) - 1]),
        high=None if high > independent else float(ordered[math.ceil(high * runs / independent) - 1]),
    )


def outliers(samples: np.ndarray) -> Outliers:
    """Samples "far out": above the third quartile by more than three times the distance of the quartiles (Tukey 1977,
    Exploratory Data Analysis, 2D). They are told, never left out: an app has them too."""
    lower, upper = (percentile(samples, share) for share in (0.25, 0.75))
    fence = upper + 3 * (upper - lower)
    return Outliers(int(np.count_nonzero(samples > fence)), fence, float(np.max(samples)))


def binomial(runs: int, chance: float) -> np.ndarray:
    """float64 [runs + 1]: the probability of each number of hits, for a `chance` in (0, 1). By logarithms, so that
    nothing overflows."""
    log_factorial = np.array([0.0, *np.cumsum(np.log(np.arange(1, runs + 1)))])
    hits = np.arange(runs + 1)
    log_ways = log_factorial[runs] - log_factorial - log_factorial[::-1]
    return np.exp(log_ways + hits * math.log(chance) + (runs - hits) * math.log1p(-chance))
