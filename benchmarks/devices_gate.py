"""How often the latency gate errs: on simulated devices whose latency is known, and on this host, where the verdicts on
one bundle must agree.

A device that is exactly on its budget must not pass: of its latencies as many are over as the percentile allows. One
clearly within it must, and the number of runs that this takes is told.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter
from scipy.stats import norm

from benchmarks.record import Bar, write_result
from targets.latency import decided, early_stopping, look_schedule
from targets.profile import Budgets, Measure

TRIALS = 1000
SHARE = 0.90
CONFIDENCE = Budgets().confidence
PLAN = Measure()
WITHIN, BEYOND = 0.02, 0.25  # shares of runs over the budget of a device clearly within it, and clearly beyond it
HOT = 100  # runs until the drifting device has slowed down to the latency that counts
ALIKE = 0.9  # correlation of each run with the next

# Standard normal numbers, float64 [runs], as latencies in ms.
Device = Callable[[np.ndarray], np.ndarray]


def normal(z: np.ndarray) -> np.ndarray:
    return 10 + 0.5 * z


def lognormal(z: np.ndarray) -> np.ndarray:
    return 10 * np.exp(0.3 * z)


def bimodal(z: np.ndarray) -> np.ndarray:
    """Two clocks: one run in five takes half as long again. Rises with `z`, so that a share of runs stays that share."""
    return 10 + 0.2 * z + 5.0 * (z > norm.isf(0.2))


def drifting(z: np.ndarray) -> np.ndarray:
    """A fifth quicker until it is hot."""
    return lognormal(z / 3) * (0.8 + 0.2 * np.minimum(np.arange(len(z)) / HOT, 1.0))


def wandering(numbers: np.ndarray) -> np.ndarray:
    """Independent standard normal numbers as a first-order autoregressive series, each again standard normal."""
    steps = numbers * np.sqrt(1 - ALIKE**2)
    steps[0] = numbers[0]
    return np.asarray(lfilter([1.0], [1.0, -ALIKE], steps))


DEVICES: dict[str, tuple[Device, Device | None]] = {
    "normal": (normal, None),
    "lognormal": (lognormal, None),
    "bimodal": (bimodal, None),
    "autocorrelated": (lognormal, wandering),
    "drifting": (drifting, None),
}


def trial(random: np.random.Generator, device: str, over: float) -> tuple[str, int]:
    """The gate's verdict on a device of whose latencies the share `over` is over the budget, and the runs it took."""
    latency, series = DEVICES[device]
    numbers = random.standard_normal(PLAN.max_runs)
    samples = latency(numbers if series is None else series(numbers))
    budget = float(latency(np.full(HOT + 1, norm.isf(over)))[-1])  # of the hot device, where it drifts
    schedule = look_schedule(PLAN.min_runs, PLAN.max_runs)
    runs = next(
        (runs for runs in schedule if decided(samples[:runs], [(SHARE, budget)], CONFIDENCE, len(schedule))),
        PLAN.max_runs,
    )
    return early_stopping(samples[:runs], budget, SHARE, CONFIDENCE, len(schedule)).outcome, runs
