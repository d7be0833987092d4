"""The fewest layers in float that keep a promise, found with few trials."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """`kept`, in the order in which they were ranked, and by how many points each set that was tried falls short."""

    kept: tuple[str, ...]
    tried: dict[frozenset[str], float]


def fewest(ranked: Sequence[str], loss: Callable[[frozenset[str]], float], limit: float) -> Choice:
    """The layers of `ranked`, most sensitive first, to keep in float for `loss(kept)` to be at most `limit`.

    As many of the first as it takes: 0, 1, 2, 4 ... are tried until the limit holds, and between the last two counts
    the halves: as a rule the loss falls as layers are added, so a binary search finds their number.
    Then each of them, from the least sensitive on, is tried without: what the ranking overrates goes back, so that none
    of those left can be spared. Where no set holds the limit, the least loss that any had is the limit.
    """
    tried: dict[frozenset[str], float] = {}

    def loss_of(kept: Sequence[str]) -> float:
        chosen = frozenset(kept)
        if chosen not in tried:
            tried[chosen] = loss(chosen)
        return tried[chosen]

    low, high = -1, 0  # with the first `low` the limit does not hold
    while loss_of(ranked[:high]) > limit and high < len(ranked):
        low, high = high, min(max(1, 2 * high), len(ranked))
    if loss_of(ranked[:high]) > limit:
        limit = min(tried.values())
        high = min(len(kept) for kept, lost in tried.items() if lost <= limit)
    else:
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if loss_of(ranked[:middle]) <= limit else (middle, high)
    kept = list(ranked[:high])
    for layer in reversed(list(kept)):
        without = [other for other in kept if other != layer]
        if loss_of(without) <= limit:
            kept = without
    return Choice(tuple(kept), tried)
