"""By how much runs that follow one another resemble one another: how many of them tell as much as one that stands
alone. Rules and intervals that take runs for independent would decide too soon without it."""

import math

import numpy as np

from targets.statistics.order import percentile

SURE = 2.33  # standard errors (1% by chance): a first correlation that is no larger is taken for none


def correlation_time(samples: np.ndarray, share: float) -> float:
    """How many runs in order tell as much about the `share` percentile as one independent run does; 1 if they are
    independent as far as the first correlation shows.

    The larger of two: that of the samples' ranks, and that of being above the percentile itself (Vehtari et al. 2021,
    Rank-normalization, folding, and localization, section 4: a quantile's effective sample size is its indicator's).
    What comes less often than about once in `samples` can't be seen in them.
    """
    if len(samples) < 4:
        return 1.0
    above = (samples > percentile(samples, share)).astype(np.float64)
    return max(integrated_time(ranks(samples)), integrated_time(above))


def ranks(samples: np.ndarray) -> np.ndarray:
    """float64 [n]: 0 for the smallest; equal samples share the mean of theirs."""
    _, place, counts = np.unique(samples, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[place]


def autocorrelations(series: np.ndarray) -> np.ndarray:
    """float64 [n]: of a series that is not constant, by lag; 1 for lag 0."""
    centred = series - series.mean()
    spectrum = np.fft.rfft(centred, 2 * len(series))
    sums = np.fft.irfft(spectrum * spectrum.conj())[: len(series)]
    return np.asarray(sums / sums[0])


def integrated_time(series: np.ndarray) -> float:
    """1 + twice the sum of the autocorrelations, 1 for a short or constant series: by Geyer's initial monotone sequence
    (1992, Practical Markov Chain Monte Carlo, 3.3). Pairs of lags are added up to the first that is negative, none
    counting more than the one before it."""
    if len(series) < 4 or series.min() == series.max():
        return 1.0
    found = autocorrelations(series)
    if found[1] * math.sqrt(len(series)) <= SURE:
        return 1.0
    pairs = found[: len(series) // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    initial = pairs[: negative[0]] if len(negative) else pairs
    return max(1.0, 2 * float(np.minimum.accumulate(initial).sum()) - 1)
