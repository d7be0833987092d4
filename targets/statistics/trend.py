"""Whether latencies drift while they are measured, as on a core that heats up, and by how much."""

import math
from dataclasses import dataclass

import numpy as np

from targets.statistics.correlation import autocorrelations, ranks

BLOCKS = 100  # medians of so many blocks of runs are looked at: a pair for each two of them is enough
FEWEST = 10  # samples that a trend needs: below, the test's normal approximation is poor (Kendall 1975)
CHANCE = 0.01  # of calling a steady series a drifting one
SHORTEST = 100  # runs at the beginning of many that are looked at by themselves


@dataclass(frozen=True)
class Trend:
    """`rise`: from the first run to the last, in the samples' unit; negative if it fell. `chance`: of a trend as strong
    as this in a steady series, in [0, 1]."""

    rise: float
    chance: float

    @property
    def significant(self) -> bool:
        return self.chance <= CHANCE


def trend(samples: np.ndarray) -> Trend:
    """Mann and Kendall's test (Mann 1945, Kendall 1975), its variance corrected for autocorrelation (Hamed & Rao
    1998, A modified Mann-Kendall trend test for autocorrelated data), and Sen's slope (1968): the median of the slopes
    between any two. Of the medians of `BLOCKS` equal blocks where there are more samples than that."""
    if len(samples) < FEWEST:
        return Trend(0.0, 1.0)
    size = -(-len(samples) // BLOCKS)
    count = len(samples) // size
    series = np.median(samples[: count * size].reshape(count, size), axis=1)
    earlier, later = np.triu_indices(count, 1)
    steps = series[later] - series[earlier]
    slope = float(np.median(steps / (later - earlier)))
    score = float(np.sign(steps).sum())
    variance = _variance(series) * _correction(series - slope * np.arange(count))
    if variance <= 0:  # all equal
        return Trend(0.0, 1.0)
    z = max(0.0, abs(score) - 1) / math.sqrt(variance)
    return Trend(slope * len(samples) / size, math.erfc(z / math.sqrt(2)))


def steady_part(samples: np.ndarray) -> np.ndarray:
    """The last samples, without those before a rise. Looked at are the samples whole, their first half, their first
    quarter and so on, since a core that heats up soon does so at the beginning of many runs; of what rises by more than
    chance explains, the older half is left out, and what is left is looked at again. A fall leaves nothing out, since
    slow runs pass no budget."""
    while risen := _risen(samples):
        samples = samples[risen // 2 :]
    return samples


def _risen(samples: np.ndarray) -> int:
    """How many of the first samples rise: the most of the parts that do, 0 if none does. The chance of finding a rise
    in a steady series is shared out among the parts (Bonferroni)."""
    parts = [len(samples)]
    while parts[-1] // 2 >= SHORTEST:
        parts.append(parts[-1] // 2)
    for runs in parts:
        found = trend(samples[:runs])
        if found.rise > 0 and found.chance <= CHANCE / len(parts):
            return runs
    return 0


def _variance(series: np.ndarray) -> float:
    """Of Kendall's score if the samples are independent, with equal samples taken into account."""
    count = len(series)
    ties = np.unique(series, return_counts=True)[1].astype(np.float64)
    among = float((ties * (ties - 1) * (2 * ties + 5)).sum())
    return (count * (count - 1) * (2 * count + 5) - among) / 18


def _correction(steady: np.ndarray) -> float:
    """By which factor autocorrelation widens that variance, from the ranks of the series without its slope. Never below
    1: a series that swings back and forth is given no credit for it."""
    order, count = ranks(steady), len(steady)
    if order.min() == order.max():
        return 1.0
    lag = np.arange(1, count - 2)
    found = autocorrelations(order)[lag]
    weights = (count - lag) * (count - lag - 1.0) * (count - lag - 2.0) * (np.abs(found) > 1.96 / math.sqrt(count))
    return max(1.0, 1 + 2 * float(weights @ found) / (count * (count - 1) * (count - 2)))
