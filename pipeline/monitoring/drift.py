"""Whether what is seen in the field is what the reference says: well-known tests, corrected for being several, and an
effect that must be large enough to matter, so that a huge log raises no alarm about nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np
from scipy.stats import binomtest, chi2_contingency, false_discovery_control, ks_2samp, kstwobign

from pipeline.monitoring.reference import STEPS
from pipeline.words import short

SIGNIFICANCE = 0.01
MOVED = 0.10  # of the labels, or of the confidences' distribution: one answer in ten
SLOWER = 1.10  # times the reference's p90, as the gate's baseline allows
EXPECTED = 5  # in each cell of a table of counts, for the chi-square approximation (Cochran 1954)


@dataclass(frozen=True)
class DriftTest:
    """One comparison. `effect` has drifted if `p`, adjusted for the other tests, is below the significance and it
    reaches `limit`. `p` None: not tested, `explanation` says why."""

    name: str
    method: str
    effect: float
    effect_name: str
    limit: float
    p: float | None
    drifted: bool
    explanation: str


def labels_test(reference: np.ndarray, observed: np.ndarray) -> DriftTest:
    """Chi-square test of homogeneity of two int64 [classes] counts; effect: total variation, the share of answers that
    would have to be others. Labels of which too few are expected stand together as one."""
    table = _pooled(np.stack([reference, observed]).astype(np.float64))
    shares = table / table.sum(axis=1, keepdims=True)
    moved = float(np.abs(shares[0] - shares[1]).sum() / 2)
    if table.shape[1] < 2:
        return DriftTest(
            "labels", "chi-square", 0.0, "total variation", MOVED, None, False, "all answers are one label"
        )
    p = float(chi2_contingency(table, correction=False).pvalue)
    text = f"{moved:.1%} of the answers moved to other labels"
    return DriftTest("labels", "chi-square", moved, "total variation", MOVED, p, False, text)


def confidence_test(reference: np.ndarray, observed: np.ndarray) -> DriftTest:
    """Two-sample Kolmogorov-Smirnov test of counts by hundredth, int64 [STEPS + 1]; effect: its statistic, the largest
    distance of the two distribution functions. Ties make it conservative."""
    steps = np.arange(STEPS + 1)
    before, now = np.repeat(steps, reference), np.repeat(steps, observed)
    found = ks_2samp(before, now, method="asymp")
    text = f"mean {before.mean() / STEPS:.3f} in the reference, {now.mean() / STEPS:.3f} in the field"
    return DriftTest(
        "confidence", "Kolmogorov-Smirnov", float(found.statistic), "D", MOVED, float(found.pvalue), False, text
    )


def latency_test(reference: np.ndarray, observed: np.ndarray) -> DriftTest:
    """One-sided Kolmogorov-Smirnov test for slower inferences, of milliseconds; effect: times the reference's p90."""
    before, now = (float(np.percentile(times, 90, method="inverted_cdf")) for times in (reference, observed))
    p = float(ks_2samp(observed, reference, alternative="less", method="asymp").pvalue)
    text = f"p90 {short(before)} ms in the reference, {short(now)} ms in the field"
    return DriftTest("latency", "Kolmogorov-Smirnov", now / before, "times the p90", SLOWER, p, False, text)


def budget_test(share: float, budget: float, observed: np.ndarray) -> DriftTest:
    """Binomial test whether more than 1 - `share` of the inferences take longer than `budget` ms; effect: times the
    budget that the percentile takes."""
    over = int(np.count_nonzero(observed > budget))
    found = float(np.percentile(observed, 100 * share, method="inverted_cdf"))
    p = float(binomtest(over, len(observed), 1 - share, alternative="greater").pvalue)
    name = f"p{100 * share:g}"
    text = f"{name} {short(found)} ms, budget {budget:g} ms: {over / len(observed):.1%} of the inferences were over it"
    return DriftTest(f"latency budget {name}", "binomial", found / budget, "times the budget", 1.0, p, False, text)


def judged(tests: Sequence[DriftTest], significance: float = SIGNIFICANCE) -> tuple[DriftTest, ...]:
    """The tests with p adjusted for all that were made (Benjamini and Hochberg 1995), and whether each has drifted."""
    made = [test.p for test in tests if test.p is not None]
    adjusted = iter(false_discovery_control(made).tolist() if made else [])
    ready = [replace(test, p=None if test.p is None else next(adjusted)) for test in tests]
    return tuple(
        replace(test, drifted=test.p is not None and test.p < significance and test.effect >= test.limit)
        for test in ready
    )


def inferences_needed(reference: int, significance: float = SIGNIFICANCE) -> float:
    """How many inferences it takes for a confidence drift of `MOVED` to be significant, against a reference of so
    many; infinite where the reference itself is too small."""
    wanted = (float(kstwobign.isf(significance)) / MOVED) ** 2  # n * m / (n + m)
    return inf if reference <= wanted else wanted * reference / (reference - wanted)


def _pooled(table: np.ndarray) -> np.ndarray:
    """Counts [2, classes] with the labels of which too few are expected added together, and, where that is still too
    few, to the rarest of the others. Labels that nobody saw are left out."""
    table = table[:, table.sum(axis=0) > 0]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    order = np.argsort(expected.min(axis=0), kind="stable")
    table, least = table[:, order], expected.min(axis=0)[order]
    few = int(np.count_nonzero(least < EXPECTED))
    while 0 < few < len(least) and least[:few].sum() < EXPECTED:
        few += 1
    if few > 1:
        table = np.concatenate([table[:, :few].sum(axis=1, keepdims=True), table[:, few:]], axis=1)
    return table
