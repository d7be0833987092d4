"""How many times as long one thing takes as another, both timed in turn, with the interval of that ratio."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from targets.statistics.correlation import correlation_time
from targets.statistics.order import LEVEL, percentile_interval

# With fewer there is no 95% interval of a median: all of five rounds lie on one side of it once in 16 times.
FEWEST_ROUNDS = 6


@dataclass(frozen=True)
class Ratio:
    """`value`: the median over the rounds; `low` and `high`: its 95% interval, None where the rounds are too few."""

    value: float
    low: float | None
    high: float | None
    rounds: int

    @property
    def outcome(self) -> Literal["faster", "slower", "no difference"]:
        """Of the first thing, as far as the interval leaves no doubt."""
        if self.high is not None and self.high < 1:
            return "faster"
        return "slower" if self.low is not None and self.low > 1 else "no difference"

    def told(self) -> str:
        if self.outcome == "no difference":
            return f"no difference that {self.rounds} rounds can show"
        return self.outcome


def ratio_of_rounds(first: np.ndarray, second: np.ndarray, level: float = LEVEL) -> Ratio:
    """Of what `first` takes to what `second` takes, both float64 [rounds, runs], measured in turn.

    A round gives one ratio, of its two medians: what slowed the machine in that round slowed both. The interval is that
    of the median of the rounds' ratios, by order statistics, with the rounds' correlation taken into account; that of
    the inverse ratio is its inverse.
    """
    ratios = np.log(np.median(first, axis=1) / np.median(second, axis=1))
    found = percentile_interval(ratios, 0.5, level, correlation_time(ratios, 0.5))
    low, high = (None if bound is None else float(np.exp(bound)) for bound in (found.low, found.high))
    return Ratio(float(np.exp(np.median(ratios))), low, high, len(ratios))
