"""False alarms of `edgepress monitor` on simulated logs without drift, and how many inferences it takes to find drifts
of several sizes.

Labels, confidences and latencies are drawn anew for each trial, those of the test set too: a real bundle's reference
is a sample as well. A log is looked at once, at one length; for delays it grows until the first alarm.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.record import Bar, quick_asked, write_result
from pipeline.monitoring.drift import SIGNIFICANCE, confidence_test, judged, labels_test, latency_test
from pipeline.monitoring.reference import confidence_counts

TRIALS, DELAYED = 1000, 200
TESTED = (200, 1000, 10_000)  # test samples
SEEN = (100, 1000, 10_000)  # inferences in a log without drift
LOOKS = tuple(int(n) for n in np.unique(np.round(np.geomspace(100, 10_000, 17))))  # lengths of a log that grows
CLASSES = 10
BUDGET_OF_ALARMS = SIGNIFICANCE

# What a draw gives: labels int64, confidences and milliseconds float64, each [n].
Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray, np.ndarray]]


def field(moved: float = 0.0, unsure: float = 0.0, slower: float = 1.0) -> Draw:
    """`moved`: share of the answers that go to the first label instead of the last five; `unsure`: share of the inputs
    of a kind on which the model is less sure; `slower`: times the latency."""
    shares = np.full(CLASSES, 1 / CLASSES)
    shares[0] += moved
    shares[-5:] -= moved / 5

    def draw(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sure, strange = random.beta(12, 0.6, count), random.beta(3, 2, count)
        confidences = np.where(random.random(count) < unsure, strange, sure)
        return random.choice(CLASSES, count, p=shares), confidences, slower * random.lognormal(1.4, 0.25, count)

    return draw


DRIFTS: dict[str, Draw] = {
    **{f"{moved:.0%} of the labels moved": field(moved=moved) for moved in (0.10, 0.15, 0.20, 0.30, 0.45)},
    **{f"{unsure:.0%} of the inputs strange": field(unsure=unsure) for unsure in (0.10, 0.15, 0.20, 0.30, 0.50)},
    **{f"{slower:g} times as slow": field(slower=slower) for slower in (1.1, 1.2, 1.5, 2.0)},
}
CLEAR = ("30% of the labels moved", "30% of the inputs strange", "1.5 times as slow")


def alarms(reference: tuple[np.ndarray, ...], seen: tuple[np.ndarray, ...]) -> bool:
    tests = [
        labels_test(*(np.bincount(part[0], minlength=CLASSES) for part in (reference, seen))),
        confidence_test(*(confidence_counts(part[1]) for part in (reference, seen))),
        latency_test(reference[2], seen[2]),
    ]
    return any(test.drifted for test in judged(tests))


def false_alarms(tested: int, seen: int, trials: int) -> float:
    random, same = np.random.default_rng([tested, seen]), field()
    return float(np.mean([alarms(same(random, tested), same(random, seen)) for _ in range(trials)]))


def watched(tested: int, trials: int) -> float:
    """Share of logs without drift that raise an alarm at one length of `LOOKS` or another."""
    random, same = np.random.default_rng([tested, 7]), field()
    return float(np.mean([delay(random, same, tested) is not None for _ in range(trials)]))


def delay(random: np.random.Generator, drift: Draw, tested: int) -> int | None:
    """The length of the log at its first alarm, None if there was none."""
    reference, whole = field()(random, tested), drift(random, LOOKS[-1])
    return next((n for n in LOOKS if alarms(reference, tuple(part[:n] for part in whole))), None)


def delays(drift: Draw, tested: int, trials: int) -> dict[str, Any]:
    random = np.random.default_rng(tested)
    found = [delay(random, drift, tested) for _ in range(trials)]
    lengths = np.array([LOOKS[-1] + 1 if length is None else length for length in found])
    p50, p90 = (float(np.percentile(lengths, share, method="inverted_cdf")) for share in (50, 90))
    return {
        "found": float(np.mean([length is not None for length in found])),
        "inferences_p50": p50 if p50 <= LOOKS[-1] else None,
        "inferences_p90": p90 if p90 <= LOOKS[-1] else None,
    }


def main() -> None:
    quick = quick_asked()
    trials, delayed = (30, 10) if quick else (TRIALS, DELAYED)
    without = {
        f"{tested} test samples, {seen} inferences": false_alarms(tested, seen, trials)
        for tested in TESTED
        for seen in SEEN
    }
    print(without, flush=True)
    found = {}
    for name, drift in DRIFTS.items():
        found[name] = delays(drift, 1000, delayed)
        print(name, found[name], flush=True)
    figures: dict[str, Any] = {
        "significance": SIGNIFICANCE,
        "trials": trials,
        "false_alarms": without,
        "false_alarms_watched": {"looks": list(LOOKS), "share": watched(1000, delayed)},
        "delays": {"trials": delayed, "test_samples": 1000, "drifts": found},
    }
    bars = [
        Bar("monitor: most false alarms, share of logs without drift", max(without.values()), "<=", BUDGET_OF_ALARMS),
        *(
            Bar(
                f"monitor: {name}, inferences until found (90% of trials)",
                found[name]["inferences_p90"] or 1e9,
                "<=",
                1000,
            )
            for name in CLEAR
        ),
    ]
    write_result("dropin-monitor", figures, bars, quick)


if __name__ == "__main__":
    main()
