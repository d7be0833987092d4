"""The front of a search: the trials that no other beats in everything, and which of them to take."""

from collections.abc import Sequence

from pipeline.search.result import Trial
from pipeline.settings.search import Direction, Goal

COSTS = {"latency": "latency_ms.p50", "size": "size_mb"}  # the figures that goals stand for
DIRECTIONS: dict[str, Direction] = {"accuracy": "maximize", "latency": "minimize", "size": "minimize"}

AHEAD = 2  # students that cost no more and were more accurate after the same epoch, for one to be given up
WARM_UP = 1 / 3  # of a training, in which none is given up
MARGIN = 0.05  # by which a student may be over a budget before it is trained: pruning and clocks are not exact


def costs_of(over: Sequence[Goal]) -> list[str]:
    """The keys of the figures that are to be small."""
    return [COSTS[goal] for goal in over if goal in COSTS]


def goals_first(over: Sequence[Goal]) -> tuple[Goal, ...]:
    """The goals with accuracy in front."""
    return ("accuracy", *(goal for goal in over if goal != "accuracy"))


def losses(trial: Trial, over: Sequence[Goal]) -> tuple[float, ...]:
    """Of a trial that is done: a number for each goal, the smaller the better."""
    assert trial.accuracy is not None, "only trials that are done are compared"
    return (-trial.accuracy, *(trial.figures[key] for key in costs_of(over)))


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether losses `one` are nowhere above `other`, and somewhere below."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))


def front_of(trials: Sequence[Trial], over: Sequence[Goal]) -> list[Trial]:
    """The trials that are done and that no other dominates, the cheapest first; of those that are equal in every goal
    the first that was made."""
    done = {trial.number: losses(trial, over) for trial in trials if trial.state == "done"}
    kept: list[Trial] = []
    for trial in sorted((trial for trial in trials if trial.number in done), key=lambda trial: trial.number):
        own = done[trial.number]
        equal = any(done[other.number] == own for other in kept)
        if not equal and not any(dominates(other, own) for other in done.values()):
            kept.append(trial)
    return sorted(kept, key=lambda trial: (done[trial.number][1:], trial.number))


def knee_of(front: Sequence[Trial], over: Sequence[Goal]) -> Trial | None:
    """The trial nearest to what no trial is, the best in every goal at once, with each goal scaled to the front's own
    range; None of fewer than three, between which there is no bend."""
    if len(front) < 3:
        return None
    columns = list(zip(*(losses(trial, over) for trial in front), strict=True))
    ends = [(min(column), max(column)) for column in columns]

    def distance(trial: Trial) -> float:
        scaled = zip(losses(trial, over), ends, strict=True)
        return sum(((value - low) / (high - low)) ** 2 for value, (low, high) in scaled if high > low)

    return min(front, key=lambda trial: (round(distance(trial), 12), trial.number))


def best_of(front: Sequence[Trial]) -> Trial | None:
    """The most accurate that keeps to the budgets; of equals the cheapest. None if none does."""
    fitting = [trial for trial in front if trial.feasible]
    return max(fitting, key=lambda trial: trial.accuracy or 0.0, default=None)


def is_behind(
    accuracy: float,
    figures: dict[str, float],
    others: Sequence[tuple[float, dict[str, float]]],
    over: Sequence[Goal],
) -> bool:
    """Whether a student that came to `accuracy` so far, and costs `figures`, will hardly reach the front: `AHEAD` of
    the `others`, who had that accuracy after the same epoch, cost no more in anything and were more accurate."""
    keys = costs_of(over)
    ahead = [theirs > accuracy and all(costs[key] <= figures[key] for key in keys) for theirs, costs in others]
    return sum(ahead) >= AHEAD
