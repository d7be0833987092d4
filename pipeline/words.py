"""Figures as people read them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

BARS = "▁▂▃▄▅▆▇█"


def short(value: float) -> str:
    """Three significant digits, and never an exponent for a large figure: 0.400, 1.50, 16.7, 1,234."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def listed(counts: Mapping[str, int], most: int | None = None) -> str:
    """`18 hard-swish, 2 softmax`: the most frequent first; of more than `most` kinds the rest as one number."""
    kinds = Counter(counts).most_common()
    shown = [f"{count} {kind}" for kind, count in kinds[:most]]
    rest = sum(count for _, count in kinds[len(shown) :])
    return ", ".join([*shown, *([f"{rest} others"] if rest else [])])


def sparkline(values: Sequence[float], width: int = 16) -> str:
    """The course of `values` in bars of eight heights from the least to the largest; of more than `width` of them, each
    bar is the mean of some. Empty where there is no course to see: fewer than two values, or all the same."""
    if len(values) < 2 or min(values) == max(values):
        return ""
    bars = min(len(values), width)
    ends = [round(index * len(values) / bars) for index in range(bars + 1)]
    means = [sum(values[start:end]) / (end - start) for start, end in pairwise(ends)]
    low, span = min(means), max(means) - min(means)
    return "".join(BARS[round((mean - low) / span * (len(BARS) - 1)) if span else 0] for mean in means)
