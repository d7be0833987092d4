"""Which rung of the ladder keeps to a limit that only measuring tells: few measurements, each where the ones before
say that the limit lies."""

from collections.abc import Callable, Sequence

NEAR = 0.02  # share of the limit by which a rung may stay under it and end the search


def first_within(
    cost: Callable[[int], float], amounts: Sequence[float], top: float, limit: float, slope: float
) -> dict[int, float]:
    """The costs measured, by rung, the chosen one last: the first rung whose cost is at most `limit`, or one that is
    nearly at it. Where there is none, the last rung.

    Costs fall from rung to rung with what the rungs have of something counted, `amounts`, about in a straight line;
    `top` is the first rung's cost, `slope` what a unit of the amount is thought to cost before any is measured. A
    false position search on the bracket of rungs, that takes a quarter off it each time at the least.
    """
    tried = {0: top}
    if top <= limit:
        return tried
    dear, within = 0, len(amounts)
    while within - dear > 1:
        rung = _guess(tried, amounts, dear, within, limit, slope)
        tried[rung] = cost(rung)
        if tried[rung] > limit:
            dear = rung
        else:
            within = rung
            if tried[rung] >= (1 - NEAR) * limit:
                break
    chosen = min(within, len(amounts) - 1)
    tried[chosen] = tried.pop(chosen)  # now the last
    return tried


def _guess(
    tried: dict[int, float], amounts: Sequence[float], dear: int, within: int, limit: float, slope: float
) -> int:
    """The first rung between two that is expected within the limit, on the line through them; while only rungs that
    cost too much are known, through the first and the last of these."""
    other = within if within in tried else 0
    if other != dear and amounts[dear] != amounts[other]:
        slope = (tried[dear] - tried[other]) / (amounts[dear] - amounts[other])
    known = within in tried
    expected = (tried[dear] - slope * (amounts[dear] - amounts[rung]) for rung in range(dear + 1, within))
    rung = next((dear + 1 + step for step, value in enumerate(expected) if value <= limit), within - 1)
    margin = (within - dear) // 4 if known else 0
    return min(max(rung, dear + 1 + margin), within - 1 - margin) if margin else rung
