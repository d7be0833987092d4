"""Gradual pruning: many at first, while there are many that matter little, fewer and fewer later (Zhu and Gupta
2017)."""

from collections.abc import Sequence

from pipeline.pruning.ladder import Rung


def share_left(cut: int, cuts: int, final: float) -> float:
    """What is left of the whole after cut `cut` of `cuts`, from 1, of which the last leaves `final`: 1 - s with the
    cubic s = S - S (1 - t)^3 of section 3, S = 1 - final."""
    return final + (1 - final) * (1 - cut / cuts) ** 3


def cutting_points(rungs: Sequence[Rung], cuts: int) -> list[Rung]:
    """The rung at which each cut ends, by multiply-accumulates: the first that has no more than its share of the
    first rung's. The last cut ends at the last rung."""
    whole, final = rungs[0].macs, rungs[-1].macs / rungs[0].macs
    shares = [share_left(cut, cuts, final) for cut in range(1, cuts)]
    return [next(rung for rung in rungs if rung.macs <= share * whole) for share in shares] + [rungs[-1]]


def epochs_between(cuts: int, epochs: int) -> list[int]:
    """Epochs of training after each cut: one, and after the last all that are left."""
    return [1] * (cuts - 1) + [epochs - cuts + 1]
