"""How far two networks' attributions of the same inputs agree, and how far they would by chance."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from pipeline.results import AgreementFigures

ROUNDS = 20  # pairings of every sample with another, for what agreement is by chance
HIGH = 0.95  # quantile of what agreement is by chance
LEAST_PARTS = 3  # of fewer parts a rank correlation tells nothing


@dataclass(frozen=True)
class Parts:
    """Attributions of one sample's parts [U]; `used`: those that are compared. `spans` of a text's parts [U, 2]."""

    teacher: np.ndarray
    student: np.ndarray
    used: np.ndarray
    spans: np.ndarray | None = None


def rank_correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Spearman's rank correlation in [-1, 1] of two attributions [U]: 1 where the same parts count more and less; equal
    values share their mean rank. NaN where one is constant, or of fewer than three parts."""
    if len(one) < LEAST_PARTS or np.ptp(one) == 0 or np.ptp(two) == 0:
        return math.nan
    ranks = [rankdata(values) for values in (one, two)]
    a, b = (rank - rank.mean() for rank in ranks)
    return float(np.clip(a @ b / math.sqrt((a @ a) * (b @ b)), -1, 1))


def top_overlap(one: np.ndarray, two: np.ndarray, share: float) -> float:
    """Of the `share` of parts, rounded up, that speak most for the class in attribution `one` [U], the share that is
    among as many in `two`; of equal values the first. NaN where one is constant, or of fewer than three parts."""
    if len(one) < LEAST_PARTS or np.ptp(one) == 0 or np.ptp(two) == 0:
        return math.nan
    count = math.ceil(share * len(one))
    first, second = (np.argsort(-values, kind="stable")[:count] for values in (one, two))
    return len(np.intersect1d(first, second)) / count


def chance_pairs(count: int, seed: int) -> np.ndarray:
    """int64 [ROUNDS * count, 2]: each sample with another one, in each round another. Needs two samples."""
    random = np.random.default_rng([seed, count])
    orders = [random.permutation(count) for _ in range(ROUNDS)]
    return np.concatenate([np.stack([order, np.roll(order, 1)], axis=1) for order in orders])


def measured(
    parts: Sequence[Parts], measure: Callable[[np.ndarray, np.ndarray], float], seed: int
) -> tuple[np.ndarray, AgreementFigures | None]:
    """`measure` of each sample [N], and how it does beside chance: the student's attribution of another sample, part by
    part as far as both have them."""
    values = np.array([measure(part.teacher[part.used], part.student[part.used]) for part in parts])
    chance = []
    for one, two in chance_pairs(len(parts), seed):
        first, second = parts[one], parts[two]
        length = min(len(first.used), len(second.used))
        both = first.used[:length] & second.used[:length]
        chance.append(measure(first.teacher[:length][both], second.student[:length][both]))
    defined, mismatched = values[~np.isnan(values)], np.array(chance)[~np.isnan(chance)]
    if not len(defined) or not len(mismatched):
        return values, None
    high = float(np.quantile(mismatched, HIGH))
    return values, AgreementFigures(
        float(defined.mean()), float(np.median(defined)), len(values) - len(defined), float(mismatched.mean()), high,
        float((defined > high).mean()),
    )  # fmt: skip
