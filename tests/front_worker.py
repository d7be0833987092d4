"""Trials over a front that is known; run as a module, this is one of several processes that share their search."""

import sys
from pathlib import Path

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.recipe import Recipe
from pipeline.search.best import Judged
from pipeline.search.front.goals import DIRECTIONS
from pipeline.search.front.study import Costs, FrontJudge, run_front_search
from pipeline.search.space import Space
from pipeline.search.study import Search
from pipeline.settings.search import Goal, Hyperparameter
from tests.search_worker import EPOCHS, mortal, train, wait_for_others

OVER: tuple[Goal, ...] = ("accuracy", "latency", "size")
SPACE: Space = {
    "student.width": Hyperparameter(choices=(0.25, 0.5, 1.0, 2.0), when={"student.family": ("mobilenetv2",)}),
    "student.family": Hyperparameter(choices=("mobilenetv2", "squeezenet")),
    "prune.macs": Hyperparameter(choices=(0.5, 1.0)),
}
# What each of them comes to: accuracy, ms and MB. A width of 2 is over its budget of 1.5 MB.
LIMIT = 1.5
REACHED = {
    ("mobilenetv2", 0.25, 1.0): (0.70, 1.0, 0.2), ("mobilenetv2", 0.25, 0.5): (0.60, 0.6, 0.15),
    ("mobilenetv2", 0.5, 1.0): (0.80, 2.0, 0.5), ("mobilenetv2", 0.5, 0.5): (0.78, 1.2, 0.4),
    ("mobilenetv2", 1.0, 1.0): (0.90, 4.0, 1.4), ("mobilenetv2", 1.0, 0.5): (0.79, 2.5, 1.0),
    ("mobilenetv2", 2.0, 1.0): (0.95, 8.0, 4.0), ("mobilenetv2", 2.0, 0.5): (0.93, 6.0, 3.0),
    ("squeezenet", 1.0, 1.0): (0.75, 3.0, 0.1), ("squeezenet", 1.0, 0.5): (0.65, 2.0, 0.08),
}  # fmt: skip
# By hand: 0.79 at 2.5 ms and 1 MB loses to 0.80 at 2 ms and 0.5 MB; those over the budget are not trained.
FRONT = set(REACHED) - {("mobilenetv2", 1.0, 0.5), ("mobilenetv2", 2.0, 1.0), ("mobilenetv2", 2.0, 0.5)}


def student(recipe: Recipe) -> tuple[str, float, float]:
    assert recipe.prune.macs is not None
    return recipe.student.family, recipe.student.width, recipe.prune.macs


def price(recipe: Recipe, context: RunContext) -> Costs:
    _, latency, size = REACHED[student(recipe)]
    return Costs({"latency_ms.p50": latency, "size_mb": size}, {"size_mb": size / LIMIT - 1})


def judge(recipe: Recipe, context: RunContext, log: Path | None = None, wait: float = 0.0) -> Judged:
    """Each epoch of a training leaves a line in `log`."""
    reached = REACHED[student(recipe)][0]

    def note(epoch: int) -> None:
        if log is not None:
            with log.open("a") as stream:
                stream.write(f"{student(recipe)} {epoch}\n")

    curve = train(context, {"student": recipe.student, "prune": recipe.prune}, reached, wait, note)
    found = price(recipe, context)
    return Judged(reached, found.figures, found.excess, curve)


def refuses_squeezenet(recipe: Recipe, context: RunContext) -> Costs:
    if recipe.student.family == "squeezenet":
        raise InputError("squeezenet holds an operator that the target must not see")
    return price(recipe, context)


def search_in(folder: Path, total: int | None, seed: int = 0) -> Search:
    content = {
        "schema": 1, "name": "tiny", "task": "image-classification", "data": {"source": "tests"}, "seed": seed,
        "teacher": {"model": "big_net"}, "student": {"family": "mobilenetv2", "width": 0.5},
        "distill": {"epochs": EPOCHS},
    }  # fmt: skip
    directions = tuple(DIRECTIONS[goal] for goal in OVER)
    return Search(
        Recipe.model_validate(content), SPACE, "front", folder / "search", folder / ".store", total,
        minutes=None if total else 10, directions=directions,
    )  # fmt: skip


if __name__ == "__main__":
    place, seconds = Path(sys.argv[1]), float(sys.argv[2])
    wait_for_others(place / "here", int(sys.argv[3]))
    ended, epochs_to_live = list[int](), [int(sys.argv[4])]
    run_front_search(
        search_in(place, None),
        FrontJudge(
            price, lambda recipe, context: judge(recipe, mortal(context, epochs_to_live), place / "log", seconds)
        ),
        OVER,
        lambda known, last: ended.append(last.number),
    )
    print(*ended)
